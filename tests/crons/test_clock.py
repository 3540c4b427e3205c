"""Clocks that were wrong: one that is far from the rows records nothing, and what one has written is set back."""

from __future__ import annotations

import re
import sys
import uuid
from datetime import timedelta
from types import SimpleNamespace

import pytest

from crons import api
from crons.dispatch import Dispatcher
from crons.exceptions import ClockInDoubt
from crons.hosts.instances import Instance
from crons.ledger import deployment
from crons.models import Attempt, AuditEvent, Entry, Heartbeat, Incident, Range, Run
from crons.triggers import heartbeat
from crons.verdicts import Outcome
from tests.crons.cli.conftest import call_crons
from tests.crons.conftest import NOON, minutes

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def clock(monkeypatch, db):
    """The database's clock says noon until a test moves it; the database was adopted at noon."""
    moments = {"now": NOON}
    for module in ("crons.ledger", "crons.ledger.deployment", "crons.ledger.agenda", "crons.dispatch"):
        place = sys.modules[module]
        monkeypatch.setattr(place, "database_now", lambda: moments["now"], raising=False)
    deployment.require()
    return moments


@pytest.fixture
def ran(make_entry, led):
    """An entry whose last slot ran at noon."""
    entry = make_entry(since=NOON - minutes(10))
    led.record(NOON)
    [begun] = led.begin(NOON)
    led.finish(begun, NOON)
    return entry


def _without_this_hosts(text):
    """On PostgreSQL the host's own time is said beside the database's; it goes on meanwhile."""
    return re.sub(r" \(this host's says [^)]*\)", "", str(text))


@pytest.mark.parametrize("off", [456 * DAY, 32 * DAY, -2 * DAY, -timedelta(minutes=61)])
def test_a_clock_far_from_the_newest_row_records_nothing_and_says_so(ran, clock, instance, off):
    """One tick in 2028 accounted for all slots until then."""
    clock["now"] = NOON + off
    before = Run.objects.count(), Range.objects.count(), Entry.objects.get().accounted_until

    with pytest.raises(ClockInDoubt) as by_turn:
        Dispatcher("serve", instance, {}).turn()
    with pytest.raises(ClockInDoubt) as by_permit:
        deployment.permit()

    said, again = _without_this_hosts(by_turn.value), _without_this_hosts(by_permit.value)
    assert said == again
    assert re.fullmatch(
        r"the database's clock says \S+ \S+ UTC.*, \d+ day\(s\) (after|before) the newest row, of 2026-03-02 12:00:00 "
        r"UTC: nothing is recorded or begun by a clock that may be wrong\. Set it right; if it is right: "
        r"manage\.py crons reconcile --clock",
        said,
    )
    assert (Run.objects.count(), Range.objects.count(), Entry.objects.get().accounted_until) == before
    assert ("clock", said) in [(each.kind, _without_this_hosts(each.text)) for each in api.health()]


@pytest.mark.parametrize("off", [30 * DAY, minutes(5), -minutes(30), timedelta(0)])
def test_a_pause_of_everything_is_no_wrong_clock(ran, clock, instance, off):
    """Three weeks without any trigger are made up for as catch_up says; a time server may set a clock back."""
    clock["now"] = NOON + off

    Dispatcher("serve", instance, {}).turn()
    deployment.permit()

    assert Entry.objects.get().accounted_until == max(NOON, NOON + off)


def test_a_job_that_runs_once_a_year_is_no_wrong_clock(make_entry, led, clock, instance):
    """Its newest row is a year old when it falls due, and cron's ticks in between wrote nothing."""
    make_entry("yearly", "5 12 2 3 *", since=NOON - minutes(10))
    led.record(NOON + minutes(5))
    clock["now"] = NOON + 365 * DAY + minutes(5)

    done = Dispatcher("crontab", instance, {}).turn()
    deployment.permit()

    assert done.runs == 1
    assert [each for each in api.health() if each.kind == "clock"] == []


def test_a_clock_that_jumps_under_a_running_scheduler_is_not_believed(ran, clock, instance):
    """Between two heartbeats, too: a virtual machine that is resumed may be a year off for a second."""
    dispatcher = Dispatcher("serve", instance, {})
    dispatcher.turn()
    clock["now"] = NOON + 456 * DAY

    with pytest.raises(ClockInDoubt):
        dispatcher.turn()
    clock["now"] = NOON + minutes(5)
    done = dispatcher.turn()

    assert done.runs == 1
    assert list(Run.objects.order_by("pk").values_list("slot_at", flat=True)) == [NOON, NOON + minutes(5)]


def test_a_heartbeat_is_a_witness_too(make_entry, clock):
    """Where nothing has been due for long, the living scheduler says what time it is."""
    make_entry()
    given = {"beat_at": NOON, "started_at": NOON, "expected_by": NOON + minutes(1), "boot_id": "b", "pid": 7}
    Heartbeat.objects.create(instance="i", kind="serve", host="web1", **given)
    clock["now"] = NOON + 456 * DAY

    with pytest.raises(ClockInDoubt):
        deployment.permit()


@pytest.mark.parametrize("is_frozen", [False, True], ids=["it beats", "it is frozen"])
def test_a_scheduler_that_beats_at_another_time_is_believed(ran, clock, monkeypatch, is_frozen):
    """A tick whose clock is two hours ahead, beside a `serve` that is well; a stopped one proves nothing."""
    serve = Instance.start("serve")
    heartbeat.beat(serve, NOON)
    moments = iter([0.0, 1.0, 2.0, 13.0])
    beats = (lambda seconds: None) if is_frozen else lambda seconds: heartbeat.beat(serve, NOON + minutes(0.1))
    tick = sys.modules["crons.ledger.deployment"]  # another process, whose time the test tells
    monkeypatch.setattr(tick, "os", SimpleNamespace(getpid=lambda: 1))
    monkeypatch.setattr(tick, "time", SimpleNamespace(monotonic=lambda: next(moments), sleep=beats))
    clock["now"] = NOON + minutes(120)

    try:
        if is_frozen:
            deployment.permit()
        else:
            with pytest.raises(
                ClockInDoubt, match=r"0 day\(s\) after a heartbeat of serve \(pid \d+\) just now, of 2026"
            ):
                deployment.permit()
    finally:
        serve.stop()


def test_a_person_may_say_that_the_clock_is_right(ran, clock):
    """After a year in a drawer no row can tell; the verb is the way out, and it is audited."""
    clock["now"] = NOON + 456 * DAY

    said = call_crons("reconcile", "--clock")
    deployment.permit()

    assert said.code == 0
    assert said.out.splitlines()[-1] == "From now on this clock is believed."
    assert [(each.verb, each.subject_type) for each in AuditEvent.objects.all()] == [("reconcile clock", "clock")]
    clock["now"] = NOON + 900 * DAY
    with pytest.raises(ClockInDoubt):
        deployment.permit()


def test_what_a_clock_wrote_that_was_ahead_is_set_back_and_nothing_runs_twice(make_entry, led, clock):
    """The range of slots that have not come ends; the slot that was run too early is not run again in its time."""
    make_entry(since=NOON - minutes(10))
    led.record(NOON - minutes(5))
    early = NOON + 2 * DAY
    led.record(early)  # all slots between are written off, the newest is run
    for begun in led.begin(early):
        led.finish(begun, early, Outcome.FAILED, "boom")
    assert Range.objects.get().count == 576

    done = api.correct_clock(by="dana")

    assert done.accounts == {"heartbeat": early}
    assert (Range.objects.get().last_at, Range.objects.get().count) == (NOON, 1)
    entry = Entry.objects.get()
    assert (entry.accounted_until, entry.wake_at) == (NOON, NOON + minutes(5))
    assert [each for each in api.health() if each.kind == "clock"] == []
    led.record(NOON + minutes(5))
    led.record(early - minutes(5))
    again = led.record(early)
    led.record(early + minutes(5))
    assert again.runs == again.parked == []
    assert Run.objects.filter(slot_at=early).count() == 1
    ranged = sum(each.count for each in Range.objects.all())
    assert ranged + Run.objects.count() == 2 + 2 * 24 * 12 + 1  # each slot from 11:55 on, once


def test_what_waits_for_a_moment_of_the_wrong_clock_goes_on(make_entry, led, clock):
    """A retry in 2028, a lease until 2028, an incident that no success is newer than, a heartbeat that never ends."""
    entry = make_entry(since=NOON - minutes(5))
    early = NOON + 400 * DAY
    run = Run.objects.create(
        entry=entry, kind="manual", planned_at=early, wake_at=early, trigger="api", recorded_at=early, request_key="k"
    )
    where = {"executor": "process", "instance": "i", "host": "web1", "pid": 7, "boot_id": "b"}
    held = Run.objects.create(
        entry=entry, planned_at=early, trigger="serve", recorded_at=early, state="running", slot_at=early
    )
    attempt = Attempt.objects.create(
        run=held, number=1, token=uuid.uuid4(), begun_at=early, lease_until=early + minutes(1), **where
    )
    Heartbeat.objects.create(
        instance="i", kind="serve", host="web1", pid=7, boot_id="b", started_at=early, beat_at=early,
        expected_by=early + minutes(1),
    )  # fmt: skip
    incident = Incident.objects.create(
        rule="failing", entry=entry, open_key="k", summary="boom", opened_at=early, changed_at=early
    )

    dry = api.correct_clock(by="dana", dry_run=True)
    untouched = Heartbeat.objects.count()
    done = api.correct_clock(by="dana")

    assert (dry.runs, dry.heartbeats, untouched) == (1, 1, 1)
    assert (done.runs, done.attempts, done.heartbeats, done.incidents) == (1, 1, 1, 1)
    for row in (run, attempt, incident):
        row.refresh_from_db()
    assert run.wake_at == incident.changed_at == NOON
    assert attempt.lease_until is not None
    assert attempt.lease_until - NOON < minutes(5)
    assert not Heartbeat.objects.exists()


def test_reconcile_wants_one_of_from_and_clock():
    """The two have nothing in common but that the database is not what it should be."""
    neither, both = call_crons("reconcile"), call_crons("reconcile", "--clock", "--since", "2026-03-01T00:00Z")

    assert (neither.code, both.code) == (1, 1)
    assert "one of the arguments --since --clock is required" in neither.err
    assert "not allowed with argument" in both.err
