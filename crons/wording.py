"""What a crontab text says, in plain English: told from the values it names, so never more than is true."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from crons.wallclock import WallClock

MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MOST_TIMES_LISTED = 6
MOST_VALUES_LISTED = 8


def explain(clock: WallClock) -> str:
    """Say when *clock* matches: "At 02:00 on Sunday", "Every 5 minutes"."""
    minutes, hours, date = sorted(clock.minutes), sorted(clock.hours), _date(clock)
    if len(minutes) * len(hours) > MOST_TIMES_LISTED:
        return f"{_repetition(minutes, hours)} {date}".rstrip()
    times = [f"{hour:02}:{minute:02}" for hour in hours for minute in minutes]
    every_day = "" if date.startswith("on ") else "every day "
    return f"At {_list(times)} {every_day}{date}".rstrip()


def _repetition(minutes: list[int], hours: list[int]) -> str:
    """Say which minutes of which hours, where the times are too many to list."""
    minute_step, hour_step = _even_step(minutes, 60), _even_step(hours, 24)
    if len(minutes) == 1 and hour_step:
        return _every(hour_step, "hour") + (f" at minute {minutes[0]}" if minutes != [0] else "")
    if hour_step == 1:
        return _every(minute_step, "minute") if minute_step else f"At {_numbers('minute', minutes)} of every hour"
    first, last = f"{hours[0]:02}:{minutes[0]:02}", f"{hours[-1]:02}:{minutes[-1]:02}"
    if _is_run(hours) and len(minutes) == 1:
        return f"Every hour from {first} through {last}"
    if _is_run(hours) and minute_step:
        return f"{_every(minute_step, 'minute')} from {first} through {last}"
    if len(hours) == 1 and _is_run(minutes):
        return f"Every minute from {first} through {last}"
    each = _every(minute_step, "minute") if minute_step else f"At {_numbers('minute', minutes)}"
    return f"{each} of {_numbers('hour', hours)}"


def _date(clock: WallClock) -> str:
    """Say which days; empty where every day of every month matches."""
    any_day, any_weekday, any_month = len(clock.days) == 31, len(clock.weekdays) == 7, len(clock.months) == 12
    months = _list(_shortened([MONTHS[month - 1] for month in sorted(clock.months)], MONTHS))
    in_months = "" if any_month else f" in {months}"
    weekdays = _weekdays(clock.weekdays)
    days = _list(_shortened([_ordinal(day) for day in sorted(clock.days)], ORDINALS))
    days = f"the {days}".replace("through ", "through the ")
    if (any_day and any_weekday) or (not clock.both_days and (any_day or any_weekday)):
        return in_months.strip()
    if any_day:
        return f"on {weekdays}{in_months}"
    if any_weekday:
        return f"on {days} of {'every month' if any_month else months}"
    if clock.both_days:
        return f"on {weekdays}{in_months}, if it is {days} of the month"
    return f"on {days} of the month, and also on {weekdays}{',' if in_months else ''}{in_months}"


def _weekdays(numbers: frozenset[int]) -> str:
    names = sorted((number - 1) % 7 for number in numbers)
    return _list(_shortened([WEEKDAYS[index] for index in names], WEEKDAYS))


def _ordinal(number: int) -> str:
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number not in (11, 12, 13) else "th"
    return f"{number}{suffix}"


ORDINALS = tuple(_ordinal(day) for day in range(1, 32))


def _every(step: int, unit: str) -> str:
    return f"Every {unit}" if step == 1 else f"Every {step} {unit}s"


def _numbers(unit: str, values: list[int]) -> str:
    words = _shortened([str(value) for value in values], tuple(str(value) for value in range(60)))
    return f"{unit}{'s' if len(values) > 1 else ''} {_list(words)}"


def _shortened(words: list[str], order: Sequence[str]) -> list[str]:
    """Write neighbours in *order* as "a through b", and a long even row by its start and its end."""
    places = [order.index(word) for word in words]
    gaps = {after - before for before, after in pairwise(places)}
    if len(words) > MOST_VALUES_LISTED and len(gaps) == 1 and gaps != {1}:
        return [*words[:3], f"so on through {words[-1]}"]
    runs: list[list[str]] = []
    for index, word in enumerate(words):
        if index and places[index] == places[index - 1] + 1:
            runs[-1].append(word)
        else:
            runs.append([word])
    return [part for run in runs for part in ([f"{run[0]} through {run[-1]}"] if len(run) > 2 else run)]


def _list(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _is_run(values: list[int]) -> bool:
    return values == list(range(values[0], values[-1] + 1))


def _even_step(values: list[int], size: int) -> int | None:
    """Return n where *values* are those of */n and the last step is as long as the others."""
    step, rest = divmod(size, len(values))
    return step if not rest and values == list(range(0, size, step)) else None
