"""A scheduler of the test's own, which runs everything in the test's process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from crons import ledger, watch
from crons.dispatch import Dispatcher
from crons.exceptions import LedgerUnavailable
from crons.executors.inline import InlineExecutor
from crons.hosts.instances import Instance
from crons.jobs import registry

TRIGGER = "test"


class Scheduler:
    """The real dispatcher; every executor that a job names is the inline one."""

    def __init__(self, instance: Instance) -> None:
        self._executors = {alias: InlineExecutor(alias=alias) for alias in registry.executors()}
        self.dispatcher = Dispatcher(TRIGGER, instance, self._executors)
        self._writer = self.dispatcher.writer()

    def work(self) -> None:
        """Run all that has begun.

        Raises: LedgerUnavailable where an ending could not be written down.
        """
        for executor in self._executors.values():
            executor.work(self._writer, 0.0)
        if self.dispatcher.running():
            raise LedgerUnavailable(
                "an ending could not be written down. Has a job broken the transaction that the test runs in? "
                "Use a TransactionTestCase, or django_db(transaction=True)."
            )

    def turn(self, end: datetime) -> None:
        """Do all that is due now, and what falls due while a job moves the clock, until *end*."""
        while ledger.database_now() <= end:
            done = self.dispatcher.turn()
            begun = done.begun
            while begun:
                self.work()
                watch.inspect(ledger.database_now())
                watch.send_due(ledger.database_now())
                begun = self.dispatcher.begin(ledger.database_now())
            if not (done.begun or done.runs or done.written_off):
                return


@contextmanager
def scheduler() -> Iterator[Scheduler]:
    """Give a scheduler, whose instance ends with the block."""
    instance = Instance.start(TRIGGER)
    try:
        yield Scheduler(instance)
    finally:
        instance.stop()
