"""An entry's schedule in the lines of a crontab that is read in the machine's zone: exactly, or not at all."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache

from crons.schedules import AnyOf, Cron, Every, Never, Schedule, WallClock, zones
from crons.targets.base import Unfit

# How far ahead clock changes are looked at: zone data names no year in which a rule ends.
HORIZON = timedelta(days=3653)
MINUTE, HOUR, WEEK = timedelta(minutes=1), timedelta(hours=1), timedelta(days=7)


def texts(schedule: Schedule, zone: tzinfo, machine: tzinfo, now: datetime) -> list[str]:
    """Return crontab schedules that, read in *machine*, are due when *schedule* is in *zone*; none for NEVER.

    A schedule is never moved from one zone into another: where that is exact at all, it is only until a rule changes.

    Raises: Unfit, with the reason.
    """
    if isinstance(schedule, Never):
        return []
    if isinstance(schedule, AnyOf):
        # Where two of the lines come in one minute, the ledger lets one of them run.
        return list(dict.fromkeys(line for part in schedule.parts for line in texts(part, zone, machine, now)))
    if isinstance(schedule, Cron):
        apart = differences(zone, machine, now)
        if any(apart) and not (is_alike_each_hour(schedule.clock) and not any(each % HOUR for each in apart)):
            raise Unfit("its zone's clock and the machine's differ, and cron knows only the machine's")
        return [schedule.text]
    if isinstance(schedule, Every):
        text = text_of(schedule)
        apart = differences(UTC, machine, now)
        if any(apart) and (schedule.interval > HOUR or any(each % schedule.interval for each in apart)):
            raise Unfit("it counts in UTC, and the clock of the machine's zone differs from that")
        return [text]
    raise Unfit(f"cron knows no {type(schedule).__name__}")


def text_of(schedule: Every) -> str:
    """Return the one crontab schedule that, read in UTC, is due when *schedule* is.

    Raises: Unfit, with the reason.
    """
    if schedule.interval % MINUTE:
        raise Unfit("it has seconds, and cron knows whole minutes")
    if schedule.interval == WEEK:
        return "0 0 * * 4"  # it counts from 1970-01-01, a Thursday
    hours, minutes = divmod(schedule.interval // MINUTE, 60)
    if not hours and 60 % minutes == 0:
        return f"{_step(minutes)} * * * *"
    if hours and not minutes and 24 % hours == 0:
        return f"0 {_step(hours) if hours < 24 else 0} * * *"
    raise Unfit(f"{schedule.rhythm} divides neither an hour nor a day, and cron begins anew with each")


def is_alike_each_hour(clock: WallClock) -> bool:
    """Say whether it is due at the same minutes of every hour, so that whole hours between zones do not matter."""
    fields = (clock.hours, 24), (clock.days, 31), (clock.months, 12), (clock.weekdays, 7)
    return clock.follows_real_time and all(len(values) == size for values, size in fields)


@lru_cache(maxsize=64)  # all entries of a plan are fitted at one moment, and few have a zone of their own
def differences(zone: tzinfo, other: tzinfo, now: datetime) -> frozenset[timedelta]:
    """Return how far the one clock is ahead of the other, now and after each change of ten years."""
    moments = [now, *(change.at for each in (zone, other) for change in zones.changes(now, now + HORIZON, each))]
    return frozenset(zones.offset_at(moment, other) - zones.offset_at(moment, zone) for moment in moments)


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


def _step(size: int) -> str:
    return "*" if size == 1 else f"*/{size}"
