"""When a job is due: pure values, time in and moments out.

Three kinds: ``cron`` (the time of a wall clock, as Debian cron means it), ``every`` (real time), ``NEVER``;
and ``any_of`` several of them.
A moment is always an aware UTC datetime; *tz* is where the fields of a crontab text are read.
"""

from __future__ import annotations

import difflib
import heapq
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import islice

from crons import wording, zones
from crons.exceptions import InvalidSchedule
from crons.wallclock import WallClock, refused

FAR_FUTURE = datetime(9999, 1, 1, tzinfo=UTC)  # the next slot of a schedule that has none
FAR_PAST = datetime(1, 1, 1, tzinfo=UTC)  # the latest slot of a schedule that had none
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)  # the anchor of every(): all hosts see the same moments
QUARTER = timedelta(minutes=15)  # zones are multiples of it away from each other
LONGEST_TEXT = 500  # every minute, hour and day listed one by one has 356
NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_FIRST_MOMENT = datetime(2, 1, 1, tzinfo=UTC)  # before it, an offset could lead out of what a datetime can hold
_UNITS = {"d": ("day", 86400), "h": ("hour", 3600), "m": ("minute", 60), "s": ("second", 1)}


@dataclass(frozen=True)
class Schedule(ABC):
    """When a job is due. Equal where text and zone are equal; ``parse(schedule.text)`` gives it back.

    Attributes:
        text: canonical, what a database row stores.
        zone: an IANA name, or None for the project's; who calls turns it into *tz*.
    """

    text: str
    zone: str | None = None

    def next_after(self, moment: datetime, tz: tzinfo) -> datetime:
        """Return the first slot strictly after *moment*; FAR_FUTURE if there is none.

        Raises: ValueError if *moment* is naive; so do the methods below.
        """
        return min(self._next(_within_bounds(moment), tz) or FAR_FUTURE, FAR_FUTURE)

    def latest(self, moment: datetime, tz: tzinfo) -> datetime:
        """Return the newest slot at or before *moment*; FAR_PAST if there is none.

        Cost: like next_after, it walks back from *moment*.
        """
        return self._latest(_within_bounds(moment), tz) or FAR_PAST

    def between(self, after: datetime, until: datetime, tz: tzinfo, limit: int | None = None) -> list[datetime]:
        """List the slots in (after, until], oldest first, at most *limit* of them.

        Cost: grows with the slots returned.
        """
        after, until = _within_bounds(after), _within_bounds(until)
        return list(islice(self._slots(after, until, tz), limit)) if after < until else []

    def count(self, after: datetime, until: datetime, tz: tzinfo) -> int:
        """Return the exact number of slots in (after, until].

        Cost: grows with months and clock changes, not with slots: milliseconds for a decade of minutes.
        """
        after, until = _within_bounds(after), _within_bounds(until)
        return self._count(after, until, tz) if after < until else 0

    @abstractmethod
    def explain(self) -> str:
        """Say it in plain English, without the zone."""

    @abstractmethod
    def _next(self, moment: datetime, tz: tzinfo) -> datetime | None: ...

    @abstractmethod
    def _latest(self, moment: datetime, tz: tzinfo) -> datetime | None: ...

    @abstractmethod
    def _slots(self, after: datetime, until: datetime, tz: tzinfo) -> Iterator[datetime]: ...

    @abstractmethod
    def _count(self, after: datetime, until: datetime, tz: tzinfo) -> int: ...


def cron(text: str, *, zone: str | None = None) -> Cron:
    """Declare a schedule by five crontab fields or a nickname, as Debian cron means them.

    Args: *zone* is an IANA name; None is the project's zone.
    Raises: InvalidSchedule if Debian cron would not read all of *text*, no date fits, or *zone* can be no zone.
    Source: docs/reference/crontab-syntax.md
    """
    # Only blanks part fields in a crontab; a line end around the text comes from files and forms.
    text = re.sub("[ \t]+", " ", _checked_text(text).strip())
    fields = _nickname(text) if text.startswith("@") else text
    clock = WallClock.read(fields)
    canonical = text if text.startswith("@") else text.upper()
    return Cron(canonical, _declared_zone(zone), clock=clock)


def every(
    interval: timedelta | None = None,
    *,
    seconds: int = 0,
    minutes: int = 0,
    hours: int = 0,
    days: int = 0,
    zone: str | None = None,
) -> Every:
    """Declare a schedule by the real time between two slots, counted from the Unix epoch on every host.

    Args: either *interval* or the numbers; *zone* is only where people are shown the moments.
    Raises: InvalidSchedule unless the time is whole seconds, at least one.
    """
    if not isinstance(interval, timedelta | None):
        raise refused(f"every({interval!r})", "not a timedelta, expected timedelta(…) or every(seconds=…)")
    try:
        total = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    except (TypeError, ValueError, OverflowError) as error:
        raise refused("every(…)", f"{error}, expected numbers that make a timedelta") from error
    if interval is not None and total:
        raise refused(f"every({interval!r}, …)", "both a timedelta and numbers, expected one of them")
    total = total if interval is None else interval
    if total < zones.SECOND or total % zones.SECOND:
        raise refused(f"every({total!r})", f"{total} between two slots, expected whole seconds, at least 1")
    return Every(f"every {total // zones.SECOND}s", _declared_zone(zone), interval=total)


def any_of(*schedules: Schedule, zone: str | None = None) -> Schedule:
    """Declare one schedule that is due whenever one of *schedules* is; all are read in the zone of the whole.

    Raises: InvalidSchedule if one of them never is, or there are none.
    """
    parts = tuple({each.text: each for each in schedules}.values())
    if not parts or any(each is NEVER or isinstance(each, AnyOf) for each in parts):
        raise refused(" | ".join(each.text for each in parts) or "any_of()", "expected schedules, each with slots")
    if len(parts) == 1 and parts[0].zone == zone:
        return parts[0]
    return AnyOf(" | ".join(each.text for each in parts), _declared_zone(zone), parts=parts)


def parse(text: str, *, zone: str | None = None) -> Schedule:
    """Return the schedule that a row's text means.

    It is crontab fields, a nickname, "every 300s", several of these with | between them, or "" for NEVER.

    Raises: InvalidSchedule
    Cost: the last 4,096 texts are remembered, because every planning pass reads those of its rows.
    """
    return _parse(_checked_text(text), _checked_zone(zone))


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
            if slot != newest:  # a gap gives one slot, however many readings it swallows
                yield slot
            newest = slot

    def _count(self, after: datetime, until: datetime, tz: tzinfo) -> int:
        if self.clock.follows_real_time:
            return sum(self.clock.count(start, end) for start, end, _ in zones.stretches(after, until, tz))
        readings = self.clock.count(zones.highest_reading(after, tz), zones.highest_reading(until, tz))
        # The reading that ends a gap falls on the same moment as those inside it: one slot for all of them.
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
            # The clock is set on the way there: look again from what it shows then, that reading included.
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


@dataclass(frozen=True)
class Every(Schedule):
    """Moments at even distances of real time, counted from the Unix epoch in every zone. Made by every()."""

    interval: timedelta = field(kw_only=True, repr=False, compare=False)

    def explain(self) -> str:
        # 0 * * * * reads "Every hour" too, and is half an hour away from this where a zone is.
        is_counted = QUARTER % self.interval != timedelta(0)
        return self.rhythm.capitalize() + (", counted in UTC" if is_counted else "")

    @property
    def rhythm(self) -> str:
        """The distance of two slots in words, without where they are counted from: "every 7 minutes"."""
        seconds = self.interval // zones.SECOND
        # "Every 24 hours", not "Every day": through a clock change it is another time of day.
        fitting = ((unit, size) for unit, size in _UNITS.values() if seconds % size == 0)
        unit, size = ("hour", 3600) if seconds == 86400 else next(fitting)
        number = seconds // size
        return f"every {unit}" if number == 1 else f"every {number} {unit}s"

    def _next(self, moment: datetime, tz: tzinfo) -> datetime | None:
        return self._slot(self._number(moment) + 1)

    def _latest(self, moment: datetime, tz: tzinfo) -> datetime | None:
        return self._slot(self._number(moment))

    def _slots(self, after: datetime, until: datetime, tz: tzinfo) -> Iterator[datetime]:
        for number in range(self._number(after) + 1, self._number(until) + 1):
            yield EPOCH + number * self.interval

    def _count(self, after: datetime, until: datetime, tz: tzinfo) -> int:
        return self._number(until) - self._number(after)

    def _number(self, moment: datetime) -> int:
        """Number the newest slot at or before *moment*; the epoch has number 0."""
        return (moment - EPOCH) // self.interval

    def _slot(self, number: int) -> datetime | None:
        try:
            return EPOCH + number * self.interval
        except OverflowError:
            return None


@dataclass(frozen=True)
class Never(Schedule):
    """No moments: for a job that is only run by hand."""

    text: str = ""

    def explain(self) -> str:
        return "Only by hand"

    def _next(self, moment: datetime, tz: tzinfo) -> None:
        return None

    def _latest(self, moment: datetime, tz: tzinfo) -> None:
        return None

    def _slots(self, after: datetime, until: datetime, tz: tzinfo) -> Iterator[datetime]:
        return iter(())

    def _count(self, after: datetime, until: datetime, tz: tzinfo) -> int:
        return 0


NEVER = Never()


@dataclass(frozen=True)
class AnyOf(Schedule):
    """The slots of several schedules together; where two of them meet it is one slot. Made by any_of()."""

    parts: tuple[Schedule, ...] = field(kw_only=True, repr=False, compare=False)

    def explain(self) -> str:
        first, *others = (part.explain() for part in self.parts)
        return "; ".join([first, *(text[0].lower() + text[1:] for text in others)])

    def _next(self, moment: datetime, tz: tzinfo) -> datetime | None:
        return min(filter(None, (part._next(moment, tz) for part in self.parts)), default=None)

    def _latest(self, moment: datetime, tz: tzinfo) -> datetime | None:
        return max(filter(None, (part._latest(moment, tz) for part in self.parts)), default=None)

    def _slots(self, after: datetime, until: datetime, tz: tzinfo) -> Iterator[datetime]:
        return _merged(self.parts, after, until, tz)

    def _count(self, after: datetime, until: datetime, tz: tzinfo) -> int:
        # The densest part is counted, the others are walked through: which of their slots are its too?
        densest = max(self.parts, key=lambda part: part._count(after, until, tz))
        others = _merged([part for part in self.parts if part is not densest], after, until, tz)
        return densest._count(after, until, tz) + sum(densest._latest(slot, tz) != slot for slot in others)


def _merged(parts: Sequence[Schedule], after: datetime, until: datetime, tz: tzinfo) -> Iterator[datetime]:
    newest = after
    for slot in heapq.merge(*(part._slots(after, until, tz) for part in parts)):
        if slot != newest:
            yield slot
        newest = slot


@lru_cache(maxsize=4096)
def _parse(text: str, zone: str | None) -> Schedule:
    text = text.strip()
    if not text:
        return NEVER
    if "|" in text:
        return any_of(*(_parse(part, None) for part in text.split("|")), zone=zone)
    if not text.startswith("every"):
        return cron(text, zone=zone)
    match = re.fullmatch("every +([0-9]{1,14})([smhd])", text)
    if match is None:
        raise refused(repr(text), "expected 'every', a number and s, m, h or d, as in 'every 300s'")
    _, size = _UNITS[match[2]]
    seconds = int(match[1]) * size
    if not 1 <= seconds <= timedelta.max.total_seconds():
        raise refused(repr(text), "expected at least 1 second and at most 999999999 days")
    return every(seconds=seconds, zone=zone)


def _nickname(text: str) -> str:
    if text in NICKNAMES:
        return NICKNAMES[text]
    allowed = f"expected {', '.join(NICKNAMES)}"
    if text == "@reboot":
        raise refused(repr(text), f"the start of a machine is no moment of a clock, {allowed}")
    near = difflib.get_close_matches(text.lower(), NICKNAMES, n=1)
    guess = f" (did you mean {near[0]!r}?)" if near else ""
    raise refused(repr(text), f"not a nickname{guess}, {allowed}")


def _checked_text(text: str) -> str:
    if not isinstance(text, str):
        raise refused(repr(text), "not a text, expected one such as '*/5 * * * *'")
    if len(text) > LONGEST_TEXT:
        raise refused(repr(text), f"{len(text)} characters, expected at most {LONGEST_TEXT}")
    return text


def _declared_zone(zone: str | None) -> str | None:
    # One that this machine lacks must not take along all that its module declares: crons.E004 says it.
    return zone if isinstance(zone, str) and zones.may_be_elsewhere(zone) else _checked_zone(zone)


def _checked_zone(zone: str | None) -> str | None:
    if zone is None or (isinstance(zone, str) and zones.is_zone(zone)):
        return zone
    near = zones.nearest_zone(zone) if isinstance(zone, str) else None
    guess = f"Did you mean {near!r}?" if near else "Expected an IANA name such as 'Europe/Berlin'."
    raise InvalidSchedule(f"zone {zone!r} is unknown. {guess}")


def _within_bounds(moment: datetime) -> datetime:
    if moment.utcoffset() is None:
        raise ValueError(f"{moment!r} has no zone: expected an aware datetime, as timezone.now() gives it")
    # A moment that is in UTC already comes back as it is, with a fold that means nothing there.
    return min(max(moment, _FIRST_MOMENT), FAR_FUTURE).astimezone(UTC).replace(fold=0)


def _as_utc(reading: datetime) -> datetime:
    return reading.replace(tzinfo=UTC)
