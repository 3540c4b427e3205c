"""The ledger as executors see it, and how well it answers this process."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from crons import ledger
from crons.conf import conf
from crons.exceptions import LedgerUnavailable
from crons.executors.base import Chunk, Finished, Renewed
from crons.hosts import Instance, boottime
from crons.side_output import Echo

# How many leases past its end an attempt is left to the process that ran it, where this process has only just
# started, or the ledger has just been away: the other may be about to write its ending down.
LONG_LEASES = 10


class LedgerHealth:
    """Whether this process could read and write lately: while it could not, it finds no attempt of others lost.

    *has_failed*: a write has failed since the last pass, so others may not have been able to renew their leases.
    """

    def __init__(self) -> None:
        self.has_failed = False
        self._well_since = boottime()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Remember since when all went well."""
        try:
            yield
        except LedgerUnavailable:
            self._well_since = boottime()
            raise

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Remember a write that failed inside as well."""
        with self.reading():
            try:
                yield
            except LedgerUnavailable:
                self.has_failed = True
                raise

    def expire(self, instance: Instance, now: datetime) -> list[int]:
        """Have the attempts of others declared lost whose leases have ended; return their numbers."""
        # Others may be about to write endings down: just after the database was away, or as far as a process that
        # has just started can tell. Those get much longer.
        is_well = boottime() - self._well_since > (conf.lease / 3).total_seconds()
        return ledger.expire(now, mine=instance.name, patience=conf.lease if is_well else LONG_LEASES * conf.lease)


class DatabaseWriter:
    """A LedgerWriter on the database, whose time is asked for at each write.

    *echo* shows what has been stored; what it could not show is noted in the record of each attempt.
    """

    def __init__(self, health: LedgerHealth, echo: Echo | None = None) -> None:
        self._health = health
        self._echo = echo
        self._last_seq: dict[int, int] = {}

    def renew(self, attempts: Collection[int]) -> Renewed:
        with self._health.writing():
            return ledger.renew(attempts, ledger.database_now())

    def write_output(self, chunks: Sequence[Chunk]) -> None:
        with self._health.writing():
            ledger.write_output(chunks)
        if self._echo is not None:
            for chunk in chunks:
                self._echo.show(chunk.stream, chunk.text)
                self._last_seq[chunk.attempt] = chunk.seq

    def finish(self, finished: Sequence[Finished]) -> None:
        with self._health.writing():
            if self._echo is not None and (note := self._echo.note()):
                written = [each.attempt for each in finished if each.attempt in self._last_seq]
                ledger.write_output([Chunk(each, self._last_seq[each] + 1, "log", note) for each in written])
            ledger.finish(finished, ledger.database_now())
