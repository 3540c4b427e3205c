"""Schedules against a slow reference, with texts that nobody thought of."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from crons.exceptions import InvalidSchedule
from crons.schedules import FAR_FUTURE, Schedule, cron, every, parse
from crons.schedules.wallclock import FIELDS, Field

MONTHS = ["jan", "Feb", "MAR", "apr", "may", "JUN", "jul", "Aug", "sep", "oct", "nov", "DEC"]
WEEKDAYS = ["sun", "Mon", "TUE", "wed", "thu", "Fri", "SAT"]
LIMITS = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)]
TICK = timedelta.resolution

moments = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
several = settings(max_examples=300, deadline=None)


@st.composite
def values(draw, place: int, low: int, high: int) -> str:
    number = draw(st.integers(low, high))
    names = {3: MONTHS, 4: WEEKDAYS}.get(place, [])
    index = number - LIMITS[place][0]
    return names[index] if index < len(names) and draw(st.booleans()) else str(number)


@st.composite
def terms(draw, place: int) -> str:
    low, high = LIMITS[place]
    kind = draw(st.sampled_from(["star", "value", "range"]))
    if kind == "value":
        return draw(values(place, low, high))
    text = "*"
    if kind == "range":
        middle = draw(st.integers(low, high))
        # A name of Sunday is 0, so it cannot end a range that starts later.
        last = str(draw(st.integers(middle, high)))
        text = f"{draw(values(place, low, middle))}-{last}"
    return text + draw(st.sampled_from(["", "", "/1", "/2", "/5", "/7", "/90"]))


fields = [st.lists(terms(place), min_size=1, max_size=3).map(",".join) for place in range(5)]
texts = st.tuples(*fields).map(" ".join)


def reference(text: str, after: datetime, minutes: int) -> list[datetime]:
    """Walk the minutes and ask of each whether all fields match: UTC only, written from crontab(5)."""
    texts = text.lower().split()
    sets = [allowed(field, place) for place, field in enumerate(texts)]
    starred = texts[2][0] == "*" or texts[4][0] == "*"
    found = []
    first = after.replace(second=0, microsecond=0)
    for moment in (first + timedelta(minutes=number) for number in range(minutes + 1)):
        day_fits = moment.day in sets[2]
        weekday_fits = bool({moment.isoweekday(), moment.isoweekday() % 7} & sets[4])
        days_fit = (day_fits and weekday_fits) if starred else (day_fits or weekday_fits)
        time_fits = moment.minute in sets[0] and moment.hour in sets[1]
        if time_fits and days_fit and moment.month in sets[3] and moment > after:
            found.append(moment)
    return found


def allowed(field: str, place: int) -> set[int]:
    for number, name in enumerate(MONTHS if place == 3 else WEEKDAYS if place == 4 else []):
        field = field.replace(name.lower(), str(number + LIMITS[place][0]))
    result: set[int] = set()
    for term in field.split(","):
        span, _, step = term.partition("/")
        low, _, high = (span if span != "*" else "-".join(map(str, LIMITS[place]))).partition("-")
        result.update(range(int(low), int(high or low) + 1, int(step or 1)))
    return result


def has_a_date(text: str) -> bool:
    """Answer by trying each day of 28 years, in which every date falls on every day of the week."""
    _, _, days, months, weekdays = text.lower().split()
    if not days.startswith("*") and not weekdays.startswith("*"):
        return True
    dates = {(month, day) for month in allowed(months, 3) for day in range(1, monthrange(2024, month)[1] + 1)}
    return any(day in allowed(days, 2) for _, day in dates)


def read(text: str) -> Schedule:
    assume(has_a_date(text))
    return parse(text)


@settings(max_examples=100, deadline=None)
@given(texts, moments)
@example("* * 1-1/2 * *", datetime(2000, 1, 1, tzinfo=UTC))  # cronsim 2.8 reads 1-1/2 as 1-31/2
@example("0 0 13 * fri", datetime(2025, 6, 12, 23, 59, 59, 999999, tzinfo=UTC))
@example("*/5 * * */2 *", datetime(2024, 2, 29, 23, 59, tzinfo=UTC))
def test_slots_are_those_of_a_minute_by_minute_walk(text, after):
    """The reference knows nothing of tables, months or steps from slot to slot."""
    until = after + timedelta(days=2)

    slots = read(text).between(after, until, UTC)

    assert slots == [moment for moment in reference(text, after, 2 * 1440) if moment <= until]


@several
@given(texts, moments, st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe", "Africa/Casablanca"]))
def test_all_questions_agree_in_any_zone(text, after, zone):
    """next_after, latest, between and count are four views of one row of moments."""
    schedule, tz = read(text), ZoneInfo(zone)
    slots = [schedule.next_after(after, tz)]
    for _ in range(5):
        slots.append(schedule.next_after(slots[-1], tz))
    assume(slots[-1] < FAR_FUTURE)

    assert slots[0] > after
    assert all(sooner < later for sooner, later in pairwise(slots))
    assert [schedule.latest(slot, tz) for slot in slots] == slots
    assert [schedule.latest(slot - TICK, tz) for slot in slots[1:]] == slots[:-1]
    assert schedule.latest(after, tz) <= after
    assert schedule.next_after(schedule.latest(after, tz), tz) == slots[0]
    assert schedule.between(after, slots[-1], tz) == slots
    assert schedule.count(after, slots[-1], tz) == len(slots)


@several
@given(texts, moments)
def test_slots_are_those_of_cronsim_where_no_clock_changes(text, after):
    """A second opinion, by another author; it reads 1-1/2 as 1-31/2, which Debian does not."""
    assume(not any(len(Field.values(field, part)) == 1 and "/" in part for field, part in terms_of(text)))
    walk = CronSim(text, after)
    schedule = read(text)

    for _ in range(5):
        after = schedule.next_after(after, UTC)
        assume(after < FAR_FUTURE)
        assert after == next(walk)


def terms_of(text: str) -> list[tuple[Field, str]]:
    return [(field, term) for field, part in zip(FIELDS, text.split(), strict=True) for term in part.split(",")]


@several
@given(st.integers(1, 10**7), moments)
def test_all_questions_agree_for_real_time(seconds, after):
    """The same law for every()."""
    schedule = every(seconds=seconds)
    first = schedule.next_after(after, UTC)
    until = first + timedelta(seconds=3 * seconds)

    assert after < first <= after + timedelta(seconds=seconds)
    assert schedule.latest(first - TICK, UTC) == first - timedelta(seconds=seconds)
    assert schedule.between(after, until, UTC) == [first + timedelta(seconds=seconds * n) for n in range(4)]
    assert schedule.count(after, until, UTC) == 4


@several
@given(texts)
def test_a_valid_text_is_refused_only_if_no_date_fits(text):
    """What Debian understands must not be lost on the way to us."""
    if has_a_date(text):
        schedule = cron(text)
        assert parse(schedule.text) == schedule
        assert schedule.explain()
    else:
        with pytest.raises(InvalidSchedule, match="expected a date that exists"):
            cron(text)


garbage = st.one_of(
    st.text(),
    st.text("0123456789*/,-# \t@LW?JANMONSUN", max_size=40),
    st.lists(st.text("0123456789*/,-", max_size=6), min_size=5, max_size=5).map(" ".join),
    st.text("every 0123456789smhd", max_size=12).map("every {}".format),
)


@settings(max_examples=1000, deadline=None)
@given(garbage)
@example("9" * 5000 + " * * * *")
@example("*/" + "9" * 400 + " * * * *")
@example("every " + "9" * 400 + "s")
@example("0 0 1 1 \x00")
@example("@")
def test_garbage_is_refused_or_read_but_never_crashes(text):
    """A text comes from forms and files: whatever is in it, the answer is a schedule or InvalidSchedule."""
    try:
        schedule = parse(text)
    except InvalidSchedule:
        return

    assert parse(schedule.text) == schedule


@settings(max_examples=100, deadline=None)
@given(st.text())
def test_a_garbage_zone_is_refused(zone):
    """Not even a name with a path or a null byte in it reaches the file system."""
    assume(zone not in {"UTC", "GMT", "EST", "MST", "HST", "ROC", "ROK", "UCT", "PRC", "NZ", "GB", "W-SU"})

    with pytest.raises(InvalidSchedule, match="is unknown"):
        cron("@daily", zone=zone)
