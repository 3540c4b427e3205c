"""What a worker's process keeps from one message to the next."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from crons.triggers import arrival


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
    monkeypatch.setattr(arrival, "_sessions", {})
    return arrival._sessions


def test_a_session_is_kept_for_the_next_message(sessions):
    """Its fork server costs more than most jobs."""
    first = arrival._session_of_this_process("celery", Kept)

    assert arrival._session_of_this_process("celery", Kept) is first


def test_a_broken_session_is_closed_once_and_made_anew(sessions):
    """Also where the new one cannot be opened: its descriptors' numbers may be others' by then."""
    broken = sessions["celery"] = Kept(broken=True)
    for _ in range(2):
        with pytest.raises(OSError, match="no process to be had"):
            arrival._session_of_this_process("celery", lambda: Kept(opens=False))

    made = arrival._session_of_this_process("celery", Kept)

    assert broken.closed == 1
    assert (sessions, made.closed) == ({"celery": made}, 0)
