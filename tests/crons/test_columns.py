"""Columns of moments on SQLite, which keeps any text there: what is no moment stops its own row only, and is mended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.apps import apps
from django.db import connection, models

from crons import ledger, watch
from crons.columns import UNREAD
from crons.dispatch import Dispatcher
from crons.ledger.maintenance import mending
from crons.models import Attempt, AuditEvent, Entry, Heartbeat, Pause, Run
from crons.testing import clock as stopped
from crons.triggers import heartbeat
from crons.verdicts import Outcome
from crons.watch import declarers
from crons.web import overview
from tests.crons.cli.conftest import call_crons
from tests.crons.conftest import NOON, minutes

pytestmark = [pytest.mark.django_db, pytest.mark.sqlite]  # PostgreSQL takes nothing for a moment that is none

TEXTS = ["2026-13-45 00:00:00", "2026-02-31 00:00:00", "0000-01-01 00:00:00", "soon", "30.11.2026", "", "0"]
COLUMNS = [
    (model, column.column)
    for model in (Entry, Run, Attempt, Pause, Heartbeat)
    for column in model._meta.concrete_fields
    if isinstance(column, models.DateTimeField)
]


def spoil(row, column, text):
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {row._meta.db_table} SET {column} = %s WHERE id = %s", [text, row.pk])


@pytest.fixture
def rows(led, make_entry, instance):
    """A run of each of two entries is going, a third has failed, and everything with a tag is paused."""
    for name in ("bad", "good", "third"):
        make_entry(name)
    Pause.objects.create(scope="tag:x", tag="x", paused_at=NOON, until=NOON + minutes(900))
    heartbeat.beat(instance, NOON)
    led.record(NOON + minutes(5))
    begun = {each.entry: each for each in led.begin(NOON + minutes(5))}
    led.finish(begun["third"], NOON + minutes(5), Outcome.FAILED)
    return {
        Entry: Entry.objects.get(name="bad"),
        Run: Run.objects.get(entry__name="bad"),
        Attempt: Attempt.objects.get(run__entry__name="bad"),
        Pause: Pause.objects.get(),
        Heartbeat: Heartbeat.objects.get(),
    }, begun


@pytest.mark.parametrize(("model", "column"), COLUMNS, ids=lambda value: getattr(value, "__name__", value))
def test_what_is_no_moment_stops_its_own_row_only(led, rows, instance, model, column):
    """`2026-13-45 00:00:00` was an error of the driver in whatever read the row, and of everybody's look."""
    found, begun = rows
    for text in ("2026-02-31 00:00:00", "soon"):
        spoil(found[model], column, text)
        at = NOON + minutes(6)
        with stopped.at(at):
            ledger.renew([each.attempt for each in begun.values()], at)
            watch.inspect(at)
            ledger.expire(at)
            ledger.require_believable(at)
            declarers.living(at)
            heartbeat.beat(instance, at)
            watch.inspect_rules(at)
            assert [call_crons(verb).code for verb in ("list", "history")] == [0, 0]
            assert [each for each in overview.look().problems.rows if each.kind == "crons"] == []

    led.finish(begun["good"], NOON + minutes(6))
    done = led.record(NOON + minutes(10))

    assert ("good", NOON + minutes(10)) in done.runs
    assert {"good", "third"} <= {each.entry for each in led.begin(NOON + minutes(10))}


def test_every_column_of_a_moment_can_be_read():
    """A plain DateTimeField in a new table would bring the driver's error back."""
    columns = [column for model in apps.get_app_config("crons").get_models() for column in model._meta.concrete_fields]
    moments = [column for column in columns if isinstance(column, models.DateTimeField)]

    assert {type(column).__name__ for column in moments} == {"RowDateTimeField"}


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_no_moment_reads_as_one_that_nobody_means(make_entry, text):
    """Not as none: that means "never" in one column, and "for ever" in another."""
    spoil(make_entry(), "wake_at", text)

    assert Entry.objects.get().wake_at == UNREAD
    assert Entry.objects.aggregate(at=models.Max("wake_at")) == {"at": UNREAD}


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 2, 28, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(2024, 2, 29, 23, 59, 59, 999500, tzinfo=UTC),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(9999, 1, 1, tzinfo=UTC),
        datetime(2000, 2, 29, 0, 0, 0, 1, tzinfo=UTC),
    ],
)
def test_every_moment_is_read_as_it_is(make_entry, moment):
    """SQLite rounds to milliseconds: what is nearly midnight is not of another day, and so no moment."""
    entry = make_entry()
    spoil(entry, "wake_at", f"{moment:%Y-%m-%d %H:%M:%S.%f}".rjust(26, "0"))

    assert Entry.objects.get().wake_at == moment
    assert Entry.objects.values_list("wake_at", flat=True).get() != UNREAD


@pytest.mark.parametrize("text", ["soon", "2026-13-45 00:00:00", "31.12.2026", "9999-99-99"])
def test_an_entry_whose_wake_is_no_moment_is_planned_anew(led, make_entry, text):
    """Such a text sorts behind every moment to come: the entry was never due again, and nothing said so."""
    spoil(make_entry("bad"), "wake_at", text)
    assert led.record(NOON + minutes(5)).runs == []

    assert ledger.mend_moments(NOON + minutes(5)) == 1

    assert led.record(NOON + minutes(5)).runs == [("bad", NOON + minutes(5))]
    event = AuditEvent.objects.get()
    assert (event.verb, event.subject_type, event.before) == ("mend", "entry", {"wake_at": text})
    assert ledger.mend_moments(NOON + minutes(5)) == 0


def test_a_run_and_a_lease_that_are_no_moments_are_looked_at(led, make_entry, instance):
    """A run that waits until "soon" was never begun, an attempt with such a lease never found lost."""
    for name in ("waits", "runs"):
        make_entry(name)
    led.record(NOON + minutes(5))
    waits = Run.objects.get(entry__name="waits")
    spoil(waits, "wake_at", "soon")
    led.begin(NOON + minutes(5))
    spoil(Attempt.objects.get(), "lease_until", "soon")

    assert ledger.mend_moments(NOON + minutes(6)) == 2

    assert [each.run for each in led.begin(NOON + minutes(6))] == [waits.pk]
    assert Attempt.objects.get(run__entry__name="runs").lease_until == NOON + minutes(6)
    assert ledger.expire(NOON + minutes(6) + timedelta(days=1), gone=lambda name, boot: True) != []


def test_a_scheduler_mends_what_it_could_never_find_due(make_entry, instance):
    """Whoever looks at the clock does it, in its first pass: that is all that a tick has."""
    spoil(make_entry("bad"), "wake_at", "soon")

    done = Dispatcher("tick", instance, {}).turn(NOON + minutes(5))

    assert done.runs == 1


def test_a_look_for_garbled_moments_reads_a_bounded_part_along_indexes(db):
    """An idle scheduler with a hundred thousand entries must not read them."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {mending.GARBLED}", [])
        plan = [row[3] for row in cursor.fetchall()]

    assert mending.GARBLED.count(f"DESC LIMIT {mending.LAST}") == 5
    assert [step for step in plan if "TEMP B-TREE" in step or step.startswith("SCAN crons_")] == []
    assert sum("INDEX" in step for step in plan) == 5
