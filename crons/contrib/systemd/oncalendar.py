"""An entry's schedule in systemd's OnCalendar=: where systemd means what cron does, or not at all.

Both read the fields alike, but not what happens when a clock changes: systemd leaves out what a gap swallows, and much
of a fold's second pass. So a schedule is refused that may fall due near a change, and the tick timer fires it.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from crons.schedules import AnyOf, Cron, Every, Never, Schedule, WallClock, cron, zones
from crons.targets import Unfit, fitting

# In these hours no zone changes its clock: a test looks through all zones.
QUIET = frozenset(range(4, 21))
WEEKDAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")


def texts(schedule: Schedule, zone: str, now: datetime) -> list[str]:
    """Return what OnCalendar= must say to elapse when *schedule* is due in *zone*, all year; none for NEVER.

    Raises: Unfit, with the reason.
    """
    if isinstance(schedule, Never):
        return []
    if isinstance(schedule, AnyOf):
        return list(dict.fromkeys(text for part in schedule.parts for text in texts(part, zone, now)))
    if isinstance(schedule, Every):
        return _of_every(schedule)
    if not isinstance(schedule, Cron):
        raise Unfit(f"systemd knows no {type(schedule).__name__}")
    if schedule.clock.hours <= QUIET or not _changes(zone, now):
        return written(schedule.clock, zone)
    if fitting.is_alike_each_hour(schedule.clock) and not _has_part_hours(zone, now):
        return written(schedule.clock, "UTC")
    raise Unfit("its zone changes its clock near such an hour, and systemd then leaves out what cron does not")


def written(clock: WallClock, zone: str) -> list[str]:
    """Write a crontab's five fields as OnCalendar= has them; two where either of both day fields is enough."""
    months = _field(clock.months, 1, 12)
    time = f"{_field(clock.hours, 0, 23)}:{_field(clock.minutes, 0, 59)}:00 {zone}"
    # Days one by one: from 29 December, systemd 252 takes 01/7 for 8 January and leaves out the 1st.
    numbers = "*" if len(clock.days) == 31 else ",".join(f"{day:02}" for day in sorted(clock.days))
    days = f"*-{months}-{numbers} {time}"
    weekdays = ",".join(WEEKDAYS[day] for day in sorted(clock.weekdays))
    if len(clock.weekdays) == 7:
        return [days if clock.both_days else f"*-{months}-* {time}"]
    if clock.both_days:
        return [f"{weekdays} {days}"]
    return [days, f"{weekdays} *-{months}-* {time}"]


def _changes(zone: str, now: datetime) -> bool:
    return next(zones.changes(now, now + fitting.HORIZON, ZoneInfo(zone)), None) is not None


def _has_part_hours(zone: str, now: datetime) -> bool:
    return any(each % fitting.HOUR for each in fitting.differences(UTC, ZoneInfo(zone), now))


def _of_every(schedule: Every) -> list[str]:
    seconds = schedule.interval // zones.SECOND
    if seconds < 60 and 60 % seconds == 0:
        return [f"*-*-* *:*:{'*' if seconds == 1 else f'00/{seconds}'} UTC"]
    try:
        return written(cron(fitting.text_of(schedule)).clock, "UTC")
    except Unfit:
        raise Unfit(f"no OnCalendar= says {schedule.rhythm}: it begins anew each minute, hour and day") from None


def _field(values: Collection[int], low: int, high: int) -> str:
    ordered = sorted(values)
    if len(ordered) == high - low + 1:
        return "*"
    step = ordered[1] - ordered[0] if len(ordered) > 2 else 0
    if step > 1 and ordered == list(range(ordered[0], high + 1, step)):
        return f"{ordered[0]:02}/{step}"
    return ",".join(f"{value:02}" for value in ordered)
