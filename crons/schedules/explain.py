"""What a crontab text says, in plain English: built from the values that it matches, so that it cannot say more."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from crons.schedules.wallclock import WallClock

MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MAX_TIMES_LISTED = 6
MAX_VALUES_LISTED = 8
SHORTEST_ROW = 3
SHORTEST = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def explain(clock: WallClock) -> str:
    """Say when *clock* matches: "At 02:00 on Sunday", "Every 5 minutes".

    Equal words mean equal slots in every zone, clock changes included.
    """
    minutes, hours, date = sorted(clock.minutes), sorted(clock.hours), _date(clock)
    rhythm = _rhythm(minutes, hours) if clock.follows_real_time else ""
    if rhythm:
        return f"{rhythm} {date}".rstrip()
    count = len(minutes) * len(hours)
    if count > MAX_TIMES_LISTED:
        words = f"{_chosen(minutes, hours)} {date}".rstrip()
    else:
        times = [f"{hour:02}:{minute:02}" for hour in hours for minute in minutes]
        every_day = "" if date.startswith("on ") else "every day "
        words = f"At {_list(times)} {every_day}{date}".rstrip()
    # With a * it follows real time through a clock change, and the same times without one do not: say which it is.
    as_shown = f", as often as the clock shows {'it' if count == 1 else 'them'}"
    return words + (as_shown if clock.follows_real_time else "")


def _rhythm(minutes: list[int], hours: list[int]) -> str:
    """Say a rhythm that the minute or the hour with a * gives; empty where the times say it better."""
    minute_step, hour_step = _even_step(minutes, 60), _even_step(hours, 24)
    at = f" at minute {minutes[0]}" if minutes != [0] else ""
    if hour_step == 1 and len(minutes) == 1:
        return f"Every hour{at}"
    if hour_step == 1:
        return _every(minute_step, "minute") if minute_step else f"At {_numbers('minute', minutes)} of every hour"
    if len(minutes) * len(hours) <= MAX_TIMES_LISTED:
        return ""
    first, last = f"{hours[0]:02}:{minutes[0]:02}", f"{hours[-1]:02}:{minutes[-1]:02}"
    if len(minutes) == 1:
        return f"{_every(hour_step, 'hour')} from {first} through {last}" if hour_step else ""
    if not minute_step:
        return ""
    if _is_run(hours):
        return f"{_every(minute_step, 'minute')} from {first} through {last}"
    return f"{_every(minute_step, 'minute')} of {_numbers('hour', hours)}"


def _chosen(minutes: list[int], hours: list[int]) -> str:
    """Say times that are too many to list, in other words than _rhythm() has: equal words must mean equal slots."""
    # "Every 2 hours from 00:00 through 22:00" is how _rhythm() says */2.
    is_rhythm = len(hours) < 24 and _even_step(hours, 24) is not None
    if len(minutes) == 1 and not is_rhythm and (words := _hourly(minutes[0], hours)):
        return words
    if len(hours) == 1 and _is_run(minutes) and len(minutes) < 60:
        return f"Every minute from {hours[0]:02}:{minutes[0]:02} through {hours[0]:02}:{minutes[-1]:02}"
    return f"At {_numbers('minute', minutes)} of {_numbers('hour', hours)}"


def _hourly(minute: int, hours: list[int]) -> str:
    """Say hours that are rows of neighbours, or of even distance; empty where they are neither."""
    rows = _rows(hours)
    if all(len(row) >= SHORTEST_ROW for row in rows):
        return f"Every hour {_list([f'from {row[0]:02}:{minute:02} through {row[-1]:02}:{minute:02}' for row in rows])}"
    step = hours[1] - hours[0]
    if hours == list(range(hours[0], hours[-1] + 1, step)):
        return f"{_every(step, 'hour')} from {hours[0]:02}:{minute:02} through {hours[-1]:02}:{minute:02}"
    return ""


def _date(clock: WallClock) -> str:
    """Say which days; empty where every day of every month matches."""
    any_day, any_weekday, any_month = len(clock.days) == 31, len(clock.weekdays) == 7, len(clock.months) == 12
    months = _list(_shortened([MONTHS[month - 1] for month in sorted(clock.months)], MONTHS))
    in_months = "" if any_month else f" in {months}"
    weekdays = _weekdays(clock.weekdays)
    days = _list(_shortened([_ordinal(day) for day in sorted(clock.days)], ORDINALS))
    days = f"the {days}".replace("through ", "through the ")
    where = _where(clock)
    if (any_day and any_weekday) or (not clock.both_days and (any_day or any_weekday)):
        return in_months.strip()
    if any_day:
        return f"on {weekdays}{in_months}"
    if any_weekday:
        return f"on {days} of {'every month' if any_month else months}{where}"
    if clock.both_days:
        return f"on {weekdays}{in_months}, if it is {days} of the month"
    return f"on {days} of the month{where}, and also on {weekdays}{',' if in_months else ''}{in_months}"


def _weekdays(numbers: frozenset[int]) -> str:
    names = sorted((number - 1) % 7 for number in numbers)
    return _list(_shortened([WEEKDAYS[index] for index in names], WEEKDAYS))


def _ordinal(number: int) -> str:
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number not in (11, 12, 13) else "th"
    return f"{number}{suffix}"


ORDINALS = tuple(_ordinal(day) for day in range(1, 32))


def _where(clock: WallClock) -> str:
    """Say which of the days some months lack; a 29th of February needs no remark."""
    shortest = 29 if clock.months == {2} else min(SHORTEST[month - 1] for month in clock.months)
    missing = [day for day in sorted(clock.days) if day > shortest]
    if not missing:
        return ""
    named = f"the {_list(_shortened([_ordinal(day) for day in missing], ORDINALS))} " if clock.days > {*missing} else ""
    return f", {named}where there is one"


def _every(step: int, unit: str) -> str:
    return f"Every {unit}" if step == 1 else f"Every {step} {unit}s"


def _numbers(unit: str, values: list[int]) -> str:
    words = _shortened([str(value) for value in values], tuple(str(value) for value in range(60)))
    return f"{unit}{'s' if len(values) > 1 else ''} {_list(words)}"


def _shortened(words: list[str], order: Sequence[str]) -> list[str]:
    """Write neighbours in *order* as "a through b", and a long even row by its start and its end."""
    places = [order.index(word) for word in words]
    gaps = {after - before for before, after in pairwise(places)}
    if len(words) > MAX_VALUES_LISTED and len(gaps) == 1 and gaps != {1}:
        return [*words[:3], f"so on through {words[-1]}"]
    parts: list[str] = []
    for row in _rows(places):
        parts += (
            [f"{order[row[0]]} through {order[row[-1]]}"] if len(row) >= SHORTEST_ROW else [order[at] for at in row]
        )
    return parts


def _rows(numbers: list[int]) -> list[list[int]]:
    """Part ascending *numbers* into rows of neighbours."""
    rows: list[list[int]] = []
    for number in numbers:
        if rows and number == rows[-1][-1] + 1:
            rows[-1].append(number)
        else:
            rows.append([number])
    return rows


def _list(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _is_run(values: list[int]) -> bool:
    return len(_rows(values)) == 1


def _even_step(values: list[int], size: int) -> int | None:
    """Return n where *values* are those of */n and the last step is as long as the others."""
    step, rest = divmod(size, len(values))
    return step if not rest and values == list(range(0, size, step)) else None
