"""What the five fields of a crontab line mean on a wall clock that never changes.

The grammar is Debian cron's, tested against its ``crontab -n``; a text of which it would ignore a part is refused.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import chain, product

from crons.exceptions import InvalidSchedule
from crons.schedules import quartz

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
# A margin of a year at both ends of what a datetime can hold, so that no zone's offset leads out of it.
FIRST_YEAR, LAST_YEAR = 2, 9998


def refused(declared: str, reason: str) -> InvalidSchedule:
    """Make the error that shows what was *declared*, says why not, and what was expected."""
    declared = f"{declared[:80]}…" if len(declared) > 80 else declared
    return InvalidSchedule(f"{declared}: {reason}")


@dataclass(frozen=True)
class Field:
    """One of the five fields: its name and the values it may hold."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    def objection(self, text: str) -> str | None:
        """Say what is wrong with *text*; None if Debian cron understands every character of it."""
        for term in text.split(","):
            if of_quartz := quartz.recipe(self.name, term):
                return f"{self.name} is {term}, {of_quartz}"
            if expected := self._expected(term):
                return f"{self.name} is {(term or text)[:40]}, expected {expected}"
        return None

    def values(self, text: str) -> frozenset[int]:
        """Return the values that *text*, to which there is no objection, stands for."""
        return frozenset(chain.from_iterable(self._range(term) for term in text.split(",")))

    def _range(self, term: str) -> range:
        span, _, step = term.partition("/")
        low, _, high = (f"{self.low}-{self.high}" if span == "*" else span).partition("-")
        return range(self._number(low), self._number(high or low) + 1, int(step or 1))

    def _expected(self, term: str) -> str | None:
        """Say what was expected instead of *term*; None if it is fine."""
        values, slash, step = term.partition("/")
        low, dash, high = values.partition("-")
        if values != "*" and (self._value(low) is None or (dash and self._value(high) is None)):
            names = f"{self.names[0]}-{self.names[-1]}, " if self.names else ""
            return f"{self.low}-{self.high}, {names}*, a-b, a,b or */n"
        if slash and not re.fullmatch("0*[1-9][0-9]{0,3}", step):
            return "a step of 1 or more"
        if dash and self._number(low) > self._number(high):
            return f"a range that goes up: {self._wrapped(low, high, int(step or 1))}"
        if slash and values != "*" and not dash:
            reached = range(self._number(low), max(self._last, self._number(low)) + 1, int(step))
            span = f"{values.upper()}-{self._last}/{step}" if len(reached) > 1 else values.upper()
            return f"a step behind * or a range: {span}"
        return None

    def _value(self, text: str) -> int | None:
        if text.isascii() and text.upper() in self.names:
            return self.names.index(text.upper()) + self.low
        number = int(text) if re.fullmatch("[0-9]{1,4}", text) else -1
        return number if self.low <= number <= self.high else None

    def _number(self, text: str) -> int:
        return self._value(text) or 0

    @property
    def _last(self) -> int:
        """The last value that has a meaning of its own: 7 is Sunday once more."""
        return self.low + len(self.names) - 1 if self.names else self.high

    def _wrapped(self, low: str, high: str, step: int) -> str:
        """Write a range that passes the end of the field as two that do not: 56-4/4 is 56,0-4/4."""
        start, size = self._number(low), self._last - self.low + 1
        if start > self._last:
            start -= size
        end = self._number(high)
        reached = range(start, end + (size if end < start else 0) + 1, step)
        upper = [value for value in reached if value <= self._last]
        lower = [value - size for value in reached if value > self._last]
        is_named = low.upper() in self.names
        return ",".join(self._span(part, step, is_named) for part in (upper, lower) if part)

    def _span(self, values: list[int], step: int, is_named: bool) -> str:
        first, last = (self.names[each - self.low] if is_named else str(each) for each in (values[0], values[-1]))
        if len(values) == 1:
            return first
        return f"{first}-{last}" + (f"/{step}" if step > 1 else "")


FIELDS = (
    Field("minute", 0, 59),
    Field("hour", 0, 23),
    Field("day of month", 1, 31),
    Field("month", 1, 12, MONTHS),
    Field("day of week", 0, 7, WEEKDAYS),
)


@dataclass(frozen=True)
class WallClock:
    """The readings that five fields name; a day of week is 0 (Sunday) to 6.

    Every method takes and gives naive datetimes; the spans are open at their start and closed at their end.
    """

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    both_days: bool  # a day must be in days and in weekdays; else one of them is enough
    follows_real_time: bool  # the minute or the hour begins with *: Debian's "wildcard" job

    @classmethod
    def read(cls, text: str) -> WallClock:
        """Return what the five fields of *text* name.

        Raises: InvalidSchedule if Debian cron would not read all of it, or no date ever fits.
        """
        texts = text.split(" ") if text else []
        if len(texts) != len(FIELDS):
            raise refused(repr(text), _wrong_number_of_fields(len(texts)))
        for field, field_text in zip(FIELDS, texts, strict=True):
            if objection := field.objection(field_text):
                raise refused(repr(text), objection)
        minutes, hours, days, months, weekdays = map(Field.values, FIELDS, texts)
        clock = cls(
            minutes=minutes,
            hours=hours,
            days=days,
            months=months,
            weekdays=frozenset(day % 7 for day in weekdays),
            both_days=texts[2].startswith("*") or texts[4].startswith("*"),
            follows_real_time=texts[0].startswith("*") or texts[1].startswith("*"),
        )
        # 28 years hold every month with every first weekday, leap or not: what fits none of them never comes.
        if not any(clock.days_of(year, month) for year, month in product(range(2000, 2028), range(1, 13))):
            raise refused(repr(text), _no_such_date(texts))
        return clock

    def after(self, reading: datetime) -> datetime | None:
        """Return the first reading after *reading*; None at the end of time."""
        midnight = _midnight(reading)
        times = self.times()
        index = bisect_right(times, reading - midnight)
        if index < len(times) and self._has_day(midnight):
            return midnight + times[index]
        day = self._next_day(midnight)
        return day + times[0] if day else None

    def until(self, reading: datetime) -> datetime | None:
        """Return the last reading at or before *reading*; None at the beginning of time."""
        midnight = _midnight(reading)
        times = self.times()
        index = bisect_right(times, reading - midnight)
        if index and self._has_day(midnight):
            return midnight + times[index - 1]
        day = self._previous_day(midnight)
        return day + times[-1] if day else None

    def between(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Yield the readings in (after, until], oldest first."""
        midnight = _midnight(after)
        day = midnight if self._has_day(midnight) else self._next_day(midnight)
        while day and day <= until:
            times = self.times()
            for time_of_day in times[bisect_right(times, after - day) : bisect_right(times, until - day)]:
                yield day + time_of_day
            day = self._next_day(day)

    def count(self, after: datetime, until: datetime) -> int:
        """Return how many readings lie in (after, until].

        Cost: grows with the months in between, not with the readings.
        """
        if until <= after:
            return 0
        return self._count_since(after, until) - self._count_since(after, after)

    def times(self) -> tuple[timedelta, ...]:
        """Return the times of a matching day, ascending."""
        return _times(self.minutes, self.hours)

    def days_of(self, year: int, month: int) -> tuple[int, ...]:
        """Return the matching days of one month, ascending."""
        if month not in self.months:
            return ()
        first_weekday, length = monthrange(year, month)
        return _days(self.days, self.weekdays, self.both_days, first_weekday, length)

    def _has_day(self, day: datetime) -> bool:
        return day.day in self.days_of(day.year, day.month)

    def _next_day(self, day: datetime) -> datetime | None:
        year, month, known = day.year, day.month, day.day
        while year <= LAST_YEAR:
            days = self.days_of(year, month)
            if days and days[-1] > known:
                return datetime(year, month, days[bisect_right(days, known)])  # noqa: DTZ001 - a reading
            year, month, known = (year, month + 1, 0) if month < 12 else (year + 1, 1, 0)
        return None

    def _previous_day(self, day: datetime) -> datetime | None:
        year, month, known = day.year, day.month, day.day
        while year >= FIRST_YEAR:
            days = self.days_of(year, month)
            if days and days[0] < known:
                return datetime(year, month, days[bisect_left(days, known) - 1])  # noqa: DTZ001 - a reading
            year, month, known = (year, month - 1, 32) if month > 1 else (year - 1, 12, 32)
        return None

    def _count_since(self, start: datetime, reading: datetime) -> int:
        """Count the readings from the first of *start*'s month up to *reading*."""
        midnight = _midnight(reading)
        this_month = self.days_of(reading.year, reading.month)
        whole_days = bisect_left(this_month, reading.day)
        for index in range(start.year * 12 + start.month - 1, reading.year * 12 + reading.month - 1):
            whole_days += len(self.days_of(index // 12, index % 12 + 1))
        today = bisect_right(self.times(), reading - midnight) if reading.day in this_month else 0
        return whole_days * len(self.times()) + today


def _midnight(reading: datetime) -> datetime:
    return reading.replace(hour=0, minute=0, second=0, microsecond=0)


# Shared by all schedules: a thousand jobs of a project use few different sets of times and days.
@lru_cache(maxsize=1024)
def _times(minutes: frozenset[int], hours: frozenset[int]) -> tuple[timedelta, ...]:
    return tuple(timedelta(hours=hour, minutes=minute) for hour in sorted(hours) for minute in sorted(minutes))


@lru_cache(maxsize=4096)
def _days(
    days: frozenset[int], weekdays: frozenset[int], both: bool, first_weekday: int, length: int
) -> tuple[int, ...]:
    in_days = {day for day in days if day <= length}
    in_weekdays = {day for day in range(1, length + 1) if (first_weekday + day) % 7 in weekdays}
    return tuple(sorted(in_days & in_weekdays if both else in_days | in_weekdays))


def _wrong_number_of_fields(found: int) -> str:
    fields = ", ".join(field.name for field in FIELDS)
    if found == len(FIELDS) + 1:
        return f"6 fields, expected 5 ({fields}); seconds are declared as every(seconds=10)"
    return f"{found} field{'' if found == 1 else 's'}, expected 5 ({fields})"


def _no_such_date(texts: list[str]) -> str:
    return f"day of month {texts[2]} never comes in month {texts[3]}, expected a date that exists"
