"""A person says "once more": the same run, the same key, the next attempt."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connections

from crons import api, ledger, watch
from crons.exceptions import Refused
from crons.jobs.policies import Retry
from crons.models import Attempt, AuditEvent, Entry, Incident, Run
from crons.verdicts import Outcome
from tests.crons.conftest import NOON, minutes

pytestmark = pytest.mark.django_db


@pytest.fixture
def clock(monkeypatch):
    """The database's clock says noon until a test moves it."""
    moments = {"now": NOON}
    monkeypatch.setattr(ledger, "database_now", lambda: moments["now"])
    return moments


@pytest.fixture
def end_as(led):
    """Let the newest slot of the entry run once and end in a certain way, five minutes past noon."""

    def end(outcome: Outcome = Outcome.FAILED, error: str = "boom") -> Run:
        led.record(NOON + minutes(5))
        [begun] = led.begin(NOON + minutes(5))
        led.finish(begun, NOON + minutes(6), outcome, error)
        return Run.objects.get(pk=begun.run)

    return end


def test_a_failed_run_is_tried_again_as_itself(led, make_entry, end_as):
    """Same row, same key, next number; the former verdict stands in the audit trail."""
    make_entry()
    failed = end_as()

    run = ledger.retry(failed.pk, NOON + minutes(7), by="dana", reason="the disk has room again")

    assert (run.state, run.verdict, run.detail) == (
        "waiting",
        "",
        "asked for again by dana: the disk has room again",
    )
    [begun] = led.begin(NOON + minutes(7))
    assert (begun.run, begun.number, begun.key) == (failed.pk, 2, "heartbeat@2026-03-02T12:05:00Z")
    led.finish(begun, NOON + minutes(8))
    run.refresh_from_db()
    assert (run.state, run.verdict, run.detail, run.ended_at) == ("done", "succeeded", "", NOON + minutes(8))
    event = AuditEvent.objects.get()
    assert (event.verb, event.actor, event.subject_type, event.subject) == ("retry", "dana", "run", str(run.pk))
    assert event.reason == "the disk has room again"
    assert event.before == {
        "verdict": "failed",
        "reason": "",
        "detail": "boom",
        "tries": 1,
        "ended_at": "2026-03-02T12:06:00+00:00",
    }


def test_a_missed_slot_is_run_after_all(led, make_entry):
    """Who asks for it knows that it is late: the moment before which it had to start counts no more."""
    make_entry(deadline=minutes(2))
    led.record(NOON + minutes(5))
    led.begin(NOON + minutes(9), room=1)
    missed = Run.objects.get()
    assert missed.verdict == "missed"

    ledger.retry(missed.pk, NOON + minutes(10), by="dana")

    [begun] = led.begin(NOON + minutes(10))
    assert (begun.number, begun.key) == (1, "heartbeat@2026-03-02T12:05:00Z")


def test_a_skipped_slot_waits_for_what_was_in_its_way(led, make_entry):
    """Asked for, it is not skipped a second time: it is begun when the other has ended."""
    make_entry()
    led.record(NOON + minutes(5))
    [going] = led.begin(NOON + minutes(5))
    led.record(NOON + minutes(10))
    led.begin(NOON + minutes(10))
    skipped = Run.objects.get(slot_at=NOON + minutes(10))

    ledger.retry(skipped.pk, NOON + minutes(11), by="dana")

    assert led.begin(NOON + minutes(11)) == []
    led.finish(going, NOON + minutes(12))
    assert [each.run for each in led.begin(NOON + minutes(12))] == [skipped.pk]


def test_what_a_person_asks_for_is_not_superseded(led, make_entry, end_as):
    """A retry of its own is overtaken by a newer success; a wish for one slot is for that slot."""
    make_entry()
    failed = end_as()
    led.record(NOON + minutes(10))
    led.finish(led.begin(NOON + minutes(10))[0], NOON + minutes(11))

    ledger.retry(failed.pk, NOON + minutes(12), by="dana")

    assert [(each.run, each.until) for each in led.begin(NOON + minutes(12))] == [(failed.pk, NOON + minutes(5))]


def test_a_superseded_run_may_be_asked_for(led, make_entry):
    """It did not succeed, and somebody wants it."""
    make_entry(retry=Retry(1, wait=minutes(8)))
    led.record(NOON + minutes(5))
    led.finish(led.begin(NOON + minutes(5))[0], NOON + minutes(5), Outcome.FAILED, "boom")
    led.record(NOON + minutes(10))
    led.finish(led.begin(NOON + minutes(10))[0], NOON + minutes(11))
    led.begin(NOON + minutes(14))
    superseded = Run.objects.get(verdict="superseded")

    ledger.retry(superseded.pk, NOON + minutes(15), by="dana")

    assert [each.run for each in led.begin(NOON + minutes(15))] == [superseded.pk]


def test_a_failed_wish_is_one_try_and_not_the_whole_budget(led, make_entry):
    """retry= gives what is left of it: nothing, where it was used up."""
    make_entry(retry=Retry(1, wait=minutes(1)))
    led.record(NOON + minutes(5))
    for at in (5, 6):
        led.finish(led.begin(NOON + minutes(at))[0], NOON + minutes(at), Outcome.FAILED, "boom")
    run = Run.objects.get()
    assert (run.verdict, run.tries) == ("failed", 2)

    ledger.retry(run.pk, NOON + minutes(10), by="dana")
    led.finish(led.begin(NOON + minutes(10))[0], NOON + minutes(11), Outcome.FAILED, "boom")

    run.refresh_from_db()
    assert (run.state, run.verdict, run.tries) == ("done", "failed", 3)


def test_a_pause_that_was_there_does_not_hold_what_is_asked_for(led, make_entry, end_as):
    """Pause, mend, try that one slot: as a manual run would be let through."""
    make_entry()
    failed = end_as()
    Entry.objects.update(paused_at=NOON + minutes(8))

    ledger.retry(failed.pk, NOON + minutes(8), by="dana")

    assert [each.run for each in led.begin(NOON + minutes(8))] == [failed.pk]


def test_a_pause_that_comes_later_holds_it(led, make_entry, end_as):
    """Who stops everything stops what was asked for before, too."""
    make_entry()
    failed = end_as()
    ledger.retry(failed.pk, NOON + minutes(8), by="dana")
    Entry.objects.update(paused_at=NOON + minutes(9))

    assert led.begin(NOON + minutes(10)) == []


def test_a_run_that_goes_on_is_refused(led, make_entry):
    """There is nothing to try again yet; each state is named."""
    make_entry(retry=Retry(1, wait=minutes(9)))
    led.record(NOON + minutes(5))
    run = Run.objects.get()
    told = []
    for at in (5, 6):
        with pytest.raises(Refused) as error:
            ledger.retry(run.pk, NOON + minutes(at), by="dana")
        told.append(str(error.value))
        begun = led.begin(NOON + minutes(at))
    with pytest.raises(Refused) as error:
        ledger.retry(run.pk, NOON + minutes(7), by="dana")
    told.append(str(error.value))

    assert begun == []
    assert told == [
        f"run {run.pk} is not over: it is {state}. See: manage.py crons show {run.pk}"
        for state in ("due", "running", "running")
    ]
    assert AuditEvent.objects.count() == 0


def test_a_success_is_refused(led, make_entry, end_as):
    """Its effects are there; once more is a run of its own."""
    make_entry()
    run = end_as(Outcome.SUCCEEDED, "")

    with pytest.raises(Refused) as error:
        ledger.retry(run.pk, NOON + minutes(7), by="dana")

    assert str(error.value) == (
        f"run {run.pk} has succeeded, so there is nothing to try again. "
        "Once more besides: manage.py crons run heartbeat --manual"
    )


def test_a_retired_entrys_run_is_refused(led, make_entry, end_as):
    """Nobody would begin it."""
    make_entry()
    run = end_as()
    Entry.objects.update(retired_at=NOON + minutes(8))

    with pytest.raises(Refused) as error:
        ledger.retry(run.pk, NOON + minutes(9), by="dana")

    assert str(error.value) == (
        "'heartbeat' is retired since 2026-03-02 12:08:00 UTC: nobody declares it, so nothing would begin it."
    )
    run.refresh_from_db()
    assert (run.state, run.verdict) == ("done", "failed")


def test_an_unknown_run_is_refused(db):
    """As one that was pruned a moment ago is."""
    with pytest.raises(Refused, match=r"^run 4711 does not exist\. See: manage\.py crons history$"):
        ledger.retry(4711, NOON, by="dana")


def test_the_incident_closes_when_the_retry_succeeds(led, make_entry, end_as, clock):
    """Another failure is one more of the same incident; the success ends it."""
    make_entry()
    run = end_as()
    watch.inspect(NOON + minutes(6))
    ledger.retry(run.pk, NOON + minutes(7), by="dana")
    led.finish(led.begin(NOON + minutes(7))[0], NOON + minutes(8), Outcome.FAILED, "boom")
    watch.inspect(NOON + minutes(8))
    assert (Incident.objects.get().count, Incident.objects.get().closed_at) == (2, None)

    ledger.retry(run.pk, NOON + minutes(9), by="dana")
    led.finish(led.begin(NOON + minutes(9))[0], NOON + minutes(10))
    watch.inspect(NOON + minutes(10))

    assert Incident.objects.get().closed_at == NOON + minutes(10)


def test_what_was_not_yet_told_is_not_told_of_a_run_that_is_tried_again(led, make_entry, end_as):
    """Whoever asked has seen it; a mail about a run without a verdict would say nothing."""
    make_entry()
    run = end_as()
    ledger.retry(run.pk, NOON + minutes(7), by="dana")

    watch.inspect(NOON + minutes(7))

    assert Incident.objects.count() == 0


def test_the_zombie_of_a_lost_attempt_changes_nothing_of_the_retry(led, make_entry):
    """Its token is older: neither its ending nor its effects count."""
    make_entry()
    led.record(NOON + minutes(5))
    [zombie] = led.begin(NOON + minutes(5))
    Attempt.objects.update(boot_id="another host")
    ledger.expire(NOON + minutes(7))
    run = Run.objects.get()
    ledger.retry(run.pk, NOON + minutes(8), by="dana")
    [second] = led.begin(NOON + minutes(8))

    assert led.finish(zombie, NOON + minutes(9)) is False

    run.refresh_from_db()
    assert (run.state, run.current_attempt) == ("running", second.attempt)


def test_the_api_asks_whether_it_may(make_entry, clock, led, end_as, settings):
    """A copy, or a place where all is switched off, reopens nothing."""
    make_entry()
    run = end_as()
    clock["now"] = NOON + minutes(7)

    assert api.retry(run.pk, by="dana", reason="again").asked_at == NOON + minutes(7)

    settings.CRONS = {"ENABLED": False}
    with pytest.raises(Exception, match="ENABLED"):
        api.retry(run.pk, by="dana")


@pytest.mark.django_db(transaction=True)
def test_two_who_ask_at_once_reopen_it_once(led, make_entry, end_as):
    """The row decides: the second finds a run that is not over."""
    make_entry()
    run = end_as()
    gate, said = threading.Barrier(2), []

    def ask(name: str) -> None:
        gate.wait()
        try:
            ledger.retry(run.pk, NOON + minutes(7), by=name)
            said.append("reopened")
        except Refused as error:
            said.append(str(error))
        finally:
            connections.close_all()

    racers = [threading.Thread(target=ask, args=(name,)) for name in ("dana", "eve")]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()

    assert sorted(said) == sorted(
        ["reopened", f"run {run.pk} is not over: it is waiting. See: manage.py crons show {run.pk}"]
    )
    assert AuditEvent.objects.count() == 1
    assert len(led.begin(NOON + timedelta(minutes=7))) == 1


def test_a_group_holds_for_what_is_asked_for_too(led, make_entry, settings):
    """Retries, filled holes and manual runs take their places among the others'."""
    settings.CRONS = {"GROUPS": {"heavy": 1}}
    for name in ("failed", "hole", "manual", "slot"):
        make_entry(name, group="heavy")
    led.record(NOON + minutes(5))
    for each in led.begin(NOON + minutes(5)):
        led.finish(each, NOON + minutes(5), Outcome.FAILED, "boom")
    Run.objects.filter(state="due").delete()
    ledger.retry(Run.objects.get().pk, NOON + minutes(6), by="dana")
    ledger.backfill("hole", NOON - minutes(5), NOON, NOON + minutes(6), by="dana")
    ledger.request("manual", NOON + minutes(6), "api")
    order = []

    while begun := led.begin(NOON + minutes(7)):
        assert led.begin(NOON + minutes(7)) == []
        order += [each.entry for each in begun]
        led.finish(begun[0], NOON + minutes(7))

    assert order == ["manual", "failed", "hole"]


def test_a_run_whose_code_is_gone_waits_and_says_for_what(led, make_entry, end_as, clock):
    """A deploy took the job away and nobody has synced: nothing is lost, and nobody is left guessing."""
    make_entry()
    failed = end_as()
    clock["now"] = NOON + minutes(7)
    api.retry(failed.pk, by="dana")

    begun = ledger.begin(NOON + minutes(8), {"process": 4}, ["another_job"], led.instance)
    clock["now"] = NOON + minutes(9)
    run = Run.objects.select_related("entry").get()

    assert begun == []
    assert (run.state, run.tries) == ("waiting", 1)
    assert api.why_waiting([run]) == {run.pk: "for a free place, or for a process that knows the job 'heartbeat'"}
    assert run.detail == "asked for again by dana"


def test_a_retry_that_nobody_begins_is_wrong_now(led, make_entry, end_as, clock):
    """Somebody asked for it and went to bed."""
    make_entry()
    failed = end_as()
    Entry.objects.update(wake_at=NOON + minutes(60), accounted_until=NOON + minutes(20))
    clock["now"] = NOON + minutes(7)
    api.retry(failed.pk, by="dana")

    clock["now"] = NOON + minutes(20)
    told = [(each.entry, each.since, each.text) for each in api.health() if each.kind == "waiting"]
    [begun] = led.begin(NOON + minutes(20))
    led.finish(begun, NOON + minutes(20), Outcome.FAILED, "boom")
    ledger.retry(failed.pk, NOON + minutes(20), by="dana")
    clock["now"] = NOON + minutes(20.9)
    after = [each.kind for each in api.health()]

    why = "no place has come free, or no running process knows the job 'heartbeat'"
    assert told == [("heartbeat", NOON + minutes(7), f"a run waits to be begun: {why}")]
    assert "waiting" not in after
