"""The attempts that this process has begun: handed to its executors, and released where none of these has them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime

from crons import ledger
from crons.attempts import Unstarted
from crons.exceptions import LedgerUnavailable
from crons.executors.base import Begun, Executor
from crons.hosts import Instance
from crons.side_output import get_log
from crons.signals import attempt_begun

log = get_log("crons")
# How long a process that ends waits for the ledger's word on what it has begun, and how often it asks.
LAST_CALL_SECONDS = 10.0
AGAIN_SECONDS = 0.5


class LocalAttempts:
    """Hands what the ledger has begun to the *executors* of one process.

    *unstarted* is what the ledger may say that this process has begun, though its job has surely not been called.
    """

    def __init__(self, instance: Instance, executors: Mapping[str, Executor]) -> None:
        self.unstarted = Unstarted()
        self._instance = instance
        self._executors = executors

    def free(self) -> dict[str, int]:
        """Count, by executor, how many attempts could be started now."""
        return {alias: executor.free() for alias, executor in self._executors.items()}

    def running(self) -> set[int]:
        """Return the attempts started here that are not yet written down as ended."""
        return {attempt for executor in self._executors.values() for attempt in executor.running()}

    def start(self, begun: list[Begun]) -> None:
        """Hand *begun* to the executors; what these do not take is released by the next release()."""
        self.unstarted.attempts |= {each.attempt for each in begun}
        try:
            for alias, executor in self._executors.items():
                mine = [each for each in begun if each.executor == alias]
                if mine:
                    executor.start(mine)
        finally:
            # Only now: had start() raised, attempts that are cleared before would be nobody's.
            self.unstarted.attempts -= self.running()
        for each in begun:
            attempt_begun.send_robust(None, begun=each)

    def release(self, now: datetime | None) -> list[int]:
        """End the attempts of this process that no executor of it has, so that their runs are due again; say which."""
        self._note_refused()
        now = now or ledger.database_now()
        released = ledger.release_unstarted(self._instance.name, self.running(), self.unstarted, now)
        if released:
            log.warning(
                "released what this process was said to run, and does not",
                extra={"event": "attempts.released", "attempts": released},
            )
        return released

    def release_in_doubt(self, now: datetime) -> None:
        """Release what is in doubt, so that it does not stand in the way of what is begun next."""
        self._note_refused()
        if self.unstarted:
            self.release(now)

    def release_refused(self) -> None:
        """Release at once what an executor took and could not start: it is due again, for anyone."""
        self._note_refused()
        if self.unstarted.reasons:
            self.release(None)

    def release_unstarted(self) -> None:
        """Release what may have been begun without an answer; for a process that ends, which waits a little for that.

        Else it would be found lost, as if its job may have run.
        """
        until = time.monotonic() + LAST_CALL_SECONDS
        self._note_refused()
        while self.unstarted:
            try:
                self.release(None)
                return
            except LedgerUnavailable as error:
                if time.monotonic() >= until:
                    text = "what was begun without an answer will be found lost, though it never ran: %s"
                    log.warning(text, error, extra={"event": "attempts.doubtful"})
                    return
                time.sleep(AGAIN_SECONDS)

    def _note_refused(self) -> None:
        for executor in self._executors.values():
            self.unstarted.refuse(executor.refused())
