"""What a slot is said to wait for whose job begins only in its window."""

from __future__ import annotations

import pytest

from crons.jobs.policies import Retry
from crons.jobs.windows import Window
from crons.models import Run
from crons.verdicts import Outcome
from tests.crons.conftest import NOON, minutes

WINDOW = Window("12:30", "12:50")
HOURLY = "5 * * * *"


@pytest.fixture
def windowed(make_entry):
    """Due at five past, begun from half past."""
    return make_entry("report", schedule=HOURLY, window=WINDOW)


def test_waits_for_its_window(world, windowed, answers):
    """Nothing is wrong; who cannot wait reads what to type."""
    world.record(5)
    world.begin(5)

    assert world.ask("report", NOON + minutes(5), 10) == answers.next()


def test_began_when_its_window_opened(world, windowed, answers):
    """It was not late, and it did not wait for a place only."""
    world.record(5)
    (begun,) = world.begin(30)
    world.finish(begun, 31)

    assert world.ask("report", NOON + minutes(5)) == answers.next()


def test_a_slot_to_come_will_wait_for_its_window(world, windowed, answers):
    """Asked before, it says so as well."""
    world.at(40)
    world.lives("report")

    assert world.ask("report", NOON + minutes(65)) == answers.next()


def test_the_window_opens_too_late(world, make_entry, answers):
    """First what will be, then what was."""
    make_entry("report", schedule=HOURLY, window=WINDOW, deadline=minutes(15))
    world.record(5)
    world.begin(5)

    assert world.ask("report", NOON + minutes(5), 10) == answers.next()
    world.begin(21)
    assert world.ask("report", NOON + minutes(5), 40) == answers.next()


def test_a_newer_slot_came_before_the_window(world, make_entry, answers):
    """The one that takes its place waits instead."""
    make_entry("report", schedule="*/10 * * * *", window=WINDOW)
    world.record(10)
    world.record(20)
    world.begin(20)

    assert world.ask("report", NOON + minutes(10), 25) == answers.next()


def test_a_retry_waits_for_the_window(world, make_entry, answers):
    """What failed shortly before the closing is tried again at the next opening."""
    make_entry("report", schedule=HOURLY, window=WINDOW, retry=Retry(1, minutes(5)))
    world.record(5)
    (begun,) = world.begin(30)
    world.finish(begun, 49, Outcome.FAILED, "ValueError: no")

    assert world.ask("report", NOON + minutes(5), 51) == answers.next()
    assert Run.objects.get().wake_at == NOON + minutes(24 * 60 + 30)
