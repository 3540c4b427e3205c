"""What a worker does when Celery's beat fires: what `crons run` and `crons tick` do for system cron.

A message may come twice, from two beats or from one that was killed after it had sent: the ledger has each slot once.
"""

from __future__ import annotations

from datetime import timedelta

from crons.ledger import deployment
from crons.side_output import get_log
from crons.triggers.entry import EntryTrigger
from crons.triggers.session import Session
from crons.triggers.tick import tick as run_tick
from crons.triggers.worker_session import worker_session

log = get_log("crons")
NO_PATIENCE = timedelta(0)  # a retry is begun by a later tick, not waited for


def fire(entry: str) -> str:
    """Record the slots of *entry* that are due, and begin or send them, unless somebody has; say what was done.

    Raises: NotAdopted, Disabled, LedgerUnavailable, UnknownJob.
    """
    messages: list[str] = []
    with worker_session("beat", _session) as session:
        trigger = EntryTrigger(session, messages.append, patience=NO_PATIENCE)
        trigger.scheduled(entry)
        if trigger.run is not None and not messages:
            messages.append(f"run {trigger.run.pk} of {entry}: {trigger.run.verdict or trigger.run.state}")
    return " ".join(messages)


def tick() -> str:
    """Look at the clock once, for all entries, and see through what is begun here; say what was done.

    Raises: NotAdopted, Disabled, LedgerUnavailable.
    """
    with worker_session("beat", _session) as session:
        sent = session.dispatcher.publishers.sent
        done = run_tick(session)
        sent = session.dispatcher.publishers.sent - sent
    return (
        f"{done.runs} slot(s) recorded, {done.written_off} missed or skipped, {len(done.begun)} attempt(s) begun, "
        f"{len(done.lost)} found lost, {sent} sent"
    )


def belongs_here(sent_by: str) -> bool:
    """Say whether a message with that mark was sent by the beat of this deployment."""
    return sent_by == deployment.here().identity


def _session() -> Session:
    return Session("worker", "beat")
