"""When the leases of all that runs here are renewed: together, in time for the shortest."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable

from crons.exceptions import LedgerUnavailable
from crons.executors.base import RENEW_AT, LedgerWriter, Renewed
from crons.executors.reports import RETRY_SECONDS
from crons.hosts import boottime


class Leases:
    """*due_at* is when to renew next, as time.monotonic() counts; *on_silence* hears that the ledger did not answer."""

    def __init__(self, on_silence: Callable[[LedgerUnavailable], None]) -> None:
        self.due_at = math.inf
        self._shortest_seconds = math.inf
        self._on_silence = on_silence

    def add(self, lease_seconds: float, leased_at: float, others: Iterable[float]) -> None:
        """Count with a lease that began at *leased_at*, as boottime() counts, beside *others*."""
        self._shortest_seconds = min([lease_seconds, *others])
        begun_at = time.monotonic() + leased_at - boottime()
        self.due_at = min(self.due_at, begun_at + lease_seconds * RENEW_AT)

    def renew(self, writer: LedgerWriter, attempts: Collection[int]) -> tuple[Renewed, float] | None:
        """Renew the leases of *attempts*; None where that is not due yet, or the ledger does not answer.

        Returns: what the ledger says, and from when the new leases count: from before it was asked.
        """
        now, asked_at = time.monotonic(), boottime()
        if now < self.due_at or not attempts:
            return None
        try:
            renewed = writer.renew(attempts)
        except LedgerUnavailable as error:
            self._on_silence(error)
            self.due_at = now + RETRY_SECONDS
            return None
        self.due_at = now + self._shortest_seconds * RENEW_AT
        return renewed, asked_at
