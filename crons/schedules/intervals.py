"""Moments at even distances of real time, the same on every host."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo

from crons.schedules import zones
from crons.schedules.base import Schedule
from crons.schedules.wall import _declared_zone
from crons.schedules.wallclock import refused

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)  # the anchor of every(): all hosts see the same moments
QUARTER = timedelta(minutes=15)  # every zone of today differs from UTC by a multiple of it
UNITS = {"d": ("day", 86400), "h": ("hour", 3600), "m": ("minute", 60), "s": ("second", 1)}


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


@dataclass(frozen=True)
class Every(Schedule):
    """Moments at even distances of real time, counted from the Unix epoch in every zone. Made by every()."""

    interval: timedelta = field(kw_only=True, repr=False, compare=False)

    def explain(self) -> str:
        # 0 * * * * reads "Every hour" too, and means other moments in a zone that is half an hour off.
        is_counted = QUARTER % self.interval != timedelta(0)
        return self.rhythm.capitalize() + (", counted in UTC" if is_counted else "")

    @property
    def rhythm(self) -> str:
        """The distance of two slots in words, without where they are counted from: "every 7 minutes"."""
        seconds = self.interval // zones.SECOND
        # "Every 24 hours", not "Every day": through a clock change it is another time of day.
        fitting = ((unit, size) for unit, size in UNITS.values() if seconds % size == 0)
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
