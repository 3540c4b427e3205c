"""What people and pages may ask of a schedule."""

from __future__ import annotations

from datetime import timedelta
from importlib import import_module
from unittest import mock

import pytest
from django.db import IntegrityError

from crons import api, job, ledger
from crons.exceptions import Refused, UnknownJob
from crons.hosts.instances import Instance
from crons.jobs import registry
from crons.models import AuditEvent, Entry, Heartbeat, Incident, Range, Run
from crons.schedules import FAR_FUTURE
from crons.triggers import heartbeat
from crons.watch import Problem
from tests.crons.conftest import NOON, minutes

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """The database's clock says noon until a test moves it."""
    moments = {"now": NOON}
    monkeypatch.setattr(ledger, "database_now", lambda: moments["now"])
    return moments


def test_run_now_is_recorded_for_the_next_scheduler(make_entry):
    """A button press is a row; whoever has room begins it, once."""
    make_entry()
    job(None, name="heartbeat")(lambda loud=False: None)

    run = api.run_now("heartbeat", by="dana", args={"loud": True}, key="click 1")
    again = api.run_now("heartbeat", by="dana", key="click 1")

    assert (run.kind, run.state, run.requested_by, run.args) == ("manual", "due", "dana", {"loud": True})
    assert again.pk == run.pk
    assert AuditEvent.objects.first().actor == "dana"


def test_a_key_that_cannot_be_one_is_refused_before_anything_is_recorded(make_entry):
    """It came from a form or another system; the caller must learn what is wrong with it."""
    make_entry()
    make_entry("other")
    theirs = api.run_now("other", by="dana", key="order 7")
    told = []
    for key in ("x" * 151, "a\x00b", "order 7"):
        with pytest.raises(Refused) as error:
            api.run_now("heartbeat", by="dana", key=key)
        told.append(str(error.value))

    assert told == [
        f"key={'x' * 40!r}… has 151 characters, expected at most 150. Nothing was requested.",
        "key='a\\x00b' has a NUL or half a character in it, which no database keeps. Nothing was requested.",
        f"the key 'order 7' is that of run {theirs.pk} of 'other': "
        "nothing was requested. Give runs of 'heartbeat' keys of their own.",
    ]
    assert (Run.objects.count(), AuditEvent.objects.count()) == (1, 1)


def test_a_key_that_another_takes_at_that_moment_is_seen(make_entry, monkeypatch):
    """Two systems that number their orders alike: the unique key tells, in words."""
    make_entry()
    make_entry("other")
    record = import_module("crons.ledger.operations.runs")
    real, beaten = record._request, []

    def request(*args):
        if beaten:
            return real(*args)
        beaten.append(real("other", NOON, "api", "eve", None, "order 7"))
        raise IntegrityError("UNIQUE constraint failed: crons_run.request_key")

    monkeypatch.setattr(record, "_request", request)

    with pytest.raises(Refused, match=r"^the key 'order 7' is that of run \d+ of 'other'"):
        ledger.request("heartbeat", NOON, "api", key="order 7")


@pytest.mark.parametrize("deed", ["run", "cancel"])
def test_a_deed_that_cannot_be_written_down_is_not_done(make_entry, monkeypatch, deed):
    """The audit event and the deed are one transaction."""
    make_entry()
    waiting = api.run_now("heartbeat", by="dana")
    before = list(Run.objects.values())
    module = import_module("crons.ledger.operations.runs")
    monkeypatch.setattr(module, "note", lambda *args, **kwargs: 1 / 0)

    do = {
        "run": lambda: api.run_now("heartbeat", by="dana"),
        "cancel": lambda: api.cancel(waiting.pk, by="dana", reason="no"),
    }[deed]

    with pytest.raises(ZeroDivisionError):
        do()

    assert list(Run.objects.values()) == before
    assert AuditEvent.objects.count() == 1


def test_pause_and_resume_settle_the_account_first(make_entry, clock):
    """Slots before the pause run, those within it are skipped, those after it run again."""
    make_entry()
    clock["now"] = NOON + minutes(6)
    api.pause("heartbeat", by="dana", reason="audit")
    clock["now"] = NOON + minutes(16)
    api.resume("heartbeat", by="dana")

    assert [run.slot_at for run in Run.objects.all()] == [NOON + minutes(5)]
    row = Range.objects.get()
    assert (row.first_at, row.last_at, row.reason) == (NOON + minutes(10), NOON + minutes(15), "paused")
    entry = Entry.objects.get()
    assert (entry.paused_at, entry.paused_by, entry.wake_at) == (None, "", NOON + minutes(20))
    assert [event.verb for event in AuditEvent.objects.order_by("pk")] == ["pause", "resume"]


def test_upcoming_merges_all_entries(make_entry):
    """What runs next, over all entries, soonest first, with the pause shown."""
    make_entry("b", schedule="*/10 * * * *")
    make_entry("a", schedule="*/15 * * * *")
    Entry.objects.filter(name="a").update(paused_at=NOON)

    found = [(slot.at - NOON, slot.entry, slot.paused) for slot in api.upcoming(count=4)]

    assert found == [
        (minutes(10), "b", False),
        (minutes(15), "a", True),
        (minutes(20), "b", False),
        (minutes(30), "a", True),
    ]


def test_unknown_names_are_refused_with_the_nearest(make_entry):
    """Everywhere the same words."""
    make_entry()

    for ask in (api.upcoming, api.history, api.entry):
        with pytest.raises(UnknownJob, match="Did you mean 'heartbeat'"):
            ask("hartbeat")


def test_well_is_an_empty_list(make_entry, led):
    """Nothing to report, nothing reported."""
    make_entry()
    led.record(NOON)

    assert api.health() == []


def test_health_names_what_is_wrong(make_entry, led, clock, instance):
    """Parked, overdue, failing and silent: each a line that says what to look at."""
    make_entry("parked", schedule="61 * * * *")
    led.record(NOON)
    make_entry("overdue")
    make_entry("retired")
    Entry.objects.filter(name="retired").update(retired_at=NOON, wake_at=FAR_FUTURE)
    Entry.objects.filter(name="overdue").update(wake_at=NOON + minutes(5))
    entry = Entry.objects.get(name="overdue")
    Incident.objects.create(
        rule="failing", entry=entry, open_key="x", summary="overdue failed: boom", opened_at=NOON, changed_at=NOON
    )
    heartbeat.beat(instance, NOON)
    clock["now"] = NOON + minutes(7)

    found = {(problem.kind, problem.entry) for problem in api.health()}

    assert found == {("parked", "parked"), ("overdue", "overdue"), ("failing", "overdue"), ("scheduler", "")}


def test_health_names_cron_modules_that_fail(db, clock, monkeypatch):
    """Only processes that have this code know of them: no row tells."""
    monkeypatch.setattr(registry, "broken", {"stock.cron": "NameError: name 'x' is not defined"})

    assert api.health() == [
        Problem(
            "broken",
            "no job of stock.cron is begun here: NameError: name 'x' is not defined",
            next_step="See: manage.py check",
        )
    ]


@pytest.mark.parametrize(("catch_up", "what"), [("latest", "a run waits"), ("all", "2 runs wait")])
def test_health_names_runs_that_nobody_begins(make_entry, led, clock, catch_up, what):
    """A job that no running process knows stays due; somebody has to hear of it, and since when."""
    make_entry(catch_up=catch_up)
    led.record(NOON + minutes(5))
    clock["now"] = NOON + minutes(5.9)
    assert api.health() == []

    led.record(NOON + minutes(10))
    Entry.objects.update(wake_at=FAR_FUTURE)
    clock["now"] = NOON + minutes(11.1)

    [problem] = api.health()
    assert (problem.kind, problem.entry, problem.since) == ("waiting", "heartbeat", NOON + minutes(5))
    assert problem.text == (
        f"{what} to be begun: no place has come free, or no running process knows the job 'heartbeat'"
    )


def test_health_is_silent_about_a_slot_that_meets_a_long_run(make_entry, led, clock):
    """Something of the entry runs: its other slots are judged when it ends."""
    make_entry(catch_up="all")
    led.record(NOON + minutes(10))
    [begun] = led.begin(NOON + minutes(10))
    Entry.objects.update(wake_at=FAR_FUTURE)
    clock["now"] = NOON + minutes(30)
    ledger.renew([begun.attempt], clock["now"])

    assert api.health() == []


def test_nothing_is_recorded_where_it_would_vanish(make_entry, clock):
    """With autocommit off outside a transaction, whatever is written is gone when the connection closes."""
    from django.db import connection

    make_entry()
    refused = mock.Mock(in_atomic_block=False, vendor="sqlite", get_autocommit=lambda: False)

    with (
        mock.patch("crons.ledger.transactions.connections", {"default": refused}),
        pytest.raises(Refused, match="autocommit is off"),
    ):
        ledger.request("heartbeat", NOON, "api")

    assert connection.in_atomic_block
    assert Run.objects.count() == 0


def test_a_restarted_scheduler_ends_its_predecessors_silence(instance):
    """The row of one that was killed goes when another takes its place on that host."""
    killed = Instance.start("test")
    killed.stop()
    heartbeat.beat(killed, NOON)
    heartbeat.beat(instance, NOON + timedelta(minutes=5))

    assert list(Heartbeat.objects.values_list("instance", flat=True)) == [instance.name]
    heartbeat.stop(instance)
    assert Heartbeat.objects.count() == 0


def test_a_killed_scheduler_of_this_machine_is_told_at_once(instance):
    """Its heartbeat is a few seconds old; the kernel knows better."""
    killed = Instance.start("serve")
    killed.stop()
    heartbeat.beat(killed, NOON)
    heartbeat.beat(instance, NOON)

    [problem] = api.health()

    assert problem.text == f"serve on {killed.host} (pid {killed.pid}) was killed"
    assert problem.since == NOON
    assert [beat.instance for beat in api.schedulers()] == [instance.name]


def test_a_beat_is_renewed_in_place(instance):
    """One row per scheduler."""
    heartbeat.beat(instance, NOON, skew_seconds=1.23456)
    heartbeat.beat(instance, NOON + timedelta(seconds=10), draining=True)

    row = Heartbeat.objects.get()
    assert (row.started_at, row.beat_at, row.draining) == (NOON, NOON + timedelta(seconds=10), True)
    assert row.expected_by == NOON + timedelta(seconds=40)


UNKEPT = "gr\udcf6\udcdfer\x00"
KEPT = "gr\ufffd\ufffder\ufffd"


def test_what_a_terminal_sends_garbled_stops_nobody(make_entry):
    """At night a pause must not fail over an umlaut in Latin-1, which no database keeps as it came."""
    make_entry(since=NOON)
    run = api.run_now("heartbeat", by=UNKEPT)
    api.cancel(run.pk, by=UNKEPT, reason=UNKEPT)
    cancelled = Run.objects.get(pk=run.pk).detail
    api.retry(run.pk, by=UNKEPT, reason=UNKEPT)
    retried = Run.objects.get(pk=run.pk).detail
    api.cancel_entry("heartbeat", by=UNKEPT, reason=UNKEPT)
    api.pause("heartbeat", by=UNKEPT, reason=UNKEPT)
    api.pause_all(by=UNKEPT, reason=UNKEPT)
    entry = Entry.objects.get()
    api.resume_all(by=UNKEPT)
    api.resume("heartbeat", by=UNKEPT)
    api.backfill("heartbeat", NOON - minutes(6), NOON, by=UNKEPT)

    assert (cancelled, retried) == (f"{KEPT} (by {KEPT})", f"asked for again by {KEPT}: {KEPT}")
    assert (entry.paused_by, entry.pause_reason) == (KEPT, KEPT)
    assert set(Run.objects.values_list("requested_by", flat=True)) == {KEPT}
    deeds = list(AuditEvent.objects.order_by("pk").values_list("verb", "actor"))
    assert deeds == [
        (verb, KEPT) for verb in ("run", "cancel", "retry", "cancel", "pause", "pause", "resume", "resume", "backfill")
    ]
    assert set(AuditEvent.objects.values_list("reason", flat=True)) == {KEPT, ""}


@pytest.mark.parametrize("number", [0, -1, 10**30])
def test_a_run_that_cannot_be_is_said_not_to_exist(number):
    """Whatever somebody typed, no stack trace."""
    for verb in (api.cancel, api.retry):
        with pytest.raises(Refused) as error:
            verb(number, by="dana", reason="x")
        assert str(error.value) == f"run {number} does not exist. See: manage.py crons history"


def test_an_entry_that_nobody_has_written_yet_is_not_called_undeclared(make_entry):
    """In a test, or right after the install, it is there in the code for all to see."""
    job(None, name="nightly")(lambda: None)
    make_entry()

    for ask in (lambda: api.run_now("nightly", by="dana"), lambda: api.entry("nightly")):
        with pytest.raises(UnknownJob) as error:
            ask()
        assert str(error.value) == ("'nightly' is declared, but not in this database yet. Run: manage.py crons sync")
