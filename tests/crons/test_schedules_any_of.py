"""Several schedules as one."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crons.exceptions import InvalidSchedule
from crons.schedules import NEVER, AnyOf, any_of, cron, every, parse

from .test_schedules_properties import moments

ZONE = ZoneInfo("America/New_York")
TEXTS = ["30 11,14 * * *", "15 23 * * MON", "*/20 * * * *", "30 2 * * *", "15 2 * * *"]
TEXTS += ["every 7m", "every 2h", "every 12h"]
parts = st.sampled_from([parse(text) for text in TEXTS])


def test_slots_are_those_of_all_parts_and_one_where_they_meet():
    """12:00 belongs to both."""
    both = any_of(cron("0 12,18 * * *"), every(hours=6))
    after, until = datetime(2026, 3, 2, 5, tzinfo=UTC), datetime(2026, 3, 2, 18, tzinfo=UTC)

    assert both.between(after, until, UTC) == [datetime(2026, 3, 2, hour, tzinfo=UTC) for hour in (6, 12, 18)]
    assert both.count(after, until, UTC) == 3
    assert both.next_after(after, UTC).hour == 6
    assert both.latest(until, UTC) == until


@settings(max_examples=150)
@given(st.lists(parts, min_size=1, max_size=4), moments)
def test_all_four_questions_agree(chosen, start):
    """Through clock changes too: what next_after walks, between lists and count counts."""
    schedule = any_of(*chosen)
    start = start.replace(microsecond=0)
    end = start + timedelta(days=14)
    walked, at = [], start
    while (at := schedule.next_after(at, ZONE)) <= end:
        walked.append(at)

    assert schedule.between(start, end, ZONE) == walked
    assert schedule.count(start, end, ZONE) == len(walked)
    assert schedule.latest(end, ZONE) == walked[-1]
    assert walked == sorted({slot for part in chosen for slot in part.between(start, end, ZONE)})


def test_text_gives_it_back():
    """A row holds nothing else."""
    made = any_of(every(minutes=90), cron("30 6 * * mon"), cron("@daily"), zone="Europe/Berlin")

    assert made.text == "every 5400s | 30 6 * * MON | @daily"
    assert parse(made.text, zone="Europe/Berlin") == made
    assert isinstance(parse(made.text), AnyOf)
    assert made.explain() == "Every 90 minutes, counted in UTC; at 06:30 on Monday; at 00:00 every day"


def test_one_schedule_given_twice_is_itself():
    """A class that lists a time twice."""
    assert any_of(cron("@daily"), cron("@daily")) == cron("@daily")


@pytest.mark.parametrize("made", [(), (NEVER,), (cron("@daily"), NEVER), (any_of(cron("@daily"), every(hours=7)),)])
def test_parts_without_slots_are_refused(made):
    """A schedule of nothing would be a job that nobody misses."""
    with pytest.raises(InvalidSchedule, match="expected schedules, each with slots"):
        any_of(*made)


@pytest.mark.parametrize("text", ["| @daily", "@daily |", "|", "@daily | 61 * * * *"])
def test_text_with_an_empty_or_wrong_part_is_refused(text):
    """A row that was written by hand is parked, with the reason."""
    with pytest.raises(InvalidSchedule):
        parse(text)
