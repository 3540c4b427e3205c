"""What the list of jobs and the page of a job say links and strips with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Protocol
from urllib.parse import urlencode

from django import template
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from crons.models import Entry
from crons.presentation import iso, length


class Mark(Protocol):
    """What of a mark is drawn; crons.web makes them, and imports this file."""

    at: datetime
    run_id: int | None
    count: int

    @property
    def tone(self) -> str:
        """Its colour's name."""

    @property
    def said(self) -> str:
        """All of it in a line."""


class Bar(Protocol):
    """What of a bar of the timeline is drawn; crons.web makes them too."""

    x: float
    width: float
    text: str
    run_id: int | None
    is_link: bool

    @property
    def tone(self) -> str:
        """Which shape and colour it has."""


register = template.Library()
register.simple_tag(length)
register.simple_tag(iso, name="iso_query")
# Shown in the list; a job with thousands of tags has a page of its own.
TAGS_SHOWN = 5
# Where a bar of the timeline begins, of 24, and how high it is.
SHAPES = {"failed": (0, 24), "missed": (3, 18), "skipped": (17, 5), "running": (7, 10), "succeeded": (7, 10)}
# Put into an address, to be found there again.
NUMBER = 4711


@register.simple_tag(takes_context=True)
def mark_page(context: template.Context, mark: Mark, entry: Entry) -> SafeString:
    """Return where a mark leads: to its run, or to why there is none."""
    return mark_safe(_places([mark], entry, _addresses(context))[0])


@register.simple_tag
def event_page(run_id: int) -> str:
    """Return the address of the run that an event is about."""
    return _address("crons:run", run_id) or _address("admin:crons_run_change", run_id)


@register.simple_tag(takes_context=True)
def strip(context: template.Context, marks: Iterable[Mark], entry: Entry) -> SafeString | str:
    """Draw *marks* as a strip of links, each with its words for who does not see it."""
    marks = list(marks)
    if not marks:
        return ""
    # Put together by hand, each text escaped: format_html takes longer than all else for three thousand marks, and
    # Django's escape three times as long as Python's, which it calls.
    items = "".join(
        f'<li><a class="{escape(mark.tone)}{" many" if mark.count > 1 else ""}" href="{place}" '
        f'aria-label="{escape(mark.said)}"></a></li>'
        for mark, place in zip(marks, _places(marks, entry, _addresses(context)), strict=True)
    )
    return format_html(
        '<ol class="strip" aria-label="Last slots of {}, the oldest first">{}</ol>', entry.name, mark_safe(items)
    )


@register.simple_tag
def bar_shape(tone: str) -> SafeString:
    """Draw a bar for the key of the timeline."""
    return mark_safe(_rect(tone, 2, 20, ""))


@register.simple_tag(takes_context=True)
def lane(context: template.Context, bars: Iterable[Bar], name: str) -> SafeString:
    """Draw *bars*, each with its words; those that are links lead to their runs. By hand, as `strip` does."""
    addresses = _addresses(context)
    drawn = []
    for bar in bars:
        rect = _rect(bar.tone, bar.x, bar.width, f"<title>{escape(bar.text)}</title>")
        if bar.is_link and addresses.before_run:
            place = f"{addresses.before_run}{bar.run_id}{addresses.after_run}"
            rect = f'<a href="{place}" aria-label="{escape(name)}: {escape(bar.text)}">{rect}</a>'
        drawn.append(rect)
    return mark_safe("".join(drawn))


def _rect(tone: str, x: float, width: float, title: str) -> str:
    # Not by a template, which may write a number with the comma of the reader's language.
    y, height = SHAPES[tone]
    return f'<rect class="run {tone}" x="{x}" y="{y}" width="{width}" height="{height}">{title}</rect>'


@register.simple_tag
def first_tags(entry: Entry) -> tuple[list[str], int]:
    """Return the first tags of *entry*, and how many more there are."""
    tags = [str(tag) for tag in entry.tags]
    return tags[:TAGS_SHOWN], max(len(tags) - TAGS_SHOWN, 0)


@dataclass(frozen=True)
class Addresses:
    """What stands before and after the number of a run in its address, and before that of an entry's slot."""

    before_run: str
    after_run: str
    why: str


def _addresses(context: template.Context) -> Addresses:
    """Return the addresses that a page puts together, made once for it: to reverse one takes as long as ten marks."""
    kept: Addresses | None = context.render_context.get("crons_addresses")
    if kept is None:
        run = escape(_address("crons:run", NUMBER) or _address("admin:crons_run_change", NUMBER))
        before, _, after = run.rpartition(str(NUMBER))
        kept = Addresses(before, after, escape(_address("crons:why")))
        context.render_context["crons_addresses"] = kept
    return kept


def _places(marks: Sequence[Mark], entry: Entry, addresses: Addresses) -> list[str]:
    """Return the address of each of *marks*, as it stands in a page."""
    before, after = addresses.before_run, addresses.after_run
    why = f"{addresses.why}?{escape(urlencode({'entry': entry.name}))}&amp;at="
    return [
        f"{before}{mark.run_id}{after}" if mark.run_id and before else f"{why}{iso(mark.at).replace(':', '%3A')}"
        for mark in marks
    ]


def _address(name: str, *args: object) -> str:
    try:
        return reverse(name, args=args)
    except NoReverseMatch:
        return ""
