"""Reopening: a run that is over and did not succeed gets another try, because a person says so."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from crons.exceptions import Refused
from crons.ledger import rows
from crons.ledger.audit import REASON, kept, note
from crons.ledger.entries import refuse_retired
from crons.ledger.transactions import lock_all, verb, writing
from crons.ledger.verdict import ENDED
from crons.models import Run
from crons.verdicts import State, Verdict

REOPENED = [*ENDED, "start_before", "asked_at"]


@verb
def retry(run_id: int, now: datetime, *, by: str, reason: str = "") -> Run:
    """Let a run that is over and did not succeed be tried once more: the same row, key and slot.

    It waits for its turn like a retry, but is not superseded by a newer success, nor held by a pause that was
    there when it was asked for. retry= gives it what is left of its tries, so after the last nothing more.
    Raises: Refused if it does not exist, is not over, has succeeded, or its entry is retired.
    """
    with writing() as using:
        # Run and entry together, as begin does. Who retires the entry meanwhile is waited for, and seen.
        found = Run.objects.using(using).select_related("entry").filter(pk=run_id)
        run = lock_all(found, using, "self", "entry").first()
        if run is None:
            raise Refused(f"run {run_id} does not exist. See: manage.py crons history")
        refuse_retired(run.entry)
        if run.state != State.DONE:
            raise Refused(f"run {run_id} is not over: it is {run.state}. See: manage.py crons show {run_id}")
        if run.verdict == Verdict.SUCCEEDED:
            raise Refused(
                f"run {run_id} has succeeded, so there is nothing to try again. "
                f"Once more besides: manage.py crons run {run.entry.name} --manual"
            )
        before = verdict_of(run)
        reopen(run, now, by=by, reason=reason)
        rows.update([run], REOPENED, using)
        note("retry", "run", run_id, by, now, using, before=before, after={"entry": run.entry.name}, reason=reason)
    return run


def reopen(run: Run, now: datetime, *, by: str, reason: str = "") -> None:
    """Take a run's verdict back, in memory; store it by REOPENED."""
    told = f"asked for again by {by}" + (f": {reason}" if reason else "")
    run.state, run.verdict, run.reason, run.detail = State.WAITING, "", "", kept(told, REASON)
    # What somebody asks for may start however late; and who asks has seen what went wrong before.
    run.wake_at = run.asked_at = now
    run.start_before = run.ended_at = run.inspect_at = None


def verdict_of(run: Run) -> dict[str, Any]:
    """Return what a run's verdict was, for the audit trail."""
    ended_at = run.ended_at.isoformat() if run.ended_at else None
    kept = {"verdict": run.verdict, "reason": run.reason, "detail": run.detail, "tries": run.tries}
    return {**kept, "ended_at": ended_at}
