"""A loop that supervises jobs outlives what goes wrong in one of its turns: raised further, it would end the jobs."""

from __future__ import annotations

import errno
import os
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest

from crons.dispatch import Pass
from crons.exceptions import LedgerUnavailable
from crons.hosts import instances, orphans
from crons.triggers import serve, session, tick


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(session, "PAUSE_SECONDS", 0)


class Supervising:
    """A session with one job that runs for three turns; *work* fails where it is told to."""

    supervise = session.Session.supervise
    drain = session.Session.drain
    _supervise = session.Session._supervise
    _guarded = session.Session._guarded
    stopping = None
    signals = 0
    executors: dict[str, object] = {}

    def __init__(self, *failures):
        self.failures, self.turns, self.has_reported = list(failures), 0, False
        self.dispatcher = SimpleNamespace(
            running=lambda: {1} if self.turns < 3 else set(),
            turn=lambda: Pass(SimpleNamespace(now=None)),
            publishers=SimpleNamespace(finish=lambda: None),
            inspect_rules=lambda now, kind: None,
        )

    def work(self, seconds):
        self.turns += 1
        if self.failures:
            raise self.failures.pop(0)

    def free(self):
        return 1

    def report(self):
        self.has_reported = True


@pytest.fixture
def broken_ledger(monkeypatch):
    """A ledger that answers once, and then no more."""
    answers = [SimpleNamespace(next_at=lambda: None)]

    def agenda():
        if answers:
            return answers.pop()
        raise LedgerUnavailable("the database is away")

    monkeypatch.setattr(tick, "ledger", MagicMock(agenda=agenda))


def test_a_tick_sees_its_jobs_through_though_the_ledger_does_not_answer(broken_ledger):
    """It asked what more is due as soon as a place was free, and where that failed it killed what ran."""
    supervising = Supervising()

    tick.tick(supervising)

    assert (supervising.turns, supervising.has_reported) == (3, True)


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, "Too many open files"), LedgerUnavailable("away")])
def test_a_turn_that_fails_while_it_drains_cuts_no_grace_short(error):
    supervising = Supervising(error, error)

    supervising.drain()

    assert supervising.turns == 3


def test_a_scheduler_outlives_a_sign_of_life_that_fails(monkeypatch):
    """After three failed looks it says so at once: that raised what the look had raised, and ended the scheduler."""
    serving = serve.Scheduler(SimpleNamespace(), say=print)
    monkeypatch.setattr(serving, "_beat", lambda: os.open("/nowhere", os.O_RDONLY))

    pauses = [serving._note(OSError(errno.EMFILE, "Too many open files")) for _ in range(serve.REPORTED_FAILURES)]

    assert pauses == sorted(pauses)
    assert serving.failures == serve.REPORTED_FAILURES


def test_who_may_open_nothing_more_says_of_nobody_that_he_is_gone(monkeypatch):
    """Nor that a job has left no program: a second run of it would be begun beside that."""

    def refuse(*given):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(instances.socket, "socket", refuse)
    monkeypatch.setattr(orphans.os, "pidfd_open", refuse)

    assert not instances.is_gone("nobody", instances.boot_id())
    with pytest.raises(OSError, match="Too many open files"):
        orphans.end({("nobody", 1)})
