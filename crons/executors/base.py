"""The contract of an executor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping

from crons.attempts import KILL_AT, RENEW_AT, Begun, Chunk, Finished, LedgerWriter, Renewed
from crons.verdicts import Ending

__all__ = ["KILL_AT", "RENEW_AT", "Begun", "Chunk", "Ending", "Executor", "Finished", "LedgerWriter", "Renewed"]


class Executor(ABC):
    """Runs attempts that the ledger has begun, and reports each exactly once through the writer.

    An implementer promises: `start` returns at once; an attempt's timeout ends it with everything it
    started; an attempt whose lease cannot be renewed is killed before the lease ends; every started
    attempt is finished, or refused if its job has surely not begun, whatever the job does to its process;
    nothing a job does harms the host process.
    It may assume: one thread calls it; ids are never reused; *now* is the executor's own (monotonic) clock.
    """

    can_time_out = True
    can_cancel = True
    captures_output = True
    # Whether a job that exits, kills its process or writes past Python harms nobody and is recorded all the same.
    isolates = True
    # What keeps this one from starting attempts on this host, in words; empty where nothing does.
    trouble = ""

    def __init__(self, *, alias: str) -> None:
        self.alias = alias

    @abstractmethod
    def prepare(self) -> None:
        """Get ready; called once, before the process opens its first database connection."""

    @abstractmethod
    def free(self) -> int:
        """Say how many attempts could be started now."""

    @abstractmethod
    def start(self, begun: Iterable[Begun]) -> None:
        """Start these attempts; at most `free()` of them."""

    def refused(self) -> Mapping[int, str]:
        """Give, once, the attempts that could not be started after all, and why: their jobs have surely not begun."""
        return {}

    @abstractmethod
    def running(self) -> frozenset[int]:
        """Return the ids of attempts started and not yet finished in the ledger."""

    @abstractmethod
    def work(self, writer: LedgerWriter, timeout_seconds: float, wake_fd: int | None = None) -> None:
        """Read output and endings, renew and write down, for at most *timeout_seconds*.

        Returns early when an attempt has finished (a place came free) or *wake_fd* becomes readable.
        """

    @abstractmethod
    def cancel(self, attempts: Iterable[int], reason: str) -> None:
        """Ask these attempts to stop: SIGTERM, then SIGKILL after a short while. They finish as cancelled."""

    @abstractmethod
    def close(self) -> None:
        """Stop whatever still runs at once, without writing anything down; release all processes."""
