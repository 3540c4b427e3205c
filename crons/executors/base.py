"""The contract of an executor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID, uuid4

from crons.verdicts import Ending


@dataclass(frozen=True)
class Begun:
    """An attempt that the ledger has begun and that this process now owns: plain values only."""

    attempt: int
    run: int
    entry: str
    job: str
    key: str
    number: int
    kind: str
    trigger: str
    since: datetime
    until: datetime
    slot_at: datetime | None
    timeout: timedelta | None
    lease: timedelta
    args: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Finished:
    """How a begun attempt ended; *finish_token* makes writing it down repeatable."""

    attempt: int
    ending: Ending
    finish_token: UUID = field(default_factory=uuid4)


@dataclass(frozen=True)
class Chunk:
    """A piece of what an attempt wrote: *stream* is stdout, stderr or log; *seq* grows from 0 per attempt."""

    attempt: int
    seq: int
    stream: str
    text: str


@dataclass(frozen=True)
class Renewed:
    """The answer to a renewal: the attempts still owned, and those that somebody asked to cancel (with the reason)."""

    owned: frozenset[int]
    cancelled: Mapping[int, str]


class Scribe(Protocol):
    """The ledger's verbs that an executor's host process needs. All may raise LedgerUnavailable; all may be repeated."""

    def renew(self, attempts: Collection[int]) -> Renewed:
        """Extend the leases of *attempts* by the lease's length."""

    def write_output(self, chunks: Sequence[Chunk]) -> None:
        """Store *chunks*; one stored before is left as it is."""

    def finish(self, finished: Sequence[Finished]) -> None:
        """Store how attempts ended, and what that means for their runs."""


class Executor(ABC):
    """Runs attempts that the ledger has begun, and reports each exactly once through the scribe.

    An implementer promises: `start` returns at once; an attempt's timeout ends it with everything it
    started; an attempt whose lease cannot be renewed is killed before the lease ends; every started
    attempt is finished, whatever the job does to its process; nothing a job does harms the host process.
    It may assume: one thread calls it; ids are never reused; *now* is the executor's own (monotonic) clock.
    """

    can_time_out = True
    can_cancel = True
    captures_output = True

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

    @abstractmethod
    def running(self) -> frozenset[int]:
        """Return the ids of attempts started and not yet finished in the ledger."""

    @abstractmethod
    def work(self, scribe: Scribe, timeout_seconds: float, wake_fd: int | None = None) -> None:
        """Read output and endings, renew and write down, for at most *timeout_seconds*.

        Returns early when an attempt has finished (a place came free) or *wake_fd* becomes readable.
        """

    @abstractmethod
    def cancel(self, attempts: Iterable[int], reason: str) -> None:
        """Ask these attempts to stop: SIGTERM, then SIGKILL after a short while. They finish as cancelled."""

    @abstractmethod
    def close(self) -> None:
        """Stop whatever still runs at once, without writing anything down; release all processes."""
