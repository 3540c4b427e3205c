"""One look at the clock: what system cron, a systemd timer or a hand calls; supervises what it began."""

from __future__ import annotations

import time
from datetime import datetime

from django.utils import timezone

from crons import ledger
from crons.dispatch import Pass
from crons.ledger import Agenda
from crons.triggers.alert_sender import AlertSender
from crons.triggers.session import LONGEST_AHEAD, Session

SENDING_SECONDS = 5.0
# How often a tick that stays looks again: as often as a timer would have started another.
LOOK_SECONDS = 60.0


def tick(session: Session, *, while_busy: bool = False) -> Pass:
    """Do what is due, and see what was begun through to its end; begin more as places come free.

    Args: *while_busy*: as long as something runs, look at the clock again each minute.
    Raises: NotAdopted, Disabled, LedgerUnavailable.
    """
    ledger.permit()
    wait_for_boundary(ledger.agenda())
    done = session.dispatcher.turn()
    session.dispatcher.inspect_rules(done.agenda.now, "tick")
    alert_sender, look_at = AlertSender(), time.monotonic() + LOOK_SECONDS

    def look_or_begin() -> None:
        nonlocal look_at
        if while_busy and time.monotonic() >= look_at:
            look_at = time.monotonic() + LOOK_SECONDS
            _look_again(session, done, alert_sender)
        elif session.free():
            _begin_more(session, done)

    session.supervise(between=look_or_begin)
    session.drain()
    alert_sender.finish(SENDING_SECONDS)
    session.report()
    return done


def _begin_more(session: Session, done: Pass) -> None:
    agenda = ledger.agenda()
    if agenda.may_begin:
        done.begun += session.dispatcher.begin(agenda.now)


def _look_again(session: Session, done: Pass, alert_sender: AlertSender) -> None:
    ledger.permit()
    again = session.dispatcher.turn()
    done.add(again)
    if again.agenda.must_deliver:
        alert_sender.start()


def wait_for_boundary(agenda: Agenda, at: datetime | None = None) -> None:
    """Wait until *at*, or the next thing due, where this host's clock says that it has come already."""
    at = at or agenda.next_at()
    if at is None or at <= agenda.now:
        return
    ahead = min(timezone.now() - agenda.now, LONGEST_AHEAD)
    if at - agenda.now <= ahead:
        time.sleep((at - agenda.now).total_seconds())
