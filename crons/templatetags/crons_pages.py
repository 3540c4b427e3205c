"""What the pages' templates say moments, verdicts and links with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import django
from django import template
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from crons.models import Attempt, Entry, Pause, Run
from crons.presentation import (
    Cell,
    describe_progress,
    describe_schedule,
    describe_scope,
    describe_verdict,
    describe_work,
    distance,
    iso,
    length,
    local,
    progress_of,
    readable,
    readable_line,
    took,
    words,
    work_of,
)

if TYPE_CHECKING:  # Django imports the tags in each process that checks templates, and few of them run jobs
    from crons.watch import Usual

# Title, URL and what is found from there; a project may lack the admin.
PLACES = [
    ("Now", "crons:home", ()),
    ("Jobs", "crons:jobs", ("crons:job",)),
    ("Timeline", "crons:timeline", ()),
    ("Incidents", "crons:incidents", ("crons:incident",)),
    ("Why?", "crons:why", ()),
    ("Admin", "admin:index", ()),
]


class Offers(Protocol):
    """What knows the buttons of a page; crons.web makes it, and imports this file."""

    def button(self, verb: str, row: Entry | Pause, run_id: int | None = None) -> dict[str, Any]:
        """Return what crons/act.html makes a form of; empty where there is none to press."""


register = template.Library()
register.simple_tag(describe_schedule)
register.simple_tag(describe_scope)
register.simple_tag(took)
register.filter(readable)


@register.simple_tag
def breadcrumbs_are_a_list() -> bool:
    """Say whether the admin's breadcrumbs are an `ol` here, which its style sheet then lays out: since Django 6.1."""
    return django.VERSION >= (6, 1)


@register.simple_tag
def at(moment: datetime, zone: str, now: datetime | None = None) -> SafeString:
    """Write a moment in *zone* with its offset, and how far it is from *now*."""
    written = format_html('<time datetime="{}">{}</time>', iso(moment), local(moment, zone))
    if now is None:
        return written
    return format_html('{} <span class="away">{}</span>', written, distance(moment, now))


@register.simple_tag
def progress(attempt: Attempt, now: datetime | None = None) -> SafeString | str:
    """Draw how far a job says it is, write it beside the bar, and when it said so; empty where it said nothing.

    With *now* of what goes on: how long ago that was.
    """
    work = work_of(attempt)
    how_far = progress_of(work)
    if work is None or how_far is None:
        return ""
    when: SafeString | str = at(work.progress_at, attempt.run.entry.zone) if work.progress_at else ""
    if work.progress_at and now is not None and not attempt.outcome:
        when = format_html('<time datetime="{}">{}</time>', iso(work.progress_at), distance(work.progress_at, now))
    # Hidden from screen readers: the text says the same.
    bar = '<progress aria-hidden="true" max="{}" value="{}"></progress> '
    drawn = format_html(bar, how_far.total, min(how_far.done, how_far.total)) if how_far.total else ""
    return format_html('{}{} <span class="away">{}</span>', drawn, describe_progress(how_far), when)


@register.simple_tag
def work_done(attempt: Attempt) -> str:
    """Say what the job of *attempt* reported; empty where it reported nothing."""
    return describe_work(work_of(attempt))


@register.simple_tag
def job_page(entry: Entry) -> str:
    """Return the address of the page of *entry*; of its admin's page, or none, where a project does not include it.

    By its number where its name cannot stand in a path: browsers and proxies take dots and empty parts away.
    """
    parts = entry.name.split("/")
    is_plain = "\n" not in entry.name and "\\" not in entry.name and not {"", ".", ".."}.intersection(parts)
    try:
        return reverse("crons:job", args=[entry.name]) if is_plain else reverse("crons:job_row", args=[entry.pk])
    except NoReverseMatch:
        return _address("admin:crons_entry_change", entry.pk)


@register.simple_tag
def job_link(entry: Entry) -> SafeString:
    """Write an entry's name as a link to its page: here, or in the admin, where there is any."""
    address = job_page(entry)
    return format_html('<a href="{}">{}</a>', address, breakable(entry.name)) if address else breakable(entry.name)


@register.simple_tag
def run_page(run_id: int) -> str:
    """Return the address of a run's page; empty where a project does not include it."""
    return _address("crons:run", run_id)


@register.simple_tag
def ago(moment: datetime, now: datetime) -> SafeString:
    """Write how far off a moment is, with the moment itself for programs."""
    return format_html('<time datetime="{}">{}</time>', iso(moment), distance(moment, now))


@register.simple_tag
def counted(word: str, count: int) -> SafeString:
    """Write how many ended so, with a mark of its tone."""
    return format_html('<span class="verdict {}">{} {}</span>', describe_verdict(word).tone, count, words(word))


@register.simple_tag
def compare(attempt: Attempt, usual: Mapping[int, Usual], now: datetime) -> SafeString | str:
    """Write how long runs of its entry usually take, and mark where this one is far beyond that."""
    known = usual.get(attempt.run.entry_id)
    if known is None:
        return ""
    told = format_html('<div class="away">usually {}</div>', length(known.p50))
    if known.is_beyond(now - attempt.begun_at):
        return format_html(' <span class="verdict warn">longer than usual</span>{}', told)
    return told


@register.simple_tag
def verdict(word: str, reason: str = "") -> SafeString:
    """Write how something ended, with a mark of its tone."""
    cell = describe_verdict(word, reason)
    return format_html('<span class="verdict {}">{}</span>', cell.tone, cell.text)


@register.simple_tag
def run_status(run: Run) -> SafeString:
    """Write how a run ended, or where it stands, and beside it what is known of why."""
    late = run.late_seconds
    cell = describe_verdict(run.verdict, run.reason, late_seconds=late) if run.verdict else Cell(run.state)
    detail = readable_line(run.detail)
    return format_html(
        '<span class="verdict {}">{}</span> <span class="detail">{}</span>', cell.tone, cell.text, detail
    )


@dataclass(frozen=True)
class Place:
    """A page of the navigation."""

    title: str
    address: str
    is_here: bool


@register.simple_tag(takes_context=True)
def pages_here(context: template.Context) -> list[Place]:
    """List the pages that the navigation leads to: those that there are, and the one that is shown marked."""
    match = getattr(context.get("request"), "resolver_match", None)
    shown = match.view_name if match else ""
    found = [Place(title, _address(name), shown in (name, *below)) for title, name, below in PLACES]
    return [each for each in found if each.address]


@register.simple_tag
def short(moment: datetime, zone: str, span: str) -> str:
    """Write a moment as an axis names it: the hour, or the day."""
    there = moment.astimezone(ZoneInfo(zone))
    return f"{there:%H:%M}" if span == "24h" else f"{there:%a %d}"


@register.simple_tag
def from_top(height: float) -> float:
    """Return where a bar of so many hundredths begins."""
    return round(100 - height, 1)


@register.simple_tag
def board_page() -> str:
    """Return the address of the first page; empty where a project does not include it."""
    return _address("crons:home")


@register.simple_tag
def why_page(entry: str, run: int | None = None, at: datetime | None = None) -> str:
    """Return the address of the page that says why a slot ended so; empty where a project does not include it."""
    address = _address("crons:why")
    if not address:
        return ""
    query: dict[str, object] = {"entry": entry}
    query |= {"run": run} if run is not None else {"at": iso(at)} if at is not None else {}
    return f"{address}?{urlencode(query)}"


@register.inclusion_tag("crons/act.html", takes_context=True)
def offer(
    context: template.Context, offers: Offers, verb: str, row: Entry | Pause, run_id: int | None = None
) -> dict[str, Any]:
    """Write the button of *verb* for *row*, or for one of its runs; nothing where *offers* has none."""
    around = {name: context.get(name) for name in ("request", "csrf_token")}
    return {**around, **offers.button(verb, row, run_id)}


@register.filter
def breakable(name: str) -> SafeString:
    """Let a long name break after its underscores, not within a word."""
    parts = [(part,) for part in re.findall(r"[^_.:-]*[_.:-]+|[^_.:-]+", readable_line(name))]
    return format_html_join(mark_safe("<wbr>"), "{}", parts)


@register.simple_tag
def admin_page(name: str, *args: object, **query: object) -> str:
    """Return the address of a page of the admin; empty where a project has no admin.

    A *next* among *query* is where an action comes back to.
    """
    address = _address(f"admin:crons_{name}", *args)
    return f"{address}?{urlencode(query)}" if query and address else address


def _address(name: str, *args: object) -> str:
    try:
        return reverse(name, args=args)
    except NoReverseMatch:
        return ""
