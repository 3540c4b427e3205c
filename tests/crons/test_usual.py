"""How long an entry's runs usually take, and when one last succeeded: read from its rows."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection

from crons.models import Attempt, Entry, Run
from crons.watch import Usual, last_success_of, usual_of
from crons.watch.usual import Percentiles
from tests.crons.conftest import NOON, minutes

pytestmark = pytest.mark.django_db


def ran(entry: Entry, took: float, ago: float, verdict: str = "succeeded", kind: str = "slot") -> Run:
    """Write a run of *entry* that began so many minutes before noon and took so many."""
    at = NOON - minutes(ago)
    run = Run.objects.create(
        entry=entry, kind=kind, slot_at=at if kind == "slot" else None, planned_at=at, recorded_at=at, state="done",
        verdict=verdict, tries=1, trigger="serve", ended_at=at + minutes(took),
    )  # fmt: skip
    attempt = Attempt.objects.create(
        run=run, number=1, token=f"{run.pk:032x}", executor="process", instance="i", host="web1", pid=1, boot_id="b",
        begun_at=at, ended_at=at + minutes(took), outcome=verdict,
    )  # fmt: skip
    Run.objects.filter(pk=run.pk).update(current_attempt=attempt.pk)
    return run


def test_usual_is_of_the_last_sixty_successes(make_entry, django_assert_num_queries):
    """Not of failures, which often end at once, and not of how it was a year ago."""
    one, other, never = make_entry("one"), make_entry("other"), make_entry("never")
    for number in range(1, 61):
        ran(one, number, number * 60)
    for number in range(61, 70):
        ran(one, 600, number * 60)
    ran(one, 700, 5, "failed")
    ran(other, 3, 60, kind="manual")
    ran(never, 5, 60, "failed")

    with django_assert_num_queries(1):
        found = usual_of([one.pk, other.pk, never.pk, one.pk, 0])

    assert found == {
        one.pk: Usual(p50=minutes(30), p95=minutes(57), count=60),
        other.pk: Usual(p50=minutes(3), p95=minutes(3), count=1),
    }
    assert usual_of([]) == {}


def test_a_hundred_entries_are_one_statement(make_entry, django_assert_num_queries):
    """A page shows a hundred; a page that needs more pays for more."""
    entries = [make_entry(f"entry{number}") for number in range(101)]
    for each in entries:
        ran(each, 1, 10)
    ids = [each.pk for each in entries]

    with django_assert_num_queries(1):
        assert len(usual_of(ids[:100])) == 100
    with django_assert_num_queries(2):
        assert len(usual_of(ids)) == 101
    with django_assert_num_queries(1):
        assert len(last_success_of(ids)) == 101


@pytest.mark.parametrize(
    ("p95", "count", "running_for", "is_long"),
    [
        (minutes(10), 60, minutes(20), False),
        (minutes(10), 60, minutes(20.1), True),
        (timedelta(seconds=1), 60, timedelta(seconds=61), False),
        (timedelta(seconds=1), 60, timedelta(seconds=62), True),
        (timedelta(0), 5, minutes(1.1), True),
        (minutes(1), 4, minutes(90), False),
    ],
)
def test_long_is_twice_as_long_and_a_minute_more(p95, count, running_for, is_long):
    """A job of a second that takes three worries nobody; of four runs nothing is said."""
    assert Usual(p95, p95, count).is_beyond(running_for) is is_long


def test_what_is_no_length_is_held_against_twice_the_p95_alone():
    """Of memory and processor seconds there is no minute that nobody wonders at."""
    usual = Percentiles.of([64.0, 1.0, 2.0, 3.0, 4.0])

    assert (usual.p50, usual.p95, usual.count) == (3.0, 64.0, 5)
    assert [usual.is_beyond(value) for value in (128.0, 128.5)] == [False, True]
    assert Percentiles.of([1.0]).limit is None


def test_last_success_is_that_of_the_newest_moment(make_entry):
    """A slot of last year that is made up for today does not say that the job works."""
    entry, never = make_entry("one"), make_entry("never")
    ran(entry, 1, 100, kind="manual")
    ran(entry, 200, 150)
    ran(entry, 1, 50, "failed")
    ran(never, 1, 50, "failed")

    assert last_success_of([entry.pk, never.pk]) == {entry.pk: NOON - minutes(99)}


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL keeps moments only")
@pytest.mark.parametrize("garbled", ["soon", "", "-1", "9" * 400])
def test_a_garbled_moment_says_nothing(make_entry, garbled):
    """Somebody has written into the rows by hand: pages still open."""
    entry = make_entry("one")
    ran(entry, 2, 100)
    bad = ran(entry, 1, 50)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE crons_attempt SET begun_at = %s WHERE run_id = %s", [garbled, bad.pk])
        cursor.execute("UPDATE crons_run SET ended_at = %s WHERE id = %s", [garbled, bad.pk])

    assert usual_of([entry.pk]) == {entry.pk: Usual(minutes(2), minutes(2), 1)}
    assert last_success_of([entry.pk]) == {}


def test_a_clock_set_back_makes_no_length_less_than_nothing(make_entry):
    """The attempt seems to have ended before it began."""
    entry = make_entry("one")
    ran(entry, -5, 100)

    assert usual_of([entry.pk]) == {entry.pk: Usual(timedelta(0), timedelta(0), 1)}
