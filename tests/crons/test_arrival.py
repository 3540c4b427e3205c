"""What a worker's process keeps from one message to the next, and what becomes of one that it cannot begin."""

from __future__ import annotations

import os
from datetime import timedelta
from types import SimpleNamespace

import pytest

from crons import ledger
from crons.hosts.instances import host
from crons.jobs import registry
from crons.models import Run
from crons.triggers import worker, worker_session
from tests.crons.conftest import NOON


class Kept:
    """A session, as far as it is kept; *broken* says that its fork server is gone."""

    def __init__(self, *, broken=False, opens=True):
        self.instance = SimpleNamespace(pid=os.getpid())
        self.executors = {"celery": SimpleNamespace(broken=broken)}
        self.opens, self.closed = opens, 0

    def open(self):
        if not self.opens:
            raise OSError("no process to be had")

    def close(self):
        self.closed += 1


@pytest.fixture(autouse=True)
def sessions(monkeypatch):
    """The sessions of this process."""
    monkeypatch.setattr(worker_session, "_sessions", {})
    return worker_session._sessions


def test_a_session_is_kept_for_the_next_message(sessions):
    """Its fork server costs more than most jobs."""
    first = worker_session._session_of_this_process("celery", Kept)

    assert worker_session._session_of_this_process("celery", Kept) is first


def test_a_broken_session_is_closed_once_and_made_anew(sessions):
    """Also where the new one cannot be opened: its descriptors' numbers may be others' by then."""
    broken = sessions["celery"] = Kept(broken=True)
    for _ in range(2):
        with pytest.raises(OSError, match="no process to be had"):
            worker_session._session_of_this_process("celery", lambda: Kept(opens=False))

    made = worker_session._session_of_this_process("celery", Kept)

    assert broken.closed == 1
    assert (sessions, made.closed) == ({"celery": made}, 0)


@pytest.mark.django_db
@pytest.mark.parametrize(("sends", "pause"), [(1, 0), (3, 0), (4, 30), (40, 30)])
def test_a_message_that_is_refused_again_and_again_has_its_pause(make_entry, monkeypatch, sends, pause):
    """A worker with other limits for groups than the scheduler's refuses what that sends at once again."""
    monkeypatch.setattr(ledger, "database_now", lambda: NOON)
    monkeypatch.setitem(registry.jobs, "away", SimpleNamespace())
    entry = make_entry("away", executor="far")
    about = {"slot_at": NOON, "planned_at": NOON, "recorded_at": NOON, "wake_at": NOON, "trigger": "test"}
    run = Run.objects.create(entry=entry, state="sent", sends=sends, **about)

    arrived = worker._not_begun(run.pk)

    run.refresh_from_db()
    assert arrived.text == f"run {run.pk} of away cannot be begun now; it is sent again when it can"
    assert (run.state, run.sends, run.wake_at) == ("due", sends, NOON + timedelta(seconds=pause))
    assert run.detail == f"a worker on {host()} was there, and it could not be begun then"
