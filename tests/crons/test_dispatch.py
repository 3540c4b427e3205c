"""One turn: what is asked, in which order, and what a turn must never do."""

from __future__ import annotations

from contextlib import contextmanager
from importlib import import_module

import pytest
from django.db import OperationalError

from crons import ledger
from crons.attempts import Finished, Unstarted
from crons.dispatch import Dispatcher
from crons.exceptions import CronsError, LedgerUnavailable
from crons.executors import Executor
from crons.hosts.instances import Instance
from crons.jobs import Job, registry
from crons.jobs.policies import Policy, Retry
from crons.ledger.ending.unstarted import NOT_RUN
from crons.models import Attempt, Entry, Incident, Run
from crons.verdicts import Ending, Outcome
from tests.crons.conftest import NOON, minutes

pytestmark = pytest.mark.django_db


class Desk(Executor):
    """Starts nothing; keeps what it was given."""

    def __init__(self, places: int = 4) -> None:
        super().__init__(alias="process")
        self.places = places
        self.started = []
        self.ended = set()
        self._refused = {}

    def prepare(self):
        pass

    def free(self):
        return self.places - len(self.started)

    def start(self, begun):
        self.started.extend(begun)

    def running(self):
        return frozenset(each.attempt for each in self.started) - self.ended

    def end(self, attempt):
        self.ended.add(attempt)

    def refuse(self, attempt, why):
        self.end(attempt)
        self._refused[attempt] = why

    def refused(self):
        refused, self._refused = self._refused, {}
        return refused

    def work(self, writer, timeout_seconds, wake_fd=None):
        pass

    def cancel(self, attempts, reason):
        pass

    def close(self):
        pass


@pytest.fixture
def desk():
    """An executor with four places."""
    return Desk()


@pytest.fixture
def dispatcher(instance, desk, make_entry):
    """A scheduler that knows the job heartbeat, which is due each five minutes."""
    registry.jobs["heartbeat"] = Job("heartbeat", print)
    make_entry()
    return Dispatcher("serve", instance, {"process": desk})


def test_a_turn_records_begins_and_hands_over(dispatcher, desk):
    """One call does all that is due."""
    done = dispatcher.turn(NOON + minutes(5))

    assert (done.runs, [each.entry for each in done.begun]) == (1, ["heartbeat"])
    assert desk.started == done.begun
    assert dispatcher.running() == 1


def test_a_turn_with_nothing_due_is_one_statement(dispatcher, django_assert_num_queries):
    """What ten schedulers do each second must cost next to nothing."""
    dispatcher.turn(NOON + minutes(1))

    with django_assert_num_queries(1):
        dispatcher.turn(NOON + minutes(2))


def test_a_draining_scheduler_records_and_begins_nothing(dispatcher, desk):
    """What it records others begin; what it holds it finishes."""
    done = dispatcher.turn(NOON + minutes(5), beginning=False)

    assert (done.runs, done.begun, desk.started) == (1, [], [])


def test_full_means_nothing_more_is_begun(dispatcher, desk):
    """Due runs stay due, for anyone with room."""
    desk.places = 0

    assert dispatcher.turn(NOON + minutes(5)).begun == []
    assert Run.objects.get().state == "due"


def test_nothing_is_declared_lost_in_the_pass_after_a_failed_write(dispatcher, led, make_entry):
    """What kept this process from writing kept the others from renewing."""
    dead = Instance.start("serve")
    make_entry("other")
    led.record(NOON + minutes(5))
    [theirs] = led.begin(NOON + minutes(5), only_run=Run.objects.get(entry__name="other").pk, instance=dead)
    dead.stop()
    with pytest.raises(LedgerUnavailable), dispatcher.health.writing():
        raise LedgerUnavailable("locked")

    assert dispatcher.turn(NOON + minutes(6)).lost == []
    assert dispatcher.turn(NOON + minutes(6)).lost == [theirs.attempt]


@pytest.mark.parametrize("ends", [False, True], ids=["at its next look", "when the process ends"])
def test_a_begin_whose_answer_was_lost_is_given_back(dispatcher, desk, monkeypatch, ends):
    """Committed, unreadable, never started: the process must not keep it for ever, nor leave it to be found lost."""
    module = import_module("crons.ledger.begin")
    real_begin, real_read = module._begin, module._read_back

    def cut_off(*args):
        real_begin(*args)
        raise LedgerUnavailable("connection cut")

    def unreadable(issued):
        raise OperationalError("connection cut")

    monkeypatch.setattr(module, "_begin", cut_off)
    monkeypatch.setattr(module, "_read_back", unreadable)
    with pytest.raises(LedgerUnavailable):
        dispatcher.turn(NOON + minutes(5))
    assert desk.started == []
    monkeypatch.setattr(module, "_begin", real_begin)
    monkeypatch.setattr(module, "_read_back", real_read)
    if ends:
        answers = iter([LedgerUnavailable("the server restarts"), NOON + minutes(6)])
        monkeypatch.setattr(ledger, "database_now", lambda: _given(next(answers)))
        monkeypatch.setattr("crons.executors.local.AGAIN_SECONDS", 0.0)
        dispatcher.attempts.release_unstarted()
        assert Run.objects.get().state == "due"
        dispatcher.attempts.release_unstarted()  # nothing is in doubt any more
        monkeypatch.undo()

    dispatcher.turn(NOON + minutes(6))

    assert [(each.entry, each.number) for each in desk.started] == [("heartbeat", 1)]
    assert [attempt.outcome for attempt in Attempt.objects.all()] == [""]


def test_what_an_executor_refuses_is_given_back(dispatcher, desk, monkeypatch):
    """Begun and committed, but nobody runs it: without this the entry would be blocked while the process lives."""
    monkeypatch.setattr(desk, "start", _refuse)
    with pytest.raises(CronsError, match="no process to be had"):
        dispatcher.turn(NOON + minutes(5))
    monkeypatch.undo()

    dispatcher.turn(NOON + minutes(6))

    assert [(each.entry, each.number) for each in desk.started] == [("heartbeat", 1)]


def test_what_was_begun_goes_on_where_nothing_could_be_sent(dispatcher, desk, monkeypatch, caplog):
    """A tick that ended of it would kill the jobs that it has just begun."""
    monkeypatch.setattr(dispatcher.publishers, "send", _unavailable)

    assert dispatcher.turn(NOON + minutes(5)).begun == desk.started
    assert [each.entry for each in desk.started] == ["heartbeat"]
    assert "what runs elsewhere is sent at the next turn: locked" in caplog.text

    with pytest.raises(LedgerUnavailable, match="locked"):
        dispatcher.begin(NOON + minutes(5))


def test_a_process_that_ends_waits_for_no_database_for_ever(dispatcher, monkeypatch, caplog):
    """What it has begun without an answer is then found lost; the log says that it never ran."""
    monkeypatch.setattr("crons.executors.local.LAST_CALL_SECONDS", 0.0)
    monkeypatch.setattr(ledger, "database_now", lambda: _given(LedgerUnavailable("gone")))
    dispatcher.attempts.unstarted.attempts.add(1)

    dispatcher.attempts.release_unstarted()

    assert caplog.messages == ["what was begun without an answer will be found lost, though it never ran: gone"]


@pytest.fixture
def commit_late(monkeypatch, instance):
    """Have begins be cut off, and what they commit be seen only after the block."""
    module = import_module("crons.ledger.begin")
    real = module._begin
    hidden = {"instance": "not yet", "boot_id": "not yet"}

    def cut_off(*args):
        real(*args)
        Attempt.objects.filter(instance=instance.name).update(**hidden)
        raise LedgerUnavailable("connection cut")

    @contextmanager
    def late():
        with monkeypatch.context() as patched:
            patched.setattr(module, "_begin", cut_off)
            patched.setattr(module, "_read_back", lambda issued: [])
            yield
        Attempt.objects.filter(**hidden).update(instance=instance.name, boot_id=instance.boot_id)

    return late


def _given(answer):
    if isinstance(answer, Exception):
        raise answer
    return answer


def _unavailable(now, only_run):
    raise LedgerUnavailable("locked")


def _refuse(begun):
    raise CronsError("no process to be had")


def test_what_is_held_is_not_released(dispatcher, desk):
    """Only attempts that no executor has are in doubt."""
    dispatcher.turn(NOON + minutes(5))

    assert ledger.release_unstarted(dispatcher.instance.name, desk.running(), Unstarted(), NOON + minutes(6)) == []


def test_a_begin_that_is_committed_after_it_was_read_back_is_released(dispatcher, desk, commit_late):
    """A standby that is away keeps it back: a process that looks once leaves the run to block its entry for ever."""
    with commit_late():
        assert dispatcher.turn(NOON + minutes(5)).begun == []
        assert dispatcher.turn(NOON + minutes(5.2)).begun == []

    dispatcher.turn(NOON + minutes(5.4))

    assert [(each.entry, each.number) for each in desk.started] == [("heartbeat", 1)]
    assert [(each.number, each.outcome) for each in Attempt.objects.all()] == [(1, "")]


def test_what_an_executor_could_not_start_is_due_again_and_no_try(dispatcher, desk):
    """A host without descriptors failed fast, and so won most slots: 80 of 120 ended failed without one start."""
    [begun] = dispatcher.turn(NOON + minutes(5)).begun
    desk.refuse(begun.attempt, "Too many open files")
    desk.places = 0

    dispatcher.turn(NOON + minutes(6))

    run = Run.objects.get()
    assert (run.state, run.verdict, run.tries, run.wake_at) == ("due", "", 0, NOON + minutes(6))
    assert run.detail == f"not started on {dispatcher.instance.host}: Too many open files"
    assert not Attempt.objects.exists()
    assert not Incident.objects.exists()
    desk.places = 4
    dispatcher.turn(NOON + minutes(7))
    assert [each.number for each in desk.started] == [1, 1]


def test_a_retry_that_could_not_be_started_keeps_its_tries(dispatcher, desk):
    Entry.objects.update(policy=Policy(retry=Retry(1, wait=minutes(0))).as_json())
    [first] = dispatcher.turn(NOON + minutes(5)).begun
    ledger.finish([Finished(first.attempt, Ending(Outcome.FAILED, "broken"))], NOON + minutes(5.5))
    desk.end(first.attempt)
    [second] = dispatcher.turn(NOON + minutes(6)).begun
    desk.refuse(second.attempt, "Too many open files")
    desk.places = 0

    dispatcher.turn(NOON + minutes(6.5))

    run = Run.objects.get()
    assert (run.state, run.tries) == ("waiting", 1)
    desk.places = 4
    [third] = dispatcher.turn(NOON + minutes(7)).begun
    assert third.number == second.number == 2


def test_cancel_ends_what_was_begun_and_never_started(dispatcher, desk, commit_late):
    """Nothing runs that could hear of it at a renewal."""
    with commit_late():
        dispatcher.turn(NOON + minutes(5))
    ledger.request_cancel(Run.objects.get().pk, NOON + minutes(6), reason="enough", by="ann")

    dispatcher.turn(NOON + minutes(7))

    run = Run.objects.get()
    assert (run.state, run.verdict, run.detail) == ("done", "cancelled", "enough (by ann)")
    assert desk.started == []


@pytest.mark.parametrize("idempotent", [False, True], ids=["once", "again"])
def test_what_an_older_copy_of_the_database_says_is_running_is_lost(dispatcher, desk, idempotent):
    """This process has run it, so it is not begun as if it had never been: that is for who declared it to allow."""
    Entry.objects.update(policy=Policy(idempotent=idempotent).as_json())
    [begun] = dispatcher.turn(NOON + minutes(5)).begun
    older = Attempt.objects.values().get(), Run.objects.values().get()
    dispatcher.writer().finish([Finished(begun.attempt, Ending(Outcome.SUCCEEDED))])
    desk.started.clear()
    Attempt.objects.update(**older[0])
    Run.objects.update(**older[1])

    dispatcher.turn(NOON + minutes(6))

    attempt = Attempt.objects.earliest("pk")
    assert (attempt.outcome, attempt.error) == ("lost", NOT_RUN)
    run = Run.objects.get()
    assert (run.state, run.verdict) == (("running", "") if idempotent else ("done", "lost"))
    assert [each.number for each in desk.started] == ([2] if idempotent else [])


def test_each_look_compares_what_runs_here_with_what_is_said_to(dispatcher, desk, django_assert_num_queries):
    """One more statement, and only while anything runs anywhere."""
    dispatcher.turn(NOON + minutes(5))
    with django_assert_num_queries(4):  # the agenda, whose process is gone (2), what is ours
        dispatcher.turn(NOON + minutes(6))


def test_the_writer_writes_an_ending_once(dispatcher, desk):
    """What an executor reports becomes the verdict."""
    [begun] = dispatcher.turn(NOON + minutes(5)).begun
    writer = dispatcher.writer()

    writer.finish([Finished(begun.attempt, Ending(Outcome.SUCCEEDED))])

    assert Run.objects.get().verdict == "succeeded"
    assert writer.renew([begun.attempt]).owned == frozenset()
