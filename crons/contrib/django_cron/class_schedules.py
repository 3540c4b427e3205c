"""When a class of CRON_CLASSES is due: one schedule for all that its Schedule(…) says, or the reason why there is none.

django-cron has two vocabularies: that of its last release (0.6.0: run_on_days) and that of its unreleased
successor (run_weekly_on_days, run_tolerance_seconds). Both are read.
"""

from __future__ import annotations

import inspect
import math
import re
from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta
from itertools import pairwise
from typing import Any

from crons.exceptions import DeclarationError, InvalidSchedule, nearest
from crons.jobs import Retry
from crons.schedules import Schedule, any_of, cron, every

WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
TIME = re.compile(r"([01]?[0-9]|2[0-3]):([0-5]?[0-9])\Z")
DAY_MINUTES = 1440
LONGEST_TEXT = 255
MOST_RETRIES = 100
WEEKLY = ("run_on_days", "run_weekly_on_days")
KNOWN = (
    "run_every_mins",
    "run_at_times",
    "retry_after_failure_mins",
    *WEEKLY,
    "run_monthly_on_days",
    "run_tolerance_seconds",
)


def schedule_of(found: type[Any], ref: str) -> Schedule:
    """Return the one schedule that a class's Schedule(…) means.

    Raises: DeclarationError naming the class and why it cannot be had.
    """
    _refuse_unknown(found, ref)
    fields = _day_fields(found, ref)
    minutes = found.schedule.run_every_mins
    parts = [] if minutes is None else [_every(found, ref, minutes, fields)]
    parts += _at_times(found, ref, fields)
    if not parts:
        raise refused(found, ref, "its schedule has neither run_every_mins nor run_at_times, so it never runs")
    whole = any_of(*parts)
    if len(whole.text) > LONGEST_TEXT:
        raise refused(found, ref, f"run_at_times has too many times for one schedule ({len(whole.text)} characters)")
    return whole


def is_each_call(found: Any) -> bool:
    """Say whether django-cron would run the class at each call of runcrons."""
    minutes = found.schedule.run_every_mins
    return minutes is not None and minutes == 0


def after_failure(found: Any, ref: str) -> tuple[Retry | None, timedelta | None]:
    """Return what retry_after_failure_mins means: retries between two slots, or how long slots are held off.

    django-cron tries until it succeeds; here the next slot takes over, and what it makes good is not tried again.
    Where the next slot comes sooner than a retry would, the length keeps slots away after a failure.
    Raises: DeclarationError
    """
    minutes = getattr(found.schedule, "retry_after_failure_mins", None)
    if minutes is None or minutes == 0:
        return None, None
    if not is_number(minutes) or minutes < 0:
        raise refused(found, ref, f"retry_after_failure_mins is {minutes!r}, expected a number of minutes")
    between, wait = _shortest_minutes(found), timedelta(minutes=minutes)
    times = math.ceil(between / minutes) - 1  # those that begin before the next slot
    if times >= 1:
        return Retry(min(MOST_RETRIES, times), wait=wait, backoff=1, longest=wait), None
    return None, wait if minutes > between else None


def refused(found: Any, ref: str, why: str) -> DeclarationError:
    """Say which class of which line cannot be had, and why."""
    return DeclarationError(f"{ref} {found.__module__}.{found.__qualname__}: {why}.")


def is_number(value: Any) -> bool:
    """Say whether *value* is a number that a length can be made of."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _shortest_minutes(found: Any) -> float:
    """Say how many minutes lie between two slots of a day where they are nearest."""
    minutes = found.schedule.run_every_mins
    apart = [] if minutes is None else [minutes or 1]
    times = sorted({hour * 60 + minute for minute, hours in _times(found, "").items() for hour in hours})
    if times:
        apart += [later - earlier for earlier, later in pairwise([*times, times[0] + DAY_MINUTES])]
    return min(apart)


def _refuse_unknown(found: Any, ref: str) -> None:
    """Refuse what the Schedule says and nothing here reads: it may be the days on which the class must not run."""
    for name, value in inspect.getmembers(found.schedule, lambda value: not callable(value)):
        if name not in KNOWN and not name.startswith("_"):
            message = f"its schedule says {name}={value!r}, which nothing reads"
            raise refused(found, ref, f"{message}.{nearest(name, KNOWN)} Known: {', '.join(KNOWN)}")


def _day_fields(found: Any, ref: str) -> str:
    days = _numbers(found, ref, "run_monthly_on_days", 1, 31)
    given = {name: numbers for name in WEEKLY if (numbers := _numbers(found, ref, name, 0, 6))}
    if len(given) == 2 and given["run_on_days"] != given["run_weekly_on_days"]:
        raise refused(found, ref, "run_on_days and run_weekly_on_days are two names of one thing, and differ: keep one")
    weekdays = next(iter(given.values()), [])
    if weekdays and days:
        raise refused(
            found,
            ref,
            f"{next(iter(given))} together with run_monthly_on_days means days that are both, and no cron text can "
            "say that: keep one of them, and test for the other in do()",
        )
    return f"{','.join(map(str, days)) or '*'} * {','.join(WEEKDAYS[day] for day in weekdays) or '*'}"


def _at_times(found: Any, ref: str, fields: str) -> list[Schedule]:
    ordered = sorted(_times(found, ref).items(), key=lambda item: (min(item[1]), item[0]))
    return [cron(f"{minute} {','.join(map(str, sorted(hours)))} {fields}") for minute, hours in ordered]


def _times(found: Any, ref: str) -> dict[int, set[int]]:
    """Return the hours of run_at_times by their minute."""
    times = found.schedule.run_at_times or []
    by_minute: dict[int, set[int]] = defaultdict(set)
    for text in times if isinstance(times, Iterable) and not isinstance(times, str) else [times]:
        match = TIME.match(text) if isinstance(text, str) else None
        if match is None:
            raise refused(found, ref, f"run_at_times has {text!r}, expected a time such as '06:30'")
        by_minute[int(match[2])].add(int(match[1]))
    return by_minute


def _every(found: Any, ref: str, minutes: Any, fields: str) -> Schedule:
    if not is_number(minutes) or minutes < 0:
        raise refused(found, ref, f"run_every_mins is {minutes!r}, expected a number of minutes")
    minutes = minutes or 1  # 0 is each call of runcrons, and by the next call a slot of the minute is due
    minutes = int(minutes) if minutes == int(minutes) else minutes
    if fields == "* * *":
        try:
            return every(timedelta(minutes=minutes))
        except (InvalidSchedule, OverflowError) as error:
            raise refused(found, ref, f"run_every_mins is {minutes!r}, expected whole seconds, at least 1") from error
    if isinstance(minutes, int) and 60 % minutes == 0 and minutes < 60:
        return cron(f"*/{minutes} * {fields}" if minutes > 1 else f"* * {fields}")
    if minutes < DAY_MINUTES and minutes % 60 == 0 and DAY_MINUTES % minutes == 0:
        return cron(f"0 */{minutes // 60} {fields}")
    if minutes == DAY_MINUTES:
        return cron(f"0 0 {fields}")
    raise refused(
        found,
        ref,
        f"run_every_mins={minutes} on certain days cannot be said in cron's fields: take minutes that divide an "
        "hour, hours that divide a day, or run_at_times",
    )


def _numbers(found: Any, ref: str, name: str, least: int, most: int) -> list[int]:
    given = getattr(found.schedule, name, None)
    if given is None:
        return []
    numbers = list(given) if isinstance(given, list | tuple | set | frozenset | range) else []
    if not numbers or not all(type(each) is int and least <= each <= most for each in numbers):
        raise refused(found, ref, f"{name} is {given!r}, expected a list of numbers from {least} to {most}")
    return sorted(set(numbers))
