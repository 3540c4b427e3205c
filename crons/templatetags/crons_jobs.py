"""What the list of jobs and the page of a job say links and strips with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol
from urllib.parse import urlencode

from django import template
from django.urls import NoReverseMatch, reverse
from django.utils.html import escape, format_html
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


register = template.Library()
register.simple_tag(length)
register.simple_tag(iso, name="iso_query")
# Shown in the list; a job with thousands of tags has a page of its own.
TAGS_SHOWN = 5
# Put into an address, to be found there again.
NUMBER = 4711


@register.simple_tag
def mark_page(mark: Mark, entry: Entry) -> str:
    """Return where a mark leads: to its run, or to why there is none."""
    return _places([mark], entry)[0]


@register.simple_tag
def event_page(run_id: int) -> str:
    """Return the address of the run that an event is about."""
    return _address("crons:run", run_id) or _address("admin:crons_run_change", run_id)


@register.simple_tag
def strip(marks: Iterable[Mark], entry: Entry) -> SafeString | str:
    """Draw *marks* as a strip of links, each with its words for who does not see it."""
    marks = list(marks)
    if not marks:
        return ""
    # Put together by hand, each text escaped: format_html takes longer than all else for three thousand marks.
    items = "".join(
        f'<li><a class="{escape(mark.tone)}{" many" if mark.count > 1 else ""}" href="{place}" '
        f'aria-label="{escape(mark.said)}"></a></li>'
        for mark, place in zip(marks, _places(marks, entry), strict=True)
    )
    return format_html(
        '<ol class="strip" aria-label="Last slots of {}, the oldest first">{}</ol>', entry.name, mark_safe(items)
    )


@register.simple_tag
def first_tags(entry: Entry) -> tuple[list[str], int]:
    """Return the first tags of *entry*, and how many more there are."""
    tags = [str(tag) for tag in entry.tags]
    return tags[:TAGS_SHOWN], max(len(tags) - TAGS_SHOWN, 0)


def _places(marks: Sequence[Mark], entry: Entry) -> list[SafeString]:
    """Return the address of each of *marks*, as it stands in a page."""
    # Reversing an address takes as long as writing ten marks: a page has three thousand of them.
    run = escape(_address("crons:run", NUMBER) or _address("admin:crons_run_change", NUMBER))
    before, _, after = run.rpartition(str(NUMBER))
    why = escape(f"{_address('crons:why')}?{urlencode({'entry': entry.name})}&at=")
    return [
        mark_safe(
            f"{before}{mark.run_id}{after}" if mark.run_id and run else f"{why}{iso(mark.at).replace(':', '%3A')}"
        )
        for mark in marks
    ]


def _address(name: str, *args: object) -> str:
    try:
        return reverse(name, args=args)
    except NoReverseMatch:
        return ""
