"""The contracts: an executor runs attempts on this machine, a sender asks other processes to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from crons.attempts import KILL_AT, RENEW_AT, Begun, Chunk, Finished, LedgerWriter, Renewed, RunMessage
from crons.verdicts import Ending, Outcome

__all__ = [
    "KILL_AT",
    "RENEW_AT",
    "Begun",
    "Chunk",
    "Ending",
    "Executor",
    "Finished",
    "LedgerWriter",
    "Outcome",
    "Renewed",
    "RunMessage",
    "Sender",
]


class Executor(ABC):
    """Runs attempts that the ledger has begun, and reports each exactly once through the writer.

    An implementer promises: `start` returns at once; an attempt's timeout ends it with everything it
    started; an attempt whose lease cannot be renewed is killed before the lease ends; every started
    attempt is finished, or refused if its job has surely not begun, whatever the job does to its process;
    nothing a job does harms the host process.
    It may assume: one thread calls it; ids are never reused; *now* is the executor's own (monotonic) clock.
    """

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


class Sender(ABC):
    """Hands messages to whatever carries them to other processes.

    These begin and run what a message names (`crons.triggers.worker`).
    It may assume: one thread calls `send`, and a message may be lost or doubled on its way.
    """

    # What @job(route={…}) may say.
    route_keys: Collection[str] = ()
    priorities = range(256)

    def __init__(self, *, alias: str) -> None:
        self.alias = alias

    @abstractmethod
    def send(self, message: RunMessage) -> None:
        """Hand *message* over.

        Raises: any error, where it was not taken.
        """

    def problems(self, route: Mapping[str, Any]) -> Iterator[str]:
        """Say, from settings alone, why messages with *route* would get nowhere."""
        for key in route:
            if key not in self.route_keys:
                yield f"its route names {key!r}, and this executor knows only {', '.join(self.route_keys)}"
        if "priority" in self.route_keys and route.get("priority", 0) not in self.priorities:
            first, last = self.priorities[0], self.priorities[-1]
            yield f"its priority is {route['priority']}, and this executor takes {first} to {last}"

    def close(self) -> None:  # noqa: B027 (most have nothing to close)
        """Let go of what was opened; called by the thread that sends."""
