"""Times of a wall clock: five crontab fields or a nickname, through every change of the clock."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo

from crons.exceptions import nearest
from crons.schedules import explain as wording
from crons.schedules import zones
from crons.schedules.base import Schedule, checked_text, checked_zone
from crons.schedules.wallclock import WallClock, refused

NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


def cron(text: str, *, zone: str | None = None) -> Cron:
    """Declare a schedule by five crontab fields or a nickname, as Debian cron means them.

    Args: *zone* is an IANA name; None is the project's zone.
    Raises: InvalidSchedule if Debian cron would not read all of *text*, no date fits, or *zone* can be no zone.
    Source: docs/reference/crontab-syntax.md
    """
    # A crontab separates fields by blanks and tabs only; line ends around the text come from files and forms.
    text = re.sub("[ \t]+", " ", checked_text(text).strip())
    fields = _nickname(text) if text.startswith("@") else text
    clock = WallClock.read(fields)
    canonical = text if text.startswith("@") else text.upper()
    return Cron(canonical, _declared_zone(zone), clock=clock)


@dataclass(frozen=True)
class Cron(Schedule):
    """Times of a wall clock. Made by cron().

    With * at the start of its minute or hour it follows real time through a clock change: it is due whenever
    a matching reading is really shown. Otherwise it is due once per matching reading: in a fold at the first
    pass, in a gap at the first moment after it, where all that the gap has swallowed is one slot.
    """

    clock: WallClock = field(kw_only=True, repr=False, compare=False)

    def explain(self) -> str:
        return wording.explain(self.clock)

    def _next(self, moment: datetime, tz: tzinfo) -> datetime | None:
        if self.clock.follows_real_time:
            return self._next_shown(moment, tz)
        reading = self.clock.after(zones.highest_reading(moment, tz))
        return reading and zones.first_moment(reading, tz)

    def _latest(self, moment: datetime, tz: tzinfo) -> datetime | None:
        if self.clock.follows_real_time:
            return self._latest_shown(moment, tz)
        reading = self.clock.until(zones.highest_reading(moment, tz))
        return reading and zones.first_moment(reading, tz)

    def _slots(self, after: datetime, until: datetime, tz: tzinfo) -> Iterator[datetime]:
        if self.clock.follows_real_time:
            for start, end, offset in zones.stretches(after, until, tz):
                for reading in self.clock.between(start, end):
                    yield _as_utc(reading - offset)
            return
        newest = after
        readings = self.clock.between(zones.highest_reading(after, tz), zones.highest_reading(until, tz))
        for slot in (zones.first_moment(reading, tz) for reading in readings):
            if slot != newest:  # all readings inside a gap are one slot
                yield slot
            newest = slot

    def _count(self, after: datetime, until: datetime, tz: tzinfo) -> int:
        if self.clock.follows_real_time:
            return sum(self.clock.count(start, end) for start, end, _ in zones.stretches(after, until, tz))
        readings = self.clock.count(zones.highest_reading(after, tz), zones.highest_reading(until, tz))
        # The reading at which a gap ends is the same moment as those inside it: one slot.
        swallowed = (
            self.clock.count(change.stops - zones.TICK, change.resumes) for change in zones.changes(after, until, tz)
        )
        return readings - sum(max(0, merged - 1) for merged in swallowed)

    def _next_shown(self, moment: datetime, tz: tzinfo) -> datetime | None:
        shown = zones.reading(moment, tz)
        offset = shown - moment.replace(tzinfo=None)
        while reading := self.clock.after(shown):
            slot = _as_utc(reading - offset)
            change = next(zones.changes(moment, slot, tz), None)
            if change is None:
                return slot
            # The clock changes before that reading: search again from what it shows then, that reading included.
            moment, offset = change.at, zones.offset_at(change.at, tz)
            shown = change.resumes - zones.TICK
        return None

    def _latest_shown(self, moment: datetime, tz: tzinfo) -> datetime | None:
        while reading := self.clock.until(zones.reading(moment, tz)):
            slot = _as_utc(reading - zones.offset_at(moment, tz))
            change = next(reversed([*zones.changes(slot, moment, tz)]), None)
            if change is None:
                return slot
            moment = change.at - zones.TICK
        return None


def _nickname(text: str) -> str:
    if text in NICKNAMES:
        return NICKNAMES[text]
    allowed = f"expected {', '.join(NICKNAMES)}"
    if text == "@reboot":
        raise refused(repr(text), f"the start of a machine is no moment of a clock, {allowed}")
    guess = nearest(text.lower(), NICKNAMES)
    raise refused(repr(text), f"not a nickname, {allowed}{guess and '.' + guess}")


def _declared_zone(zone: str | None) -> str | None:
    # An unknown zone must not fail the import of a whole module of jobs; the check crons.E004 reports it.
    return zone if isinstance(zone, str) and zones.may_be_elsewhere(zone) else checked_zone(zone)


def _as_utc(reading: datetime) -> datetime:
    return reading.replace(tzinfo=UTC)
