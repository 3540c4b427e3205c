"""Sends the outbox beside the scheduler: a mail server that hangs must not keep leases from being renewed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial

from django.db import connections

from crons import ledger
from crons.exceptions import LedgerUnavailable
from crons.side_output import get_log
from crons.watch.alerts import outbox

log = get_log("crons")


class AlertSender:
    """A thread for each channel that has something to send, with a database connection of its own.

    A channel that hangs, hangs alone; at most one thread of each at a time.
    """

    def __init__(self) -> None:
        self._looking: threading.Thread | None = None
        self._sending: dict[str, threading.Thread] = {}

    def start(self) -> None:
        """Send what is due, unless that is going on already; return at once."""
        if self._looking is None or not self._looking.is_alive():
            self._looking = _started(self._look, "crons-alerts")

    def finish(self, patience_seconds: float) -> None:
        """Wait for what is being sent: a process that ends in the middle leaves it to be sent again much later."""
        until = time.monotonic() + patience_seconds
        if self._looking is not None:
            self._looking.join(patience_seconds)
        for thread in list(self._sending.values()):
            thread.join(max(until - time.monotonic(), 0))

    def _look(self) -> None:
        for channel in outbox.due_channels(ledger.database_now()):
            going = self._sending.get(channel)
            if going is None or not going.is_alive():
                self._sending[channel] = _started(partial(_send, channel), f"crons-alerts-{channel}")


def _started(work: Callable[[], object], name: str) -> threading.Thread:
    thread = threading.Thread(target=_contained, args=(work,), name=name, daemon=True)
    thread.start()
    return thread


def _send(channel: str) -> None:
    outbox.send_due(ledger.database_now(), channel)


def _contained(work: Callable[[], object]) -> None:
    try:
        work()
    except LedgerUnavailable as error:
        log.warning("alerts wait until the ledger answers: %s", error, extra={"event": "alerts.waiting"})
    finally:
        connections.close_all()
