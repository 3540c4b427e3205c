"""An entry's schedule in the lines of a crontab that is read in the machine's zone: exactly, or not at all."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from functools import lru_cache

from crons.schedules import NICKNAMES, AnyOf, Cron, Every, Never, Schedule, zones
from crons.targets.base import Unfit

HORIZON = timedelta(days=3653)
DAY, HOUR = 1440, 60  # in minutes
MINUTE = timedelta(minutes=1)
EPOCH_WEEKDAY = 4  # 1970-01-01, from which every() counts, was a Thursday


@dataclass(frozen=True)
class Pattern:
    """Minutes of a day, and the days. *days*: the three day fields, where the days are not moved to another weekday."""

    times: frozenset[int]
    weekdays: frozenset[int]
    days: tuple[str, str, str]
    is_movable: bool  # the days are all days, or named by their weekday alone
    follows_real_time: bool


def texts(schedule: Schedule, zone: tzinfo, machine: tzinfo, now: datetime) -> list[str]:
    """Return crontab schedules that, read in *machine*, are due when *schedule* is in *zone*; none for NEVER.

    Raises: Unfit, with the reason.
    Cost: the first time for two zones and a moment, a look at both per three days of ten years.
    """
    if isinstance(schedule, Never):
        return []
    if isinstance(schedule, AnyOf):
        # Where two of the lines come in one minute, the ledger lets one of them run.
        return list(dict.fromkeys(line for part in schedule.parts for line in texts(part, zone, machine, now)))
    differences, has_changes = _differences(zone, machine, now)
    if isinstance(schedule, Cron):
        if differences == {timedelta(0)}:
            return [schedule.text]
        return _moved(_pattern_of(schedule), differences, has_changes)
    if isinstance(schedule, Every):
        differences, has_changes = _differences(None, machine, now)
        return _moved(_pattern_of_every(schedule), differences, has_changes)
    raise Unfit(f"cron knows no {type(schedule).__name__}")


def _moved(pattern: Pattern, differences: frozenset[timedelta], has_changes: bool) -> list[str]:
    if any(difference % MINUTE for difference in differences):
        raise Unfit("the zones differ by seconds, and cron knows whole minutes")
    shifts = {difference // MINUTE for difference in differences}
    if _repeats_hourly(pattern) and (pattern.follows_real_time or not has_changes):
        # Every hour is like the others: only where in it matters.
        shifts = {shift % HOUR for shift in shifts}
    if len(shifts) > 1:
        raise Unfit("its zone and the machine's change their clocks at different moments, so no line fits all year")
    by_day: dict[int, set[int]] = {}
    for time in pattern.times:
        day, moved = divmod(time + min(shifts), DAY)
        by_day.setdefault(0 if len(pattern.weekdays) == 7 and pattern.is_movable else day, set()).add(moved)
    if any(by_day) and not pattern.is_movable:
        raise Unfit("in the machine's zone it falls on another day of the month, which no line can say")
    lines = []
    for day, times in sorted(by_day.items()):
        days = pattern.days
        if day:
            days = ("*", "*", field(((weekday + day) % 7 for weekday in pattern.weekdays), 7, stars=True))
        lines += [f"{clock} {' '.join(days)}" for clock in _clocks(times, stars=pattern.follows_real_time)]
    if has_changes and any(_follows(line) != pattern.follows_real_time for line in lines):
        raise Unfit("written in the machine's zone it would behave otherwise when clocks change")
    return lines


@lru_cache(maxsize=64)  # all entries of a plan are fitted at one moment, and few have a zone of their own
def _differences(zone: tzinfo | None, machine: tzinfo, now: datetime) -> tuple[frozenset[timedelta], bool]:
    """Return how far the machine's clock is ahead of the zone's (None: of UTC), and whether either ever changes."""
    both = [machine] if zone is None else [zone, machine]
    changes = [change.at for each in both for change in zones.changes(now, now + HORIZON, each)]
    found = set()
    for moment in [now, *changes]:
        offset = timedelta(0) if zone is None else zones.offset_at(moment, zone)
        found.add(zones.offset_at(moment, machine) - offset)
    return frozenset(found), bool(changes)


def _pattern_of(schedule: Cron) -> Pattern:
    clock = schedule.clock
    _, _, *days = NICKNAMES.get(schedule.text, schedule.text).split(" ")
    all_days, all_weekdays = len(clock.days) == 31, len(clock.weekdays) == 7
    is_daily = (all_days and all_weekdays) if clock.both_days else (all_days or all_weekdays)
    by_weekday = clock.both_days and all_days
    return Pattern(
        times=frozenset(hour * HOUR + minute for hour in clock.hours for minute in clock.minutes),
        weekdays=frozenset(range(7)) if is_daily else clock.weekdays,
        days=(days[0], days[1], days[2]),
        is_movable=(is_daily or by_weekday) and len(clock.months) == 12,
        follows_real_time=clock.follows_real_time,
    )


def _pattern_of_every(schedule: Every) -> Pattern:
    if schedule.interval % MINUTE:
        raise Unfit("it has seconds, and cron knows whole minutes")
    minutes = schedule.interval // MINUTE
    if minutes == 7 * DAY:
        return Pattern(frozenset({0}), frozenset({EPOCH_WEEKDAY}), ("*", "*", str(EPOCH_WEEKDAY)), True, True)
    if DAY % minutes:
        raise Unfit(f"{schedule.rhythm} does not divide a day, and cron begins anew each day")
    return Pattern(frozenset(range(0, DAY, minutes)), frozenset(range(7)), ("*", "*", "*"), True, True)


def _repeats_hourly(pattern: Pattern) -> bool:
    first = {time for time in pattern.times if time < HOUR}
    hourly = {hour * HOUR + minute for hour in range(24) for minute in first}
    return pattern.is_movable and len(pattern.weekdays) == 7 and pattern.times == hourly


def _clocks(times: Iterable[int], *, stars: bool) -> list[str]:
    """Write minutes of a day as pairs of fields: one per set of minutes that hours share."""
    minutes_of: dict[int, set[int]] = {}
    for time in times:
        minutes_of.setdefault(time // HOUR, set()).add(time % HOUR)
    hours_of: dict[frozenset[int], list[int]] = {}
    for hour, minutes in sorted(minutes_of.items()):
        hours_of.setdefault(frozenset(minutes), []).append(hour)
    return [f"{field(minutes, 60, stars=stars)} {field(hours, 24, stars=stars)}" for minutes, hours in hours_of.items()]


def field(values: Iterable[int], size: int, *, stars: bool) -> str:
    """Write *values* of a field of *size*; * where *stars* lets it, for it says more than all values."""
    ordered = sorted(set(values))
    if stars and len(ordered) == size:
        return "*"
    step = ordered[1] - ordered[0] if len(ordered) > 1 else 0
    if stars and step and ordered == list(range(0, size, step)):
        return f"*/{step}"
    return ",".join(_ranges(ordered))


def _ranges(ordered: Collection[int]) -> list[str]:
    runs: list[list[int]] = []
    for value in ordered:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return [f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs]


def _follows(line: str) -> bool:
    minute, hour, *_ = line.split(" ")
    return minute.startswith("*") or hour.startswith("*")
