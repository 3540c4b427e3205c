"""What one look at an entry decides: pure, so every case is a line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crons.jobs.policies import Policy
from crons.planner import Account, plan
from crons.schedules import FAR_FUTURE, NEVER, cron, every
from crons.verdicts import Reason, Verdict

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
GRACE = timedelta(seconds=60)
FIVE_MINUTES = cron("*/5 * * * *")


def account(schedule=FIVE_MINUTES, *, since=NOON, paused_at=None, paused_until=None, zone="UTC", **policy):
    """An account that is settled up to *since*."""
    return Account(schedule, ZoneInfo(zone), Policy(**policy), since, paused_at, paused_until)


def at(minutes: float) -> datetime:
    """The moment so many minutes after noon."""
    return NOON + timedelta(minutes=minutes)


def told(planned):
    """A plan as (minutes of slots to run, (first, last, count, reason) of ranges)."""
    slots = [(slot.slot_at - NOON) / timedelta(minutes=1) for slot in planned.slots]
    ranges = [
        ((r.first_at - NOON) / timedelta(minutes=1), (r.last_at - NOON) / timedelta(minutes=1), r.count, r.reason.value)
        for r in planned.ranges
    ]
    return slots, ranges


@pytest.mark.parametrize(
    ("policy", "now", "slots", "ranges"),
    [
        ({}, 4.9, [], []),
        ({}, 5, [5], []),
        ({}, 12, [10], [(5, 5, 1, "catch_up")]),
        ({}, 61, [60], [(5, 55, 11, "catch_up")]),
        ({"catch_up": "none"}, 5.9, [5], []),
        ({"catch_up": "none"}, 6, [5], []),
        ({"catch_up": "none"}, 6.1, [], [(5, 5, 1, "catch_up")]),
        ({"catch_up": "none"}, 60.5, [60], [(5, 55, 11, "catch_up")]),
        ({"catch_up": "all"}, 16, [5, 10, 15], []),
        ({"catch_up": "all", "cap": 2}, 21, [15, 20], [(5, 10, 2, "cap")]),
        ({"deadline": timedelta(minutes=3)}, 8, [5], []),
        ({"deadline": timedelta(minutes=3)}, 8.1, [], [(5, 5, 1, "deadline")]),
        ({"deadline": timedelta(minutes=3)}, 14, [], [(5, 10, 2, "deadline")]),
        ({"catch_up": "all", "deadline": timedelta(minutes=11)}, 21, [10, 15, 20], [(5, 5, 1, "deadline")]),
        (
            {"catch_up": "all", "deadline": timedelta(minutes=11), "cap": 2},
            31,
            [25, 30],
            [(5, 15, 3, "deadline"), (20, 20, 1, "cap")],
        ),
    ],
)
def test_catch_up_decides_which_overdue_slots_run(policy, now, slots, ranges):
    """Every slot since the last look is in exactly one place: to be run, or written off with its reason."""
    planned = plan(account(**policy), at(now), GRACE)

    assert told(planned) == (slots, ranges)
    assert planned.accounted_until == at(now)


def test_wakes_at_the_next_slot():
    """The scheduler sleeps exactly until something falls due."""
    assert plan(account(), at(7), GRACE).wake_at == at(10)


def test_clock_gone_back_plans_nothing():
    """A step backwards never repeats a slot, and the next wake is the first slot not accounted for."""
    planned = plan(account(since=at(60)), at(1), GRACE)

    assert told(planned) == ([], [])
    assert (planned.accounted_until, planned.wake_at) == (at(60), at(65))


def test_pause_ends_by_itself():
    """Slots within the pause are skipped, those after it are planned as ever."""
    planned = plan(account(paused_at=NOON, paused_until=at(10)), at(16), GRACE)

    assert told(planned) == ([15], [(5, 10, 2, "paused")])
    assert planned.ranges[0].verdict == Verdict.SKIPPED


def test_start_before_is_the_shorter_of_deadline_and_patience():
    """A slot that waits for a place does not start after its deadline; catch_up="none" gives it the grace only."""
    late = plan(account(deadline=timedelta(minutes=3)), at(5), GRACE)
    strict = plan(account(catch_up="none", deadline=timedelta(minutes=3)), at(5), GRACE)
    patient = plan(account(), at(5), GRACE)

    starts = [planned.slots[0].start_before for planned in (late, strict, patient)]
    assert starts == [at(8), at(6), None]


def test_schedule_that_never_comes_is_never_woken():
    """A job that only people start costs nothing."""
    planned = plan(account(NEVER), at(60 * 24 * 365), GRACE)

    assert (told(planned), planned.wake_at) == (([], []), FAR_FUTURE)


def test_a_year_away_is_counted_not_walked():
    """A minute job after a year: 525,600 slots, one to run, the rest in one row."""
    planned = plan(account(cron("* * * * *")), NOON + timedelta(days=365), GRACE)

    assert len(planned.slots) == 1
    assert [r.count for r in planned.ranges] == [365 * 24 * 60 - 1]


@given(
    interval=st.integers(1, 7200),
    away=st.integers(0, 200_000),
    catch_up=st.sampled_from(["none", "latest", "all"]),
    cap=st.integers(1, 20),
    deadline=st.none() | st.integers(1, 100_000),
    grace=st.integers(1, 600),
)
def test_every_slot_is_accounted_for_once(interval, away, catch_up, cap, deadline, grace):
    """Whatever the policy: slots to run plus slots written off are all slots, none twice, in order."""
    schedule, now = every(seconds=interval), NOON + timedelta(seconds=away)
    limit = None if deadline is None else timedelta(seconds=deadline)
    planned = plan(account(schedule, catch_up=catch_up, cap=cap, deadline=limit), now, timedelta(seconds=grace))

    total = schedule.count(NOON, now, UTC)
    assert len(planned.slots) + sum(r.count for r in planned.ranges) == total
    spans = [(r.first_at, r.last_at) for r in planned.ranges] + [(s.slot_at, s.slot_at) for s in planned.slots]
    ends = [moment for span in spans for moment in span]
    assert ends == sorted(ends)
    assert all(limit is None or now - s.slot_at <= limit for s in planned.slots)
    assert all(r.reason in set(Reason) and r.count >= 1 for r in planned.ranges)
