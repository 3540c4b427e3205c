"""One look at the clock: what system cron, a systemd timer or a hand calls; supervises what it began."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from django.utils import timezone

from crons import deployment, ledger
from crons.dispatch import Pass
from crons.ledger import Agenda
from crons.triggers.session import LONGEST_LOOK_SECONDS, Session

# Cron on a host whose clock is ahead fires before the database's minute has begun.
LONGEST_AHEAD = timedelta(seconds=5)


def tick(session: Session) -> Pass:
    """Do what is due, and see what was begun through to its end; begin more as places come free.

    Raises: NotAdopted, Disabled, LedgerUnavailable.
    """
    deployment.permit()
    wait_for_boundary(ledger.agenda())
    done = session.dispatcher.turn()
    while session.dispatcher.running() and session.stopping is None:
        session.work(LONGEST_LOOK_SECONDS)
        if session.free() and session.stopping is None:
            agenda = ledger.agenda()
            if agenda.may_begin:
                done.begun += session.dispatcher.begin(agenda.now)
    session.drain()
    session.report()
    return done


def wait_for_boundary(agenda: Agenda, at: datetime | None = None) -> None:
    """Wait until *at*, or the next thing due, where this host's clock says that it has come already."""
    at = at or agenda.next_at()
    if at is None or at <= agenda.now:
        return
    ahead = min(timezone.now() - agenda.now, LONGEST_AHEAD)
    if at - agenda.now <= ahead:
        time.sleep((at - agenda.now).total_seconds())
