"""The rules of the ledger, each a test that fails without it."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from contextlib import closing
from datetime import timedelta
from importlib import import_module

import pytest
from django.db import IntegrityError, OperationalError, connections, transaction
from django.db.models.functions import Now

from crons import ledger
from crons.attempts import Chunk, Finished, Unstarted
from crons.conf import conf
from crons.exceptions import Fenced, LedgerUnavailable, Refused, UnknownJob
from crons.executors.runner import environment_of
from crons.hosts.instances import Instance, lock_attempt
from crons.jobs.policies import Retry
from crons.ledger.transactions import reading, writing
from crons.models import Attempt, Entry, OutputChunk, Range, Run
from crons.schedules import FAR_FUTURE
from crons.verdicts import Ending, Outcome
from tests.crons.conftest import NOON, minutes

pytestmark = pytest.mark.django_db


def verdicts() -> list[tuple[str, str, str]]:
    """Return (slot as HH:MM, verdict or state, reason) of all runs, by slot."""
    runs = [(f"{run.slot_at:%H:%M}" if run.slot_at else "by hand", run) for run in Run.objects.order_by("pk")]
    return sorted((slot, run.verdict or run.state, run.reason) for slot, run in runs)


# --- record ---------------------------------------------------------------------------------------


def test_second_scheduler_records_nothing_when_the_slot_is_recorded(led, make_entry):
    """The entry's row decides who records a slot, not timing."""
    make_entry()
    led.record(NOON + minutes(5))

    second = led.record(NOON + minutes(5), trigger="crontab")

    assert second.runs == []
    assert [(run.slot_at, run.trigger) for run in Run.objects.all()] == [(NOON + minutes(5), "serve")]


def test_an_account_set_back_by_hand_gives_no_slot_a_second_verdict(led, make_entry):
    """Each slot that has a row keeps it; what is missing in between is filled in, and the others go on.

    It was parked, and the next start took it up again: one range over all that was recorded.
    """
    entry = make_entry("set_back")
    for at in (5, 15, 40):  # the slots at 10, and from 20 to 35, are written off
        led.record(NOON + minutes(at))
    Run.objects.filter(slot_at=NOON + minutes(15)).delete()
    before = list(Run.objects.values_list("pk", "slot_at")), list(Range.objects.values_list("pk", "first_at", "count"))
    Entry.objects.update(accounted_until=NOON, wake_at=NOON)
    make_entry("well", since=NOON + minutes(40))

    done = led.record(NOON + minutes(50))

    assert done.parked == []
    assert sorted(done.runs) == [("set_back", NOON + minutes(50)), ("well", NOON + minutes(50))]
    added = [(each.first_at, each.last_at, each.count) for each in done.ranges if each.entry_id == entry.pk]
    assert added == [(NOON + minutes(15), NOON + minutes(15), 1), (NOON + minutes(45), NOON + minutes(45), 1)]
    kept_runs, kept_ranges = before
    assert [each for each in Run.objects.values_list("pk", "slot_at") if each in kept_runs] == kept_runs
    assert list(Range.objects.values_list("pk", "first_at", "count"))[: len(kept_ranges)] == kept_ranges
    entry.refresh_from_db()
    assert (entry.accounted_until, entry.wake_at) == (NOON + minutes(50), NOON + minutes(55))


def test_an_account_set_back_over_more_than_can_be_read_stops_only_itself(led, make_entry, monkeypatch):
    """A year of minutes is not read while everybody waits: it is parked, with what to do."""
    monkeypatch.setattr("crons.ledger.existing.TAKEN_READ", 2)
    make_entry("well", since=NOON + minutes(15))
    make_entry("set_back")
    for at in (5, 10, 15):
        led.record(NOON + minutes(at))
    Entry.objects.filter(name="set_back").update(accounted_until=NOON, wake_at=NOON)

    done = led.record(NOON + minutes(20))

    assert (done.runs, done.parked) == ([("well", NOON + minutes(20))], ["set_back"])
    row = Entry.objects.get(name="set_back")
    assert (row.accounted_until, row.wake_at) == (NOON, FAR_FUTURE)
    assert row.parked_reason == (
        "slots after 2026-03-02 12:00:00 UTC are recorded already: accounted_until was set back by hand. "
        "Set it to the last recorded slot, then: manage.py crons sync"
    )


def test_the_moment_of_first_sight_is_no_slot(led, make_entry):
    """A job deployed at 12:00 sharp is not due at 12:00: slots lie after first_seen_at."""
    make_entry(since=NOON)

    assert led.record(NOON).runs == []
    assert led.record(NOON + minutes(5)).runs == [("heartbeat", NOON + minutes(5))]


def test_restart_over_a_due_moment_loses_nothing(led, make_entry):
    """Looking starts at the last accounted slot, not at now: 15 s of restart over 12:05 cannot lose 12:05."""
    make_entry()
    led.record(NOON + minutes(5) - timedelta(seconds=7))

    late = led.record(NOON + minutes(5) + timedelta(seconds=8))

    assert late.runs == [("heartbeat", NOON + minutes(5))]


def test_dropped_slots_are_one_range(led, make_entry):
    """A day of downtime is a run for the newest slot and one row for the other 287."""
    make_entry()

    led.record(NOON + timedelta(days=1))

    assert verdicts() == [("12:00", "due", "")]
    row = Range.objects.get()
    assert (row.first_at, row.last_at, row.count) == (NOON + minutes(5), NOON + minutes(24 * 60 - 5), 287)
    assert (row.verdict, row.reason, row.trigger) == ("missed", "catch_up", "serve")


def test_clock_an_hour_back_repeats_nothing(led, make_entry):
    """What is accounted for stays accounted for."""
    make_entry()
    led.record(NOON + minutes(60))
    before = Run.objects.count(), Range.objects.count()
    Entry.objects.update(wake_at=None)

    led.record(NOON)
    led.record(NOON + minutes(30))

    assert (Run.objects.count(), Range.objects.count()) == before
    assert Entry.objects.get().accounted_until == NOON + minutes(60)


def test_an_entry_without_wake_at_is_planned_at_once(led, make_entry):
    """NULL means "plan me": rows changed by bulk or raw SQL are picked up."""
    make_entry()
    Entry.objects.update(wake_at=None)

    assert ledger.agenda(NOON + minutes(1)).must_record
    led.record(NOON + minutes(1))

    assert Entry.objects.get().wake_at == NOON + minutes(5)


def test_one_broken_entry_is_parked_and_stops_nobody(led, make_entry):
    """One unreadable row must not end the pass, nor be deleted."""
    make_entry("broken", schedule="61 * * * *")
    make_entry("lost_zone", zone="Mars/Olympus")
    make_entry("well")

    done = led.record(NOON + minutes(5))

    assert done.runs == [("well", NOON + minutes(5))]
    assert done.parked == ["broken", "lost_zone"]
    broken = Entry.objects.get(name="broken")
    assert (broken.wake_at, broken.accounted_until) == (FAR_FUTURE, NOON)
    assert "61" in broken.parked_reason
    assert "Mars/Olympus" in Entry.objects.get(name="lost_zone").parked_reason


def test_a_garbled_policy_parks_the_entry(led, make_entry):
    """Fail closed: what cannot be read does not run."""
    make_entry()
    Entry.objects.update(policy={"catch_up": "sometimes"})

    assert led.record(NOON + minutes(5)).parked == ["heartbeat"]


@pytest.mark.parametrize("how", ["by name", "by a wake_at set by hand"])
def test_a_retired_entry_has_no_slots_whoever_asks(led, make_entry, how):
    """A crontab line left behind, or a pause, must not bring back to life what nobody declares."""
    make_entry()
    Entry.objects.update(retired_at=NOON, wake_at=None if how != "by name" else FAR_FUTURE)

    if how == "by name":
        ledger.record_entry("heartbeat", NOON + minutes(7), "crontab")
    else:
        led.record(NOON + minutes(7))

    assert Run.objects.count() == 0
    assert Entry.objects.get().wake_at == FAR_FUTURE


def test_paused_slots_have_their_verdict(led, make_entry):
    """A paused moment is a slot too, so "why did it not run" has an answer."""
    make_entry()
    Entry.objects.update(paused_at=NOON, paused_until=NOON + minutes(12))

    led.record(NOON + minutes(15))

    assert verdicts() == [("12:15", "due", "")]
    row = Range.objects.get()
    assert (row.first_at, row.last_at, row.count) == (NOON + minutes(5), NOON + minutes(10), 2)
    assert (row.verdict, row.reason) == ("skipped", "paused")
    assert Entry.objects.get().paused_at is None


def test_a_batch_is_recorded_in_six_statements(led, make_entry, django_assert_num_queries):
    """Recording is set-based: 300 due entries cost what one costs."""
    for number in range(300):
        make_entry(f"job{number}")

    with django_assert_num_queries(10):  # the six, and two savepoints with their releases
        pass_ = led.record(NOON + minutes(10))

    assert len(pass_.runs) == 300


# --- begin ----------------------------------------------------------------------------------------


def test_a_due_run_belongs_to_nobody(led, make_entry, instance):
    """A crash between record and begin leaves the run for anyone, also where the job is not idempotent."""
    make_entry()
    led.record(NOON + minutes(5))
    other = Instance.start("serve")

    begun = led.begin(NOON + minutes(9), instance=other)

    assert [each.entry for each in begun] == ["heartbeat"]
    assert Attempt.objects.get().instance == other.name
    other.stop()


def test_a_run_is_begun_once(led, make_entry):
    """The attempt is committed before the job is called; whoever comes second finds nothing to begin."""
    make_entry()
    led.record(NOON + minutes(5))

    first = led.begin(NOON + minutes(5))
    second = led.begin(NOON + minutes(5))

    assert [each.number for each in first] == [1]
    assert second == []
    assert Attempt.objects.count() == 1


def test_runs_of_a_garbled_entry_do_not_stand_in_the_way(led, make_entry):
    """What is garbled does not run; more of it than one look takes must not keep the others from running."""
    make_entry("garbled", catch_up="all")
    make_entry("well", since=NOON + minutes(120))
    led.record(NOON + minutes(125))
    Entry.objects.filter(name="garbled").update(policy={"catch_up": "sometimes", "executor": "process"})

    assert [each.entry for each in led.begin(NOON + minutes(125), room=1)] == ["well"]


def test_begin_looks_again_when_another_run_of_the_entry_has_begun_since(led, make_entry, monkeypatch):
    """A lock that was waited for shows the rows as they were: only the unique key tells."""
    make_entry("all", catch_up="all")
    make_entry("other")
    led.record(NOON + minutes(10))
    queue = import_module("crons.ledger.queue").Queue
    seen = list(Run.objects.select_related("entry").filter(entry__name="all", slot_at=NOON + minutes(10)))
    led.begin(NOON + minutes(10), room=1)
    looks = [[seen]]
    real = queue._batches
    monkeypatch.setattr(queue, "_batches", lambda self: looks.pop() if looks else real(self))

    assert [each.entry for each in led.begin(NOON + minutes(10))] == ["other"]


def test_no_more_is_begun_than_there_is_room_for(led, make_entry):
    """Ten due runs and room for three: seven stay due, for anyone."""
    for number in range(10):
        make_entry(f"job{number}")
    led.record(NOON + minutes(5))

    begun = led.begin(NOON + minutes(5), room=3)

    assert [each.entry for each in begun] == ["job0", "job1", "job2"]
    assert Run.objects.filter(state="due").count() == 7


def test_a_process_begins_only_jobs_that_it_knows(led, make_entry, instance):
    """Old code must not take the new release's jobs and fail them."""
    make_entry()
    led.record(NOON + minutes(5))

    assert ledger.begin(NOON + minutes(5), {"process": 4}, ["another"], instance) == []
    assert verdicts() == [("12:05", "due", "")]


def test_nothing_is_begun_where_the_answer_cannot_be_read(led, make_entry, monkeypatch):
    """A commit whose answer got lost is read back by its tokens; if that fails too, nothing may run."""
    module = import_module("crons.ledger.begin")
    make_entry()
    led.record(NOON + minutes(5))
    real = module._begin

    def cut_off(*args, **kwargs):
        real(*args, **kwargs)
        raise LedgerUnavailable("cut off")

    monkeypatch.setattr(module, "_begin", cut_off)

    begun = led.begin(NOON + minutes(5))

    assert [each.attempt for each in begun] == [Attempt.objects.get().pk]
    assert begun[0].since == NOON


def test_unreadable_answer_means_not_begun(led, make_entry, monkeypatch):
    """Fail closed: no certainty, no run."""
    module = import_module("crons.ledger.begin")
    make_entry()
    led.record(NOON + minutes(5))
    monkeypatch.setattr(module, "_begin", _raiser(LedgerUnavailable("cut off")))
    monkeypatch.setattr(module, "_read_back", _raiser(OperationalError("gone")))

    with pytest.raises(LedgerUnavailable, match="cut off"):
        led.begin(NOON + minutes(5))


def test_lease_of_a_begin_that_was_slow_counts_from_its_commit(led, make_entry, slow_begin):
    """Counted from before, it would be over when the job starts, and another host would begin it as well."""
    make_entry()
    led.record(NOON + minutes(5))
    slow_begin(seconds=60)

    [begun] = led.begin(NOON + minutes(5))

    attempt = Attempt.objects.get()
    assert attempt.begun_at == NOON + minutes(6)
    assert attempt.lease_until == NOON + minutes(6) + conf.lease
    assert begun.leased_at == 1060.0  # the supervisor kills by the same lease


def test_what_was_declared_lost_during_a_slow_begin_is_not_started(led, make_entry, slow_begin):
    """Another host saw only a lease that was over: that one has it now."""
    make_entry()
    led.record(NOON + minutes(5))
    slow_begin(seconds=60, then=lambda: Attempt.objects.update(outcome="lost", lease_until=None))

    assert led.begin(NOON + minutes(5)) == []


def test_a_ledger_that_stays_slow_begins_nothing(led, make_entry, slow_begin):
    """Nothing is known to be ours long enough: what was begun is released, as never started."""
    make_entry()
    led.record(NOON + minutes(5))
    unstarted = Unstarted()
    slow_begin(seconds=60, always=True)

    with pytest.raises(LedgerUnavailable, match="the database took longer than"):
        led.begin(NOON + minutes(5), unstarted=unstarted)
    assert unstarted.attempts == {Attempt.objects.get().pk}
    ledger.release_unstarted(led.instance.name, [], unstarted, NOON + minutes(9))

    assert not unstarted
    assert Run.objects.get().state == "due"


@pytest.fixture
def slow_begin(monkeypatch):
    """Have a begin take so long between its insert and its answer; *always* also what starts the leases anew."""
    module = import_module("crons.ledger.begin")
    clock = [1000.0]
    monkeypatch.setattr(module, "boottime", lambda: clock[0])

    def slow(seconds, then=lambda: None, *, always=False):
        def slowed(real):
            def call(*args):
                answer = real(*args)
                clock[0] += seconds
                then()
                return answer

            return call

        for name in ("_begin", "_lease_anew")[: 2 if always else 1]:
            monkeypatch.setattr(module, name, slowed(getattr(module, name)))

    return slow


def test_an_attempt_never_ends_before_it_began(led, make_entry):
    """The clock may be set back while it runs."""
    make_entry()
    led.record(NOON + minutes(5))
    [begun] = led.begin(NOON + minutes(5))

    led.finish(begun, NOON)

    attempt = Attempt.objects.select_related("run").get()
    assert attempt.begun_at == attempt.ended_at == attempt.run.ended_at == NOON + minutes(5)


def test_slot_that_meets_a_run_still_going_is_skipped_and_names_it(led, make_entry):
    """overlap="skip" decides in begin, by the active key; the verdict says who was in the way."""
    make_entry()
    led.record(NOON + minutes(5))
    [going] = led.begin(NOON + minutes(5))
    led.record(NOON + minutes(10))

    assert led.begin(NOON + minutes(10)) == []
    skipped = Run.objects.get(slot_at=NOON + minutes(10))
    assert (skipped.state, skipped.verdict, skipped.reason) == ("done", "skipped", "overlap")
    assert skipped.detail == f"run {going.run} (attempt {going.attempt}) was still going"


def test_overlap_allow_runs_side_by_side(led, make_entry):
    """A job that may overlap takes no key."""
    make_entry(overlap="allow")
    led.record(NOON + minutes(5))
    led.begin(NOON + minutes(5))
    led.record(NOON + minutes(10))

    assert len(led.begin(NOON + minutes(10))) == 1
    assert Run.objects.filter(state="running", active_key=None).count() == 2


def test_the_active_key_is_unique_in_the_database(led, make_entry):
    """The seat belt for overlap: two running runs of one entry cannot be stored."""
    entry = make_entry()
    led.record(NOON + minutes(5))
    led.begin(NOON + minutes(5))
    led.record(NOON + minutes(10))

    with pytest.raises(IntegrityError), transaction.atomic():
        Run.objects.filter(slot_at=NOON + minutes(10)).update(active_key=entry.pk)


def test_catch_up_all_runs_its_slots_in_turn(led, make_entry):
    """A job that wants every slot gets every slot, one after the other: none is skipped for overlap."""
    make_entry(catch_up="all")
    led.record(NOON + minutes(15))

    order = []
    for step in range(3):
        [begun] = led.begin(NOON + minutes(15 + step))
        assert led.begin(NOON + minutes(15 + step)) == []
        led.finish(begun, NOON + minutes(15 + step))
        order.append(begun.until)

    assert order == [NOON + minutes(5), NOON + minutes(10), NOON + minutes(15)]
    assert {verdict for _, verdict, _ in verdicts()} == {"succeeded"}


def test_a_manual_run_takes_the_key_too(led, make_entry):
    """A hand start beside a running slot is refused with the reason; the slot that meets it is skipped."""
    make_entry()
    led.record(NOON + minutes(5))
    led.begin(NOON + minutes(5))
    manual = ledger.request("heartbeat", NOON + minutes(6), "terminal", by="dana")

    led.begin(NOON + minutes(6))

    manual.refresh_from_db()
    assert (manual.verdict, manual.reason) == ("skipped", "overlap")


def test_a_run_that_waited_too_long_is_missed(led, make_entry):
    """With a deadline, no place in time is a verdict of its own, not a late surprise."""
    make_entry(deadline=minutes(2))
    led.record(NOON + minutes(5))

    assert led.begin(NOON + minutes(5), room=0) == []
    assert led.begin(NOON + minutes(8)) == []
    run = Run.objects.get()
    assert (run.verdict, run.reason) == ("missed", "not_started")
    assert run.detail == "no place came free before 2026-03-02 12:07:00 UTC"


def test_a_group_is_limited_over_all_hosts(led, make_entry, settings):
    """Two heavy jobs at a time means two, however many schedulers begin."""
    settings.CRONS = {"GROUPS": {"heavy": 2}}
    for number in range(4):
        make_entry(f"job{number}", group="heavy")
    make_entry("light")
    led.record(NOON + minutes(5))

    assert [each.entry for each in led.begin(NOON + minutes(5))] == ["job0", "job1", "light"]
    assert led.begin(NOON + minutes(5)) == []


def test_a_full_group_does_not_stand_in_the_way(led, make_entry, settings):
    """More of its runs may wait than one look takes; those of other groups begin all the same."""
    settings.CRONS = {"GROUPS": {"reports": 1}}
    make_entry("report", overlap="allow", catch_up="all", group="reports")
    make_entry("other", since=NOON + minutes(120))
    led.record(NOON + minutes(125))
    assert [each.entry for each in led.begin(NOON + minutes(125), room=1)] == ["report"]

    assert [each.entry for each in led.begin(NOON + minutes(125), room=1)] == ["other"]


def test_window_runs_from_the_last_success_to_this_slot(led, make_entry):
    """Dropped and failed slots lose no data: the next one that runs covers them."""
    make_entry()
    led.record(NOON + minutes(5))
    [first] = led.begin(NOON + minutes(5))
    led.finish(first, NOON + minutes(6))
    led.record(NOON + minutes(10))
    [second] = led.begin(NOON + minutes(10))
    led.finish(second, NOON + minutes(11), Outcome.FAILED, "boom")
    led.record(NOON + minutes(60))
    [third] = led.begin(NOON + minutes(60))

    windows = [(each.since, each.until) for each in (first, second, third)]
    assert windows == [
        (NOON, NOON + minutes(5)),
        (NOON + minutes(5), NOON + minutes(10)),
        (NOON + minutes(5), NOON + minutes(60)),
    ]


def test_the_key_is_the_same_on_every_attempt_of_a_run(led, make_entry):
    """What must happen once can be keyed by it; it survives a restore, so it holds no row id."""
    make_entry(retry=Retry(1))
    led.record(NOON + minutes(5))
    [first] = led.begin(NOON + minutes(5))
    led.finish(first, NOON + minutes(5), Outcome.FAILED, "boom")
    [second] = led.begin(NOON + minutes(7))

    assert first.key == second.key == "heartbeat@2026-03-02T12:05:00Z"
    assert second.attempt > first.attempt
    assert (first.number, second.number) == (1, 2)


# --- finish ---------------------------------------------------------------------------------------


def test_finish_may_be_repeated(led, make_entry):
    """The answer to the first try may have got lost: the same finish again changes nothing."""
    make_entry()
    led.record(NOON + minutes(5))
    [begun] = led.begin(NOON + minutes(5))
    finished = Finished(begun.attempt, Ending(Outcome.SUCCEEDED))

    assert ledger.finish([finished], NOON + minutes(6)) == {begun.attempt: True}
    assert ledger.finish([finished], NOON + minutes(7)) == {begun.attempt: False}
    attempt = Attempt.objects.get()
    assert (attempt.outcome, attempt.late_outcome, attempt.ended_at) == ("succeeded", "", NOON + minutes(6))


def test_a_zombies_finish_is_refused_and_kept(led, make_entry):
    """An attempt declared lost cannot hide its successor's failure; what it says is kept beside."""
    make_entry(idempotent=True)
    led.record(NOON + minutes(5))
    [zombie] = led.begin(NOON + minutes(5))
    Attempt.objects.update(boot_id="another host")
    assert ledger.expire(NOON + minutes(7)) == [zombie.attempt]
    [second] = led.begin(NOON + minutes(7))

    assert led.finish(zombie, NOON + minutes(8)) is False
    assert led.finish(second, NOON + minutes(8), Outcome.FAILED, "boom") is True
    first = Attempt.objects.get(pk=zombie.attempt)
    assert (first.outcome, first.late_outcome) == ("lost", "succeeded")
    assert verdicts() == [("12:05", "failed", "")]


def test_exceptions_are_retried_as_declared(led, make_entry):
    """Retry(2): two more tries, further and further apart, then the verdict."""
    make_entry(retry=Retry(2, wait=minutes(1)))
    led.record(NOON + minutes(5))
    now, waits, details = NOON + minutes(5), [], []
    for _ in range(3):
        [begun] = led.begin(now)
        led.finish(begun, now, Outcome.FAILED, "boom")
        run = Run.objects.get()
        waits.append(run.wake_at and run.wake_at - now)
        details.append(run.detail)
        now = run.wake_at or now

    assert waits == [minutes(1), minutes(2), None]
    # Who waits for the next try must not wait for its reason too.
    assert details == ["try 1 failed: boom", "try 2 failed: boom", "boom"]
    assert (run.verdict, run.tries, run.detail) == ("failed", 3, "boom")


def test_a_job_that_gives_up_has_failed_at_once(led, make_entry):
    """It knows that the next try would fail as well; the incident is there now and not after three more."""
    make_entry(retry=Retry(3), idempotent=True)
    led.record(NOON + minutes(5))
    [begun] = led.begin(NOON + minutes(5))

    given_up = Finished(begun.attempt, Ending(Outcome.FAILED, "GiveUp: the account is closed", final=True))
    assert ledger.finish([given_up], NOON + minutes(6)) == {begun.attempt: True}

    run = Run.objects.get()
    assert (run.state, run.verdict, run.wake_at, run.inspect_at) == ("done", "failed", None, NOON + minutes(6))
    assert run.detail == "GiveUp: the account is closed"


@pytest.mark.parametrize("outcome", [Outcome.TIMED_OUT, Outcome.LOST])
@pytest.mark.parametrize(("idempotent", "state"), [(False, "done"), (True, "waiting")])
def test_doubtful_endings_are_retried_only_where_that_is_safe(led, make_entry, outcome, idempotent, state):
    """A job that may have done its work runs again only if it says that this is harmless."""
    make_entry(retry=Retry(3), idempotent=idempotent)
    led.record(NOON + minutes(5))
    [begun] = led.begin(NOON + minutes(5))

    led.finish(begun, NOON + minutes(6), outcome, "gone")

    run = Run.objects.get()
    assert (run.state, run.verdict) == (state, "" if idempotent else outcome)


@pytest.mark.parametrize(
    ("idempotent", "asked", "state"), [(True, False, "waiting"), (True, True, "done"), (False, False, "done")]
)
def test_what_a_shutdown_cancelled_is_done_again_where_that_is_safe(led, make_entry, idempotent, asked, state):
    """A restart is nobody's wish to leave work undone; what a person cancelled stays cancelled."""
    make_entry(idempotent=idempotent)
    led.record(NOON + minutes(5))
    [begun] = led.begin(NOON + minutes(5))
    if asked:
        ledger.request_cancel(begun.run, NOON + minutes(5), reason="wrong list")

    led.finish(begun, NOON + minutes(6), Outcome.CANCELLED, "the scheduler was stopped")

    run = Run.objects.get()
    assert (run.state, run.verdict) == (state, "" if state == "waiting" else "cancelled")
    assert run.wake_at == (NOON + minutes(6) if state == "waiting" else None)


def test_lost_counts_as_a_try(led, make_entry):
    """An idempotent job that gets its process killed each time comes to rest."""
    make_entry(idempotent=True)
    led.record(NOON + minutes(5))
    for _ in range(3):
        [begun] = led.begin(NOON + minutes(6))
        led.finish(begun, NOON + minutes(6), Outcome.LOST, "gone")

    assert led.begin(NOON + minutes(7)) == []
    assert verdicts() == [("12:05", "lost", "")]


def test_retry_overtaken_by_a_newer_success_is_superseded(led, make_entry):
    """Yesterday's report is not sent after today's."""
    make_entry(retry=Retry(1, wait=minutes(8)))
    led.record(NOON + minutes(5))
    [first] = led.begin(NOON + minutes(5))
    led.finish(first, NOON + minutes(5), Outcome.FAILED, "boom")
    led.record(NOON + minutes(10))
    [second] = led.begin(NOON + minutes(10))
    led.finish(second, NOON + minutes(11))

    assert led.begin(NOON + minutes(14)) == []
    assert verdicts() == [("12:05", "superseded", ""), ("12:10", "succeeded", "")]


def test_a_manual_run_is_tried_again_too(led, make_entry):
    """It has no slot that a newer one could overtake, and must not keep everybody from beginning."""
    make_entry(retry=Retry(1))
    run = ledger.request("heartbeat", NOON, "api")
    led.finish(led.begin(NOON)[0], NOON, Outcome.FAILED, "no")

    again = led.begin(NOON + minutes(2))

    assert [(each.run, each.number) for each in again] == [(run.pk, 2)]


def test_retry_meets_a_running_slot_and_stays_waiting(led, make_entry):
    """A retry takes the key again, like everybody; it does not jump the queue and is not thrown away."""
    make_entry(retry=Retry(1, wait=minutes(5)))
    led.record(NOON + minutes(5))
    [first] = led.begin(NOON + minutes(5))
    led.finish(first, NOON + minutes(5), Outcome.FAILED, "boom")
    led.record(NOON + minutes(10))
    led.begin(NOON + minutes(10), only_run=Run.objects.get(slot_at=NOON + minutes(10)).pk)

    assert led.begin(NOON + minutes(11)) == []
    assert verdicts() == [("12:05", "waiting", ""), ("12:10", "running", "")]


def test_manual_run_never_moves_the_account(led, make_entry):
    """A hand run at 12:07 in an outage must not make catch-up skip 12:05."""
    make_entry()
    manual = ledger.request("heartbeat", NOON + minutes(7), "terminal", by="dana")
    [begun] = led.begin(NOON + minutes(7))
    led.finish(begun, NOON + minutes(8))

    led.record(NOON + minutes(9))

    assert verdicts() == [("12:05", "due", ""), ("by hand", "succeeded", "")]
    assert Run.objects.get(pk=manual.pk).requested_by == "dana"


def test_the_same_request_key_is_the_same_run(led, make_entry):
    """A button pressed twice, a call repeated after a time-out: one run."""
    make_entry()

    first = ledger.request("heartbeat", NOON, "api", key="order 7")
    second = ledger.request("heartbeat", NOON, "api", key="order 7")

    assert first.pk == second.pk


def test_a_garbled_policy_does_not_keep_an_ending_from_being_written(led, make_entry):
    """The job has run; that fact is kept whatever became of the row."""
    make_entry(retry=Retry(3))
    led.record(NOON + minutes(5))
    [begun] = led.begin(NOON + minutes(5))
    Entry.objects.update(policy={"retry": "many"})

    assert led.finish(begun, NOON + minutes(6), Outcome.FAILED, "boom") is True
    assert verdicts() == [("12:05", "failed", "")]


# --- leases ---------------------------------------------------------------------------------------


def test_a_living_process_of_this_machine_is_never_declared_lost(led, make_entry):
    """A long write transaction on SQLite keeps everybody from renewing; that kills nobody."""
    make_entry()
    led.record(NOON + minutes(5))
    [begun] = led.begin(NOON + minutes(5))

    with closing(lock_attempt(begun.instance, begun.attempt)):
        assert ledger.expire(NOON + timedelta(days=1), patience=timedelta(0)) == []


def test_an_attempt_that_has_ended_unseen_is_lost_though_its_scheduler_lives(led, make_entry):
    """Its jobs have ended, and it writes nothing down: it may not block its entries for ever."""
    make_entry()
    led.record(NOON + minutes(5))
    [begun] = led.begin(NOON + minutes(5))
    late = NOON + minutes(5) + conf.lease + minutes(1)

    assert ledger.expire(late, patience=minutes(1)) == []
    assert ledger.expire(late + minutes(1), mine=begun.instance, patience=minutes(1)) == []
    assert ledger.expire(late + minutes(1), patience=minutes(1)) == [begun.attempt]
    assert Attempt.objects.get().error.startswith("its processes have ended, and the process that should have written")


def test_a_stopped_scheduler_gets_no_patience(led, make_entry):
    """SIGSTOP, Ctrl-Z: it is not about to write anything down."""
    make_entry()
    led.record(NOON + minutes(5))
    [begun] = led.begin(NOON + minutes(5))
    with subprocess.Popen(["sleep", "1000"]) as stopped:
        stopped.send_signal(signal.SIGSTOP)
        os.waitpid(stopped.pid, os.WUNTRACED)
        Attempt.objects.update(pid=stopped.pid)

        in_its_lease = ledger.expire(NOON + minutes(5) + conf.lease)
        after_it = ledger.expire(NOON + minutes(5) + conf.lease + timedelta(seconds=1))
        stopped.kill()

    assert (in_its_lease, after_it) == ([], [begun.attempt])


@pytest.fixture
def orphan(led, make_entry):
    """A program that a job has started, whose scheduler, supervisor and job are gone; and its attempt."""
    make_entry()
    led.record(NOON + minutes(5))
    dead = Instance.start("serve")
    [begun] = led.begin(NOON + minutes(5), instance=dead)
    dead.stop()
    with subprocess.Popen(["sleep", "1000"], env={**os.environ, **environment_of(begun)}) as program:
        yield program, begun.attempt
        program.kill()


def test_a_program_that_outlived_its_job_is_killed_before_the_job_is_lost(orphan):
    """A free name proves that no process of ours is left, and says nothing of the programs that a job started."""
    program, attempt = orphan

    assert ledger.expire(NOON + minutes(6)) == [attempt]
    assert program.poll() == -signal.SIGKILL


def test_a_program_that_cannot_be_killed_holds_its_entry(orphan, monkeypatch):
    """Another user's, or one that waits for a dead disk: no second run beside it, and the attempt says why."""
    program, attempt = orphan
    monkeypatch.setattr("crons.hosts.orphans.PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(signal, "pidfd_send_signal", lambda *_: None)

    assert ledger.expire(NOON + minutes(6)) == []
    assert Attempt.objects.get().error == (
        "no process supervises it any more, and what it has started runs on and cannot be killed: "
        f"pid {program.pid} (sleep 1000)"
    )
    program.kill()
    program.wait()
    assert ledger.expire(NOON + minutes(7)) == [attempt]
    assert "vanished" in Attempt.objects.get().error


def test_programs_of_other_attempts_are_left_alone(orphan):
    """The same number in another database is another attempt: the instance tells them apart."""
    program, attempt = orphan
    Attempt.objects.update(instance="another")

    assert ledger.expire(NOON + minutes(6)) == [attempt]
    assert program.poll() is None


def test_a_vanished_process_of_this_machine_is_lost_at_once(led, make_entry):
    """No lease has to run out where the kernel can be asked."""
    make_entry()
    led.record(NOON + minutes(5))
    dead = Instance.start("serve")
    [begun] = led.begin(NOON + minutes(5), instance=dead)
    dead.stop()

    assert ledger.expire(NOON + minutes(5)) == [begun.attempt]
    attempt = Attempt.objects.get()
    assert attempt.error == (
        f"the process that ran it (pid {dead.pid} on {dead.host}) vanished: the job may or may not have run to its end"
    )


def test_another_machine_is_trusted_until_its_lease_ends(led, make_entry):
    """There is no way to look into another host; its lease is its word."""
    make_entry()
    led.record(NOON + minutes(5))
    [begun] = led.begin(NOON + minutes(5))
    Attempt.objects.update(boot_id="another host")
    renewed = ledger.renew([begun.attempt], NOON + minutes(5) + timedelta(seconds=30))

    assert renewed.owned == {begun.attempt}
    assert ledger.expire(NOON + minutes(5) + timedelta(seconds=75)) == []
    assert ledger.expire(NOON + minutes(5) + timedelta(seconds=91)) == [begun.attempt]
    assert ledger.renew([begun.attempt], NOON + minutes(7)).owned == frozenset()


def test_cancel_reaches_a_running_attempt_at_its_renewal(led, make_entry):
    """The request is a row; the process that owns the attempt finds it when it renews."""
    make_entry()
    led.record(NOON + minutes(5))
    [begun] = led.begin(NOON + minutes(5))

    ledger.request_cancel(begun.run, NOON + minutes(6), reason="too slow (by dana)")

    assert dict(ledger.renew([begun.attempt], NOON + minutes(6)).cancelled) == {begun.attempt: "too slow (by dana)"}


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.TIMED_OUT, Outcome.LOST])
def test_what_somebody_cancelled_is_not_tried_again(led, make_entry, outcome):
    """The job may end by itself before the request reaches it at its renewal."""
    make_entry(retry=Retry(3), idempotent=True)
    led.record(NOON + minutes(5))
    begun = led.begin(NOON + minutes(5))[0]
    ledger.request_cancel(begun.run, NOON + minutes(5), reason="enough")

    led.finish(begun, NOON + minutes(6), outcome)

    assert verdicts() == [("12:05", outcome, "")]


def test_cancel_of_a_waiting_run_ends_it(led, make_entry):
    """Nothing runs, so nothing has to be killed."""
    make_entry()
    led.record(NOON + minutes(5))
    run = Run.objects.get()

    ledger.request_cancel(run.pk, NOON + minutes(6), reason="not needed")

    assert led.begin(NOON + minutes(7)) == []
    assert verdicts() == [("12:05", "cancelled", "")]
    with pytest.raises(Refused, match="is over: cancelled"):
        ledger.request_cancel(run.pk, NOON + minutes(6), reason="again")


def test_effects_of_a_fenced_attempt_are_not_kept(led, make_entry):
    """with context.atomic(): commits only while the attempt still owns its run."""
    make_entry()
    led.record(NOON + minutes(5))
    [begun] = led.begin(NOON + minutes(5))
    with ledger.fenced(begun.attempt):
        Entry.objects.update(description="written by its owner")
    led.finish(begun, NOON + minutes(6), Outcome.LOST, "gone")

    with pytest.raises(Fenced, match="Nothing was written"), ledger.fenced(begun.attempt):
        Entry.objects.update(description="written by a zombie")

    assert Entry.objects.get().description == "written by its owner"


# --- output ---------------------------------------------------------------------------------------


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_fenced_transaction_does_not_hold_up_the_scheduler(led, make_entry):
    """It may last longer than a lease: a scheduler that waited for it would lose all that it runs."""
    make_entry()
    led.record(NOON + minutes(5))
    begun = led.begin(NOON + minutes(5))[0]
    seen = []

    def host():
        seen.append(ledger.renew([begun.attempt], NOON + minutes(6)).owned)
        ledger.write_output([Chunk(begun.attempt, 0, "stdout", "half way")])
        # An ending waits, or passes it by: the effects are still being written.
        seen.append(ledger.release_unstarted(led.instance.name, [], Unstarted(), NOON + minutes(6)))
        connections.close_all()

    with ledger.fenced(begun.attempt):
        beside = threading.Thread(target=host)
        beside.start()
        beside.join(10)
        in_time = not beside.is_alive()
    beside.join()

    assert in_time
    assert seen == [{begun.attempt}, []]


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_only_the_ledgers_own_statements_are_impatient_for_locks(led, make_entry, settings):
    """What a job does in context.atomic() waits as long as the project says, and a session keeps nothing."""
    settings.CRONS = {**settings.CRONS, "LEASE": timedelta(seconds=45)}
    make_entry()
    led.record(NOON + minutes(5))
    [begun] = led.begin(NOON + minutes(5))

    def patience():
        with connections["default"].cursor() as cursor:
            cursor.execute("SHOW lock_timeout")
            return cursor.fetchone()[0]

    with writing():
        assert patience() == "5s"
    with reading():
        assert patience() == "5s"
    with transaction.atomic(), writing():
        assert patience() == "0"
    with ledger.fenced(begun.attempt):
        assert patience() == "0"
    assert patience() == "0"


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_lock_that_a_stranger_keeps_is_a_ledger_that_is_away(led, make_entry, settings):
    """Said with what it is: at three in the morning somebody must find who keeps it."""
    settings.CRONS = {**settings.CRONS, "LEASE": timedelta(seconds=0.9)}
    make_entry()
    stranger = connections["default"].copy()
    try:
        stranger.set_autocommit(False)
        with stranger.cursor() as cursor:
            cursor.execute("LOCK TABLE crons_entry IN ACCESS EXCLUSIVE MODE")

        for look in (lambda: ledger.agenda(NOON), lambda: led.record(NOON + minutes(5))):
            with pytest.raises(LedgerUnavailable) as away:
                look()
            assert str(away.value).startswith(
                "somebody else keeps a lock on what the ledger needs (who: pg_stat_activity, pg_blocking_pids): "
                "canceling statement due to lock timeout"
            )
    finally:
        stranger.close()

    assert len(led.record(NOON + minutes(5)).runs) == 1


def test_output_written_twice_is_kept_once(led, make_entry):
    """A write repeated after a lost answer adds only what is new."""
    make_entry()
    led.record(NOON + minutes(5))
    [begun] = led.begin(NOON + minutes(5))
    first = [Chunk(begun.attempt, 0, "stdout", "a"), Chunk(begun.attempt, 1, "stderr", "b")]
    ledger.write_output(first)

    ledger.write_output([*first, Chunk(begun.attempt, 2, "log", "c")])

    stored = OutputChunk.objects.order_by("seq").annotate(now=Now())
    assert [each.text for each in stored] == ["a", "b", "c"]
    # By the database's clock: a scheduler whose own is an hour off would make what writes look silent.
    assert all(each.now - timedelta(minutes=10) < each.written_at <= each.now for each in stored)


def test_output_of_a_deleted_run_is_let_go(led, make_entry):
    """Somebody deleted the run meanwhile: the scheduler goes on."""
    ledger.write_output([Chunk(12345, 0, "stdout", "a")])

    assert OutputChunk.objects.count() == 0


def test_unknown_entry_is_named_with_the_nearest(led, make_entry):
    """A typo costs one look."""
    make_entry("clean_inactive_customers")

    with pytest.raises(UnknownJob) as error:
        ledger.record_entry("clean_inactve_customers", NOON, "crontab")

    assert str(error.value) == (
        "'clean_inactve_customers' is not declared. Did you mean 'clean_inactive_customers'? See: manage.py crons list"
    )


def test_the_agenda_is_one_statement(led, make_entry, django_assert_num_queries):
    """A pass with nothing due costs one statement, whatever the tables hold."""
    make_entry()
    led.record(NOON + minutes(1))

    with django_assert_num_queries(1):
        agenda = ledger.agenda(NOON + minutes(1))

    assert (agenda.must_record, agenda.may_begin, agenda.next_at()) == (False, False, NOON + minutes(5))


def _raiser(error):
    def fail(*args, **kwargs):
        raise error

    return fail


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_standby_that_cannot_be_written_is_a_ledger_that_is_away(led, make_entry):
    """After a failover the old server may answer, and only read: that is waited out, and ends no scheduler."""
    make_entry()
    led.record(NOON + minutes(5))
    begun = led.begin(NOON + minutes(5))[0]
    try:
        with connections["default"].cursor() as cursor:
            cursor.execute("SET default_transaction_read_only = on")

        with pytest.raises(LedgerUnavailable, match="read-only transaction"):
            ledger.renew([begun.attempt], NOON + minutes(6))
    finally:
        connections["default"].close()


@pytest.mark.postgres
def test_the_time_is_the_databases(monkeypatch):
    """Hosts whose clocks differ must agree on what is due, and on whose lease has ended."""
    monkeypatch.setattr("crons.ledger.transactions.timezone.now", lambda: NOON)

    assert ledger.database_now() > NOON + minutes(1)


def test_a_rule_that_a_row_does_not_name_is_the_default(led, make_entry, settings):
    """Written by an older release or by hand: without an executor it was never begun, and without a group not while
    any group was full."""
    settings.CRONS = {"GROUPS": {"few": 1}}
    busy, plain = make_entry("busy", group="few"), make_entry("plain")
    Entry.objects.filter(pk=plain.pk).update(policy={})
    led.record(NOON + minutes(5))
    assert [each.entry for each in led.begin(NOON + minutes(5), room=1)] == [busy.name]

    begun = led.begin(NOON + minutes(5))

    assert [(each.entry, each.executor) for each in begun] == [(plain.name, "process")]


def test_what_has_to_wait_keeps_nobody_out(led, make_entry, monkeypatch):
    """The queue is looked through to its end, whatever stands before it: paused, or for others."""
    monkeypatch.setattr("crons.ledger.queue.LARGEST_BATCH", 2)
    for number in range(40):
        make_entry(f"paused{number}")
        make_entry(f"elsewhere{number}", executor="far")
    make_entry("late", "2-59/5 * * * *")
    led.record(NOON + minutes(7))
    Entry.objects.filter(name__startswith="paused").update(paused_at=NOON + minutes(6))

    assert [each.entry for each in led.begin(NOON + minutes(7), room=1)] == ["late"]


def test_many_slots_of_one_entry_keep_no_other_out_of_the_same_look(led, make_entry, monkeypatch):
    """Only one of them may run: of the others no more are read, and what comes behind them is begun at once."""
    monkeypatch.setattr("crons.ledger.queue.LARGEST_BATCH", 4)
    make_entry("all", "* * * * *", catch_up="all")
    make_entry("few", catch_up="all", group="few")
    make_entry("last", "55 * * * *")
    led.record(NOON + minutes(56))

    begun = led.begin(NOON + minutes(56), room=3)

    assert [each.entry for each in begun] == ["all", "few", "last"]


def test_a_group_takes_no_more_than_it_has_places_in_one_look(led, make_entry, settings):
    """The others of the group are passed over, and who needs no place is begun instead."""
    settings.CRONS = {"GROUPS": {"few": 2}}
    for number in range(30):
        make_entry(f"few{number:02}", group="few")
    make_entry("zulu")
    led.record(NOON + minutes(5))

    begun = led.begin(NOON + minutes(5), room=3)

    assert [each.entry for each in begun] == ["few00", "few01", "zulu"]


def test_a_retry_waits_behind_no_heap_of_new_slots(led, make_entry):
    """Each state has its own queue: the retry, due for longer, is begun before the slots that came after it."""
    make_entry("again", retry=Retry(1, wait=timedelta(seconds=1)))
    led.record(NOON + minutes(5))
    [begun] = led.begin(NOON + minutes(5))
    led.finish(begun, NOON + minutes(5), Outcome.FAILED)
    for number in range(30):
        make_entry(f"new{number:02}", since=NOON + minutes(5))
    Entry.objects.filter(name="again").update(wake_at=NOON + minutes(60))
    led.record(NOON + minutes(10))

    assert [each.entry for each in led.begin(NOON + minutes(10), room=1)] == ["again"]
