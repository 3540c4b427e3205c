"""Schedules in words: what a person reads in `list` and on pages must be what falls due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crons.exceptions import InvalidSchedule
from crons.schedules import Cron, Schedule, cron, every
from crons.schedules.wallclock import FIELDS

DAYS = timedelta(days=30)  # the clocks change in them
WORDS = [
    ("* * * * *", "Every minute"),
    ("*/1 * * * *", "Every minute"),
    ("*/2 * * * *", "Every 2 minutes"),
    ("*/5 * * * *", "Every 5 minutes"),
    ("*/7 * * * *", "At minutes 0, 7, 14 and so on through 56 of every hour"),
    ("*/15 * * * *", "Every 15 minutes"),
    ("*/45 * * * *", "At minutes 0 and 45 of every hour"),
    ("0,30 * * * *", "Every 30 minutes"),
    ("1-59/2 * * * *", "At minutes 1, 3, 5 and so on through 59 of every hour"),
    ("10-20,45 * * * *", "At minutes 10 through 20 and 45 of every hour"),
    ("*/30,1-29 * * * *", "At minutes 0 through 30 of every hour"),
    ("0 * * * *", "Every hour"),
    ("*/60 * * * *", "Every hour"),
    ("15 * * * *", "Every hour at minute 15"),
    ("59 */1 * * *", "Every hour at minute 59"),
    ("0 */2 * * *", "Every 2 hours from 00:00 through 22:00"),
    ("30 */2 * * *", "Every 2 hours from 00:30 through 22:30"),
    ("0 */3 * * *", "Every 3 hours from 00:00 through 21:00"),
    ("0 */4 * * *", "At 00:00, 04:00, 08:00, 12:00, 16:00 and 20:00 every day, as often as the clock shows them"),
    ("0 */5 * * *", "At 00:00, 05:00, 10:00, 15:00 and 20:00 every day, as often as the clock shows them"),
    ("0 */12 * * *", "At 00:00 and 12:00 every day, as often as the clock shows them"),
    ("0 */24 * * *", "At 00:00 every day, as often as the clock shows it"),
    ("15 */2,1 * * *", "At minute 15 of hours 0 through 2, 4, 6, 8, 10, 12, 14, 16, 18, 20 and 22, as often as the clock shows them"),  # noqa: E501 (one row, one line)
    ("* 5 * * *", "Every minute from 05:00 through 05:59"),
    ("* 5,6 * * *", "Every minute from 05:00 through 06:59"),
    ("* 5,8 * * *", "Every minute of hours 5 and 8"),
    ("*/5 1-3 * * *", "Every 5 minutes from 01:00 through 03:55"),
    ("*/5 9-17 * * *", "Every 5 minutes from 09:00 through 17:55"),
    ("*/15 8,20 * * *", "Every 15 minutes of hours 8 and 20"),
    ("*/20 0-23/2 * * *", "Every 20 minutes of hours 0, 2, 4 and so on through 22"),
    ("*/30 2 * * *", "At 02:00 and 02:30 every day, as often as the clock shows them"),
    ("*/7 2 * * *", "At minutes 0, 7, 14 and so on through 56 of hour 2, as often as the clock shows them"),
    ("*/90 9-17 * * *", "Every hour from 09:00 through 17:00, as often as the clock shows them"),
    ("*/90 3 * * *", "At 03:00 every day, as often as the clock shows it"),
    ("1-5 */2 * * *", "At minutes 1 through 5 of hours 0, 2, 4 and so on through 22, as often as the clock shows them"),
    ("0 0 * * *", "At 00:00 every day"),
    ("0 8 * * *", "At 08:00 every day"),
    ("30 11,14 * * *", "At 11:30 and 14:30 every day"),
    ("0,30 2 * * *", "At 02:00 and 02:30 every day"),
    ("0 0-5 * * *", "At 00:00, 01:00, 02:00, 03:00, 04:00 and 05:00 every day"),
    ("0 0-23 * * *", "Every hour from 00:00 through 23:00"),
    ("5 0-23 * * *", "Every hour from 00:05 through 23:05"),
    ("0 0-22/2 * * *", "At minute 0 of hours 0, 2, 4 and so on through 22"),
    ("0 0-21/3 * * *", "At minute 0 of hours 0, 3, 6, 9, 12, 15, 18 and 21"),
    ("0 1-23/2 * * *", "Every 2 hours from 01:00 through 23:00"),
    ("0 2-23/3 * * *", "Every 3 hours from 02:00 through 23:00"),
    ("0 8-20/2 * * *", "Every 2 hours from 08:00 through 20:00"),
    ("0 9-17 * * *", "Every hour from 09:00 through 17:00"),
    ("15 9-17 * * *", "Every hour from 09:15 through 17:15"),
    ("0 8-12,14-18 * * *", "Every hour from 08:00 through 12:00 and from 14:00 through 18:00"),
    ("0 8-12,14,16-18 * * *", "At minute 0 of hours 8 through 12, 14 and 16 through 18"),
    ("0,15,30,45 0-23 * * *", "At minutes 0, 15, 30 and 45 of hours 0 through 23"),
    ("0-59/5 1-3 * * *", "At minutes 0, 5, 10 and so on through 55 of hours 1 through 3"),
    ("1,2 1-8 * * *", "At minutes 1 and 2 of hours 1 through 8"),
    ("0-10 5 * * *", "Every minute from 05:00 through 05:10"),
    ("0-58 5 * * *", "Every minute from 05:00 through 05:58"),
    ("0-59 5 * * *", "At minutes 0 through 59 of hour 5"),
    ("0-59 5-6 * * *", "At minutes 0 through 59 of hours 5 and 6"),
    ("0,20,40 1,2 * * *", "At 01:00, 01:20, 01:40, 02:00, 02:20 and 02:40 every day"),
    ("0,20,40 1,3,5 * * *", "At minutes 0, 20 and 40 of hours 1, 3 and 5"),
    ("5-50/5 4 * * *", "At minutes 5, 10, 15 and so on through 50 of hour 4"),
    ("0 0 1 * *", "At 00:00 on the 1st of every month"),
    ("0 0 1,15 * *", "At 00:00 on the 1st and 15th of every month"),
    ("0 0 21-23 * *", "At 00:00 on the 21st through the 23rd of every month"),
    ("0 0 31 * *", "At 00:00 on the 31st of every month, where there is one"),
    ("0 0 1,31 * *", "At 00:00 on the 1st and 31st of every month, the 31st where there is one"),
    ("0 0 30 * *", "At 00:00 on the 30th of every month, where there is one"),
    ("0 0 29 * *", "At 00:00 on the 29th of every month, where there is one"),
    ("0 0 28-31 * *", "At 00:00 on the 28th through the 31st of every month, the 29th through 31st where there is one"),
    ("0 0 */2 * *", "At 00:00 on the 1st, 3rd, 5th and so on through the 31st of every month, the 29th and 31st where there is one"),  # noqa: E501 (one row, one line)
    ("0 0 29 2 *", "At 00:00 on the 29th of February"),
    ("0 0 29,30 2,3 *", "At 00:00 on the 29th and 30th of February and March, where there is one"),
    ("0 0 31 1,3,5,7,8,10,12 *", "At 00:00 on the 31st of January, March, May, July, August, October and December"),
    ("0 0 30 4,6 *", "At 00:00 on the 30th of April and June"),
    ("0 0 31 4,5 *", "At 00:00 on the 31st of April and May, where there is one"),
    ("0 0 11,12,13 2 *", "At 00:00 on the 11th through the 13th of February"),
    ("0 0 1 1-11 *", "At 00:00 on the 1st of January through November"),
    ("0 0 * 3 *", "At 00:00 every day in March"),
    ("0 0 1-31 * MON", "At 00:00 every day"),
    ("0 8 13 * FRI", "At 08:00 on the 13th of the month, and also on Friday"),
    ("0 0 31 * MON", "At 00:00 on the 31st of the month, where there is one, and also on Monday"),
    ("0 8 1 6 MON", "At 08:00 on the 1st of the month, and also on Monday, in June"),
    ("0 8 */2 * MON", "At 08:00 on Monday, if it is the 1st, 3rd, 5th and so on through the 31st of the month"),
    ("0 8 * * 1-5", "At 08:00 on Monday through Friday"),
    ("0 8 * * 5-7", "At 08:00 on Friday through Sunday"),
    ("0 8 * * 0,6", "At 08:00 on Saturday and Sunday"),
    ("0 8 * * */2", "At 08:00 on Tuesday, Thursday, Saturday and Sunday"),
    ("0 0 1 * 0-6", "At 00:00 every day"),
    ("0 8-12,14-18 * * MON-FRI", "Every hour from 08:00 through 12:00 and from 14:00 through 18:00 on Monday through Friday"),  # noqa: E501 (one row, one line)
    ("30 7 * JUN-AUG SAT,SUN", "At 07:30 on Saturday and Sunday in June through August"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "english"), WORDS)
def test_a_schedule_reads_as_it_is_due(text: str, english: str) -> None:
    """Told from the values that are named: "Every 60 minutes of hours …" and "31st of every month" were not so."""
    assert cron(text).explain() == english


MINUTES = (
    *("*", "*/2", "*/7", "*/15", "*/30", "*/60", "*/90", "*,5", "*/30,1-29", "0", "5", "59", "0,30", "0-59", "0-58"),
    *("0-59/15", "0-10", "1,2", "5-50/5", "0,20,40"),
)
HOURS = (
    *("*", "*/2", "*/3", "*/5", "*/12", "*/24", "*/2,1", "0", "2", "23", "0-23", "0-22/2", "1-23/2", "0-21/3", "2,3"),
    *("8-12,14-18", "8-12,14,16-18", "9-17", "0,12", "1,3,5", "0-5"),
)
DATES = (
    *("* * *", "*/2 * *", "1-31/2 * *", "1 * *", "31 * *", "1,31 * *", "30,31 * *", "28-31 * *", "1-30 * *", "29 2 *"),
    *("31 1,3,5,7,8,10,12 *", "31 1 *", "30 4,6 *", "31 4,5 *", "* 3 *", "* 1-11 *", "* * MON", "* * 1-5", "* * */2"),
    *("13 * FRI", "*/13 * FRI", "13 * */5", "31 * MON", "*/31 * MON", "1 6 MON", "*/2 * MON", "1-31/2 * MON"),
    *("1-31 * MON", "1 * 0-6", "* 6,7,8 SAT,SUN"),
)


def meaning(schedule: Cron) -> object:
    """Return what *schedule* does at any time, clock changes included."""
    clock = schedule.clock
    days = tuple(clock.days_of(year, month) for year, month in product(range(2001, 2005), range(1, 13)))
    return clock.minutes, clock.hours, clock.follows_real_time, days


def same_words(texts: list[str]) -> dict[str, dict[object, str]]:
    """Group *texts* by their words; of each group, one text for each meaning."""
    groups: dict[str, dict[object, str]] = {}
    for text in texts:
        try:
            schedule = cron(text)
        except InvalidSchedule:
            continue  # no such date
        groups.setdefault(schedule.explain(), {})[meaning(schedule)] = text
    return groups


@pytest.mark.parametrize("date", ["* * *", "31 * MON"])
def test_equal_words_mean_equal_times(date: str) -> None:
    """Two lines that read alike and run apart cannot be told from each other; one hour a year is apart."""
    groups = same_words([f"{minute} {hour} {date}" for minute, hour in product(MINUTES, HOURS)])

    assert [list(texts.values()) for texts in groups.values() if len(texts) > 1] == []
    assert len(groups) > 250


@pytest.mark.parametrize("time", ["0 8", "*/5 *"])
def test_equal_words_mean_equal_days(time: str) -> None:
    """The days of week and of month are read together, or apart, as a * in front of one says."""
    groups = same_words([f"{time} {date}" for date in DATES])

    assert [list(texts.values()) for texts in groups.values() if len(texts) > 1] == []


@pytest.mark.parametrize("zone", ["Asia/Kathmandu", "Asia/Kolkata", "Australia/Lord_Howe", "Europe/Berlin"])
def test_rhythms_that_read_alike_are_due_alike_in_every_zone(zone: str) -> None:
    """`every 1h` and `0 * * * *` both read "Every hour", and are half an hour apart in India."""
    rhythms: dict[str, list[Schedule]] = {}
    for step in range(1, 61):
        text = f"*/{step} * * * *" if step < 60 else "0 * * * *"
        for schedule in (cron(text), every(minutes=step)):
            rhythms.setdefault(schedule.explain(), []).append(schedule)

    start, tz = datetime(2026, 10, 3, 0, 1, tzinfo=UTC), ZoneInfo(zone)
    slots = {words: {tuple(each.between(start, start + DAYS, tz)) for each in same} for words, same in rhythms.items()}

    assert [words for words, several in slots.items() if len(several) > 1] == []
    assert [words for words, same in rhythms.items() if len(same) > 1] == [
        "Every minute", "Every 3 minutes", "Every 5 minutes", "Every 15 minutes",
    ]  # fmt: skip


@st.composite
def fields(draw: st.DrawFn, low: int, high: int) -> str:
    """Write a field of one or two terms, of the few values that make texts meet in their words."""
    terms = []
    for _ in range(draw(st.integers(1, 2))):
        first = draw(st.integers(low, min(low + 4, high)))
        span = draw(st.sampled_from(["*", str(first), f"{first}-{draw(st.integers(first, high))}"]))
        terms.append(span + (draw(st.sampled_from(["", "/2", "/3", "/12"])) if span != str(first) else ""))
    return ",".join(terms)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(fields(0, 59), fields(0, 23), fields(1, 31), fields(1, 12), fields(0, 7)), max_size=30))
def test_equal_words_mean_equal_slots_in_texts_that_nobody_thought_of(texts: list[tuple[str, ...]]) -> None:
    """The tables above are of what somebody thought of."""
    groups = same_words([" ".join(text) for text in texts])

    assert [list(found.values()) for found in groups.values() if len(found) > 1] == []


@st.composite
def wrapped(draw: st.DrawFn) -> tuple[int, int, int, int, bool]:
    """Draw a field, a range in it that passes its end, its step, and whether it is written in names."""
    place = draw(st.sampled_from([0, 1, 2, 3, 4]))
    field = FIELDS[place]
    last = field.low + len(field.names) - 1 if field.names else field.high
    high = draw(st.integers(field.low, last - 1))
    return place, draw(st.integers(high + 1, last)), high, draw(st.integers(1, last + 2)), draw(st.booleans())


@settings(max_examples=300, deadline=None)
@given(wrapped())
def test_the_range_that_is_proposed_means_what_was_written(drawn: tuple[int, int, int, int, bool]) -> None:
    """56-4/4 was answered with 56-59,0-4: pasted, it ran every minute."""
    place, low, high, step, in_names = drawn
    field = FIELDS[place]
    last = field.low + len(field.names) - 1 if field.names else field.high
    size = last - field.low + 1
    name = (lambda value: field.names[value - field.low].lower()) if in_names and field.names else str
    texts = ["*"] * 5
    texts[place] = f"{name(low)}-{name(high)}/{step}"

    with pytest.raises(InvalidSchedule) as caught:
        cron(" ".join(texts))

    proposed = str(caught.value).split("expected a range that goes up: ")[1]
    asked = {field.low + (value - field.low) % size for value in range(low, high + size + 1, step)}
    assert field.objection(proposed) is None
    assert {value % 7 if place == 4 else value for value in field.values(proposed)} == asked
    assert proposed == proposed.upper()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5/15 * * * *", "5-59/15"), ("59/2 * * * *", "59"), ("0 0 * jan/3 *", "JAN-12/3"), ("0 0 * * 1/2", "1-6/2"),
        ("0 0 * * 7/2", "7"), ("0 0 * * fri/3", "FRI"),
    ],
)  # fmt: skip
def test_a_step_behind_a_value_is_answered_with_the_range_that_it_means(text: str, expected: str) -> None:
    """As other crons read it: from the value to the end of the field."""
    with pytest.raises(InvalidSchedule) as caught:
        cron(text)

    assert f"expected a step behind * or a range: {expected}" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("0 0 L * *", "day of month 28-31"), ("0 0 L-3 * *", "day of month 25-28"),
        ("0 0 LW * *", "day of month 26-31"), ("0 0 15W * *", "day of month 14-16"),
        ("0 0 1W * *", "day of month 1-3"), ("0 0 31W * *", "day of month 29-31"),
        ("0 0 * * MON#2", "day of month 8-14 and day of week *"),
        ("0 0 * * 2#5", "day of month 29-31 and day of week *"),
        ("0 0 * * friL", "day of month 22-31 and day of week *"), ("0 0 * * L", "SAT"), ("0 0 ? * MON", "*"),
        ("0 0 * * ?", "*"),
    ],
)  # fmt: skip
def test_what_only_quartz_knows_gets_a_recipe(text: str, days: str) -> None:
    """ "expected 1-31, *, a-b" leaves whoever comes from there without a way."""
    with pytest.raises(InvalidSchedule) as caught:
        cron(text)

    assert f"write {days}" in str(caught.value)
    assert "Quartz's" in str(caught.value)
