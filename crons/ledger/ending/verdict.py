"""Giving runs their verdict: in memory, into the rows, and to whoever listens."""

from __future__ import annotations

from datetime import datetime

from django.db import connections

from crons.ledger import rows
from crons.models import Attempt, Run
from crons.signals import attempt_finished, run_ended
from crons.verdicts import State, Verdict

ENDED = ["state", "verdict", "reason", "detail", "wake_at", "active_key", "ended_at", "inspect_at"]


def end(run: Run, verdict: Verdict, now: datetime, *, reason: str = "", detail: str = "") -> None:
    """Give *run* its verdict, in memory; write_ended stores it."""
    run.state, run.verdict, run.reason, run.detail = State.DONE, verdict, reason, detail[:255]
    run.wake_at, run.active_key, run.ended_at = None, None, now


def write_ended(runs: list[Run], using: str) -> None:
    """Store runs that *end* changed, and announce them once that is committed."""
    rows.update(runs, ENDED, using)
    for run in runs:
        announce(run, using)


def announce(run: Run, using: str) -> None:
    """Tell the world that *run* has its verdict, after the commit; a receiver's error stays its own."""
    connections[using].on_commit(lambda: run_ended.send_robust(None, run=run))


def announce_finished(attempt: Attempt, using: str) -> None:
    """Tell the world that *attempt* has its outcome, whatever follows for its run; after the commit, as above."""
    connections[using].on_commit(lambda: attempt_finished.send_robust(None, attempt=attempt))
