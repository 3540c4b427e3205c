"""Sends the outbox beside the scheduler: a mail server that hangs must not keep leases from being renewed."""

from __future__ import annotations

import threading

from django.db import connections

from crons import ledger
from crons.exceptions import LedgerUnavailable
from crons.side_output import get_log
from crons.watch.alerts import outbox

log = get_log("crons")


class AlertSender:
    """At most one thread at a time, with a database connection of its own."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Send what is due, unless that is going on already; return at once."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=_send, name="crons-alerts", daemon=True)
            self._thread.start()

    def finish(self, patience_seconds: float) -> None:
        """Wait for what is being sent: a process that ends in the middle leaves it to be sent again much later."""
        if self._thread is not None:
            self._thread.join(patience_seconds)


def _send() -> None:
    try:
        outbox.send_due(ledger.database_now())
    except LedgerUnavailable as error:
        log.warning("alerts wait until the ledger answers: %s", error)
    finally:
        connections.close_all()
