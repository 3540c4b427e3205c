"""A host for executors under test, a ledger in memory, and named pipes to wait on instead of sleeping."""

from __future__ import annotations

import itertools
import os
import select
import signal
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.db import connections

from crons.attempts import Begun, Chunk, Finished, Renewed
from crons.exceptions import LedgerUnavailable
from crons.executors.base import Executor
from crons.verdicts import Ending

PATIENCE_SECONDS = 180.0
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


class MemoryWriter:
    """Keeps what executors write; *silent_calls* of the next calls are not answered."""

    def __init__(self) -> None:
        self.silent_calls = 0
        self.renews_nothing = False
        self.disowned: set[int] = set()
        self.cancelled: dict[int, str] = {}
        self.renewed: list[frozenset[int]] = []
        self.asked: list[Sequence[Chunk] | Sequence[Finished]] = []
        self.chunks: dict[tuple[int, int], Chunk] = {}
        self.finished: dict[int, Finished] = {}

    def renew(self, attempts: Collection[int]) -> Renewed:
        self._answer()
        if self.renews_nothing:
            raise LedgerUnavailable("no renewals today")
        self.renewed.append(frozenset(attempts))
        return Renewed(frozenset(attempts) - self.disowned, dict(self.cancelled))

    def write_output(self, chunks: Sequence[Chunk]) -> None:
        self.asked.append(list(chunks))
        self._answer()
        for chunk in chunks:
            self.chunks.setdefault((chunk.attempt, chunk.seq), chunk)

    def finish(self, finished: Sequence[Finished]) -> None:
        self.asked.append(list(finished))
        self._answer()
        for each in finished:
            assert each.attempt not in self.finished, "finished twice"
            self.finished[each.attempt] = each

    def text(self, attempt: int, stream: str = "stdout") -> str:
        """Return what the attempt wrote to *stream*, in the order of the chunks."""
        return "".join(self.texts(attempt, stream))

    def texts(self, attempt: int, stream: str) -> list[str]:
        """Return the chunks of *stream*, in order."""
        mine = sorted((seq, chunk) for (number, seq), chunk in self.chunks.items() if number == attempt)
        assert [seq for seq, _ in mine] == list(range(len(mine)))
        return [chunk.text for _, chunk in mine if chunk.stream == stream]

    def _answer(self) -> None:
        if self.silent_calls:
            self.silent_calls -= 1
            raise LedgerUnavailable("the database is away")


class Host:
    """Starts attempts and works until something is so."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.writer = MemoryWriter()
        self.refused: dict[int, str] = {}
        self._begun: dict[int, Begun] = {}
        self._numbers = itertools.count(1)

    def start(self, job: str, /, *, timeout: float | None = 300, lease: float = 300, **args: Any) -> int:
        """Start an attempt and return its number."""
        number = next(self._numbers)
        self._begun[number] = begun(number, job, timeout=timeout, lease=lease, **args)
        self.executor.start([self._begun[number]])
        return number

    def until(self, holds: Callable[[], object], wake_fd: int | None = None) -> None:
        """Work until *holds*."""
        ends_at = time.monotonic() + PATIENCE_SECONDS
        while not holds():
            assert time.monotonic() < ends_at, "waited in vain"
            self.executor.work(self.writer, 0.2, wake_fd)
            self.refused.update(self.executor.refused())

    def ending(self, attempt: int) -> Ending:
        """Work until the attempt has finished and say how."""
        self.until(lambda: attempt in self.writer.finished)
        return self.writer.finished[attempt].ending

    def is_final(self, attempt: int) -> bool:
        """Work until the attempt has finished and say whether the job asked not to be tried again."""
        return self.ending(attempt).final

    def begun(self, attempt: int) -> Begun:
        """Return what the attempt was begun as."""
        return self._begun[attempt]

    def text(self, attempt: int, stream: str = "stdout") -> str:
        """Return what of the attempt's output has been written down."""
        return self.writer.text(attempt, stream)

    def chunks(self, attempt: int, stream: str) -> list[str]:
        """Return the same in the pieces that it was written down in."""
        return self.writer.texts(attempt, stream)

    def running(self) -> frozenset[int]:
        """Return the attempts that have not ended."""
        return self.executor.running()

    def cancel(self, attempt: int, reason: str) -> None:
        """Ask for the attempt to be stopped."""
        self.executor.cancel([attempt], reason)

    def ask_to_cancel(self, attempt: int, reason: str) -> None:
        """The same as somebody elsewhere does it: the next renewal says so."""
        self.writer.cancelled[attempt] = reason

    def disown(self, attempt: int) -> None:
        """Have the ledger say from now on that the attempt does not own its run any more."""
        self.writer.disowned.add(attempt)

    def renewals(self, attempt: int) -> int:
        """Count how often the attempt's lease has been renewed."""
        return sum(attempt in each for each in self.writer.renewed)

    @property
    def is_broken(self) -> bool:
        """Whether it can start nothing any more."""
        return bool(getattr(self.executor, "broken", False))

    def close(self) -> None:
        """Release all processes."""
        self.executor.close()

    def refusal(self, attempt: int) -> str:
        """Work until the executor says that the attempt could not be started, and return why."""
        self.until(lambda: attempt in self.refused)
        assert attempt not in self.executor.running()
        return self.refused[attempt]

    def run(self, job: str, /, **given: Any) -> Ending:
        """Start an attempt and say how it ended."""
        return self.ending(self.start(job, **given))

    def lines(self, trail: Trail, count: int) -> list[str]:
        """Work until *count* lines have come over the named pipe."""
        self.until(lambda: len(trail.lines()) >= count, trail.fd)
        return trail.lines()

    def silence(self, trail: Trail) -> None:
        """Work until every process that wrote to the named pipe, or inherited it, is gone."""
        self.until(trail.is_closed, trail.fd)


def run_over(host: Any, limit: str, seconds: int, job: str, trail: Trail, /, **given: Any) -> tuple[Ending, int]:
    """Run a job that never ends until its *limit*, "timeout" or "lease", ends it; say how, and after how many seconds.

    Four times as many where it had not begun by then: a fork on a busy machine.
    """
    ending = host.run(job, path=trail.path, **{limit: seconds}, **given)
    while not trail.lines() and seconds < PATIENCE_SECONDS:
        seconds *= 4
        ending = host.run(job, path=trail.path, **{limit: seconds}, **given)
    return ending, seconds


class Trail:
    """A named pipe: jobs write to it and hold it open; that it is closed proves that all of them are gone."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        os.mkfifo(path)
        self.fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self.fd, select.POLLIN)
        self._data = b""

    def lines(self) -> list[str]:
        """Return the whole lines that have come so far."""
        self._read()
        return self._data.decode().split("\n")[:-1]

    def is_closed(self) -> bool:
        """Say whether somebody wrote and nobody can any more."""
        while (events := self._poll.poll(0)) and events[0][1] & select.POLLIN:
            self._read()
        return bool(self._data) and bool(events)

    def wait_until_closed(self) -> None:
        """Wait without a host."""
        ends_at = time.monotonic() + PATIENCE_SECONDS
        while not self.is_closed():
            assert time.monotonic() < ends_at, "waited in vain"
            self._poll.poll(1000)

    def wait_for_lines(self, count: int) -> list[str]:
        """Wait without a host."""
        ends_at = time.monotonic() + PATIENCE_SECONDS
        while len(self.lines()) < count:
            assert time.monotonic() < ends_at, "waited in vain"
            self._poll.poll(1000)
        return self.lines()

    def close(self) -> None:
        os.close(self.fd)

    def _read(self) -> None:
        try:
            while data := os.read(self.fd, 65_536):
                self._data += data
        except BlockingIOError:
            return


class Gate:
    """A named pipe that a job waits at until it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        os.mkfifo(path)

    def open(self) -> None:
        """Let one who waits, or comes next, pass."""
        # Blocks until there is a reader: a gate is opened for somebody.
        os.close(os.open(self.path, os.O_WRONLY))

    def open_for_who_is_there(self) -> None:
        """Let one who waits pass; nobody may be there any more."""
        with suppress(OSError):
            os.close(os.open(self.path, os.O_WRONLY | os.O_NONBLOCK))


def begun(number: int, job: str, /, *, timeout: float | None = 300, lease: float = 300, **args: Any) -> Begun:
    """An attempt as the ledger hands it over."""
    return Begun(
        attempt=number,
        run=1000 + number,
        entry=f"{job}-entry",
        job=job,
        key=f"{job}/{number}",
        number=1,
        kind="slot",
        trigger="test",
        since=NOON - timedelta(hours=1),
        until=NOON,
        slot_at=NOON,
        timeout=None if timeout is None else timedelta(seconds=timeout),
        lease=timedelta(seconds=lease),
        args=args,
    )


def parent_of(pid: int) -> int:
    """Return the process that *pid* is a child of."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def kill_and_wait(pid: int) -> None:
    """Kill *pid*, which need not be a child of this process, and wait until it has ended."""
    life = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    select.select([life], [], [])
    os.close(life)


@contextmanager
def hidden_connections() -> Iterator[None]:
    """Put the connections of this process's other tests aside, so that a fork finds none."""
    hidden = {each.alias: each for each in connections.all(initialized_only=True)}
    for alias in hidden:
        del connections[alias]
    try:
        yield
    finally:
        for alias, connection in hidden.items():
            connections[alias] = connection
