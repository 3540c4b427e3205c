"""What a time zone does to a wall clock: its changes, and the way from a reading to a moment and back.

Two words: a *moment* is an aware UTC datetime; a *reading* is a naive one, what a clock on the wall shows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import available_timezones

from crons.exceptions import closest, nearest

TICK = timedelta.resolution
SECOND = timedelta(seconds=1)
# Changes that undo each other are at least a week apart (the closest since 1970: Boa Vista, October 2000).
STRIDE = timedelta(days=3)
CHUNK = timedelta(days=60)
AREAS = "Africa|America|Antarctica|Arctic|Asia|Atlantic|Australia|Europe|Indian|Pacific"
OF_AN_AREA = re.compile(rf"({AREAS})(/[A-Za-z][A-Za-z0-9_+\-]*)+")
# Europe/Kyiv is 0.91 like Europe/Kiev, its name before 2022; one wrong letter in Europe/Berlin leaves 0.92.
TYPO_LIKENESS = 0.915


class Change(NamedTuple):
    """The first moment with a new offset, and what the wall clock shows around it."""

    at: datetime
    stops: datetime  # the reading the old offset would have shown at that moment
    resumes: datetime  # the reading that is shown instead: later in a gap, earlier in a fold


class Stretch(NamedTuple):
    """A span of moments with one offset, open at its start and closed at its end, as readings."""

    after: datetime
    until: datetime
    offset: timedelta


def reading(moment: datetime, tz: tzinfo) -> datetime:
    """Return what a wall clock in *tz* shows at *moment*."""
    return moment.astimezone(tz).replace(tzinfo=None)


def offset_at(moment: datetime, tz: tzinfo) -> timedelta:
    """Return how far the wall clock is ahead of UTC at *moment*."""
    # Not the difference of two readings: each search for a change asks some twenty times.
    return moment.astimezone(tz).utcoffset() or timedelta()


def highest_reading(moment: datetime, tz: tzinfo) -> datetime:
    """Return the latest reading that the wall clock has shown up to *moment*.

    In the second pass of a fold that is the end of the first pass, otherwise what is shown at *moment*.
    """
    local = moment.astimezone(tz)
    if not local.fold:
        return local.replace(tzinfo=None)
    first_pass = local.replace(fold=0).astimezone(UTC)
    return _first_change(first_pass, moment, tz).stops - TICK


def first_moment(shown: datetime, tz: tzinfo) -> datetime:
    """Return the first moment at which the wall clock has reached *shown*.

    In a fold that is the first pass; for a reading inside a gap, the first moment after the gap.
    """
    moment = shown.replace(tzinfo=tz).astimezone(UTC)
    if reading(moment, tz) == shown:
        return moment
    before_gap = shown.replace(tzinfo=tz, fold=1).astimezone(UTC)
    return _first_change(before_gap, moment, tz).at


def changes(after: datetime, until: datetime, tz: tzinfo) -> Iterator[Change]:
    """Yield the clock changes in (after, until], oldest first.

    Cost: one look at the zone per three days, a dozen more per change; nothing for a fixed offset.
    """
    if isinstance(tz, timezone):
        return
    offset = offset_at(after, tz)
    while after < until:
        step = min(after + STRIDE, until)
        if offset_at(step, tz) != offset:
            change = _first_change(after, step, tz)
            yield change
            step, offset = change.at, offset_at(change.at, tz)
        after = step


def stretches(after: datetime, until: datetime, tz: tzinfo) -> Iterator[Stretch]:
    """Yield the spans of one offset that make up (after, until], oldest first, each at most a CHUNK long."""
    # In chunks: a caller that takes a few slots of an endless span must not wait for its last clock change.
    while after < until:
        end = min(after + CHUNK, until)
        for change in changes(after, end, tz):
            yield _stretch(after, change.at - TICK, tz)
            after = change.at - TICK
        yield _stretch(after, end, tz)
        after = end


def is_zone(name: str) -> bool:
    """Answer whether *name* is an IANA zone that this installation knows."""
    return name in _zones()


def nearest_zone(name: str) -> str:
    """Return " Did you mean …?" with the zone closest to *name*, or nothing where none is."""
    return nearest(name, _zones(), any_case=True)


def may_be_elsewhere(name: str) -> bool:
    """Answer whether *name* may be a zone that another machine knows: newer than this one's data, or this one has none.

    What is nearly the name of a zone that is known here counts as a typing error.
    """
    is_typo = closest(name, _zones(), likeness=TYPO_LIKENESS, any_case=True) is not None
    return bool(OF_AN_AREA.fullmatch(name)) and not is_typo


def _first_change(low: datetime, high: datetime, tz: tzinfo) -> Change:
    """Find the change in (low, high], whose two ends must have different offsets."""
    old = offset_at(low, tz)
    # Changes fall on whole seconds, so the search may too.
    low, high = low.replace(microsecond=0), high.replace(microsecond=0)
    while high - low > SECOND:
        middle = (low + (high - low) / 2).replace(microsecond=0)
        if offset_at(middle, tz) == old:
            low = middle
        else:
            high = middle
    return Change(high, high.replace(tzinfo=None) + old, reading(high, tz))


def _stretch(after: datetime, until: datetime, tz: tzinfo) -> Stretch:
    # The end's offset holds for the whole span; its start may be the last tick of the span before.
    offset = offset_at(until, tz)
    return Stretch(after.replace(tzinfo=None) + offset, until.replace(tzinfo=None) + offset, offset)


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())
