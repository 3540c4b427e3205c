"""The inline executor: runs attempts in this very process, for tests and `crons run --foreground`.

What is weaker here is weak on purpose: nothing can end a function in the caller's own process, so there
is no timeout, no cancelling once it runs, and a lease that cannot be renewed only shows when the ending
is refused. Output shows on the terminal and is kept, as far as it passes through sys.stdout, sys.stderr
or logging.
"""

from __future__ import annotations

import io
import logging
import os
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO

from django.db import connections

from crons.conf import conf
from crons.exceptions import LedgerUnavailable
from crons.executors.base import RENEW_AT, Begun, Chunk, Ending, Executor, Finished, LedgerWriter, Outcome
from crons.executors.capture import RECORD_FORMAT, is_output, log_level
from crons.executors.output import Output, without_secrets
from crons.executors.reports import RETRY_SECONDS, Reports
from crons.executors.runner import environment_of, run_attempt
from crons.hosts import lock_attempt
from crons.redaction import Redaction, of_project
from crons.side_output import BestEffort, dropped_note

Sink = Callable[[str, str], None]


class InlineExecutor(Executor):
    """Runs one attempt at a time, inside `work`."""

    def __init__(self, *, alias: str) -> None:
        super().__init__(alias=alias)
        self._waiting: deque[Begun] = deque()
        self._reports = Reports()

    def prepare(self) -> None:
        """Nothing is needed."""

    def free(self) -> int:
        return 0 if self._waiting else 1

    def start(self, begun: Iterable[Begun]) -> None:
        self._waiting.extend(begun)

    def running(self) -> frozenset[int]:
        return frozenset(each.attempt for each in self._waiting) | self._reports.unfinished

    def work(self, writer: LedgerWriter, timeout_seconds: float, wake_fd: int | None = None) -> None:
        until = time.monotonic() + timeout_seconds
        while self._waiting:
            self._run(self._waiting[0], writer)
            self._waiting.popleft()
        while True:
            has_ended = bool(self._reports.unfinished)
            if self._reports.write(writer) and has_ended:
                return
            pause = min(until - time.monotonic(), RETRY_SECONDS if has_ended else timeout_seconds)
            if _is_readable(wake_fd, pause) or time.monotonic() >= until:
                return

    def cancel(self, attempts: Iterable[int], reason: str) -> None:
        """Cancel those that have not begun to run; one that runs cannot be stopped."""
        asked = frozenset(attempts)
        for begun in [each for each in self._waiting if each.attempt in asked]:
            self._waiting.remove(begun)
            self._reports.add_ending(Finished(begun.attempt, Ending(Outcome.CANCELLED, reason)))

    def close(self) -> None:
        self._waiting.clear()

    def _run(self, begun: Begun, writer: LedgerWriter) -> None:
        with _named(begun), _renewing(begun, writer):
            ending, chunks = run_here(begun, lambda: run_attempt(begun))
        self._reports.add_output(chunks)
        self._reports.add_ending(Finished(begun.attempt, ending))


def run_here(begun: Begun, call: Callable[[], Ending]) -> tuple[Ending, list[Chunk]]:
    """Call a job as the attempt *begun*, in this process; return how it ended and what it wrote, without secrets."""
    redaction = of_project()
    with _kept_environment(begun), _kept_output(begun, redaction) as output:
        ending = call()
    return without_secrets(ending, redaction), output.take()


@contextmanager
def _named(begun: Begun) -> Iterator[None]:
    """Hold the attempt's lock inside: by it other processes see that the attempt runs."""
    name = lock_attempt(begun.instance, begun.attempt)
    try:
        yield
    finally:
        if name is not None:
            name.close()


@contextmanager
def _kept_output(begun: Begun, redaction: Redaction) -> Iterator[Output]:
    """Keep what is printed and logged inside; it still goes where it went. Whole when this ends."""
    output = Output(begun.attempt, conf.output_limit_bytes, redaction)
    feeding = threading.Lock()  # a job's own threads may print as well

    def keep(stream: str, text: str) -> None:
        with feeding:
            output.feed(stream, text.encode(errors="replace"))

    with _captured(keep):
        yield output
    output.end()


@contextmanager
def _kept_environment(begun: Begun) -> Iterator[None]:
    """Name the attempt in the environment inside, and put the environment back as it was."""
    before = dict(os.environ)
    os.environ.update(environment_of(begun))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


class _Tee(io.TextIOBase):
    """Writes to the real stream and to the sink; everything else is asked of the real one."""

    def __init__(self, real: TextIO | None, stream: str, sink: Sink) -> None:
        self.real, self._stream, self._sink = BestEffort(real), stream, sink

    def write(self, text: str) -> int:
        self._sink(self._stream, text)
        return self.real.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    @property
    def encoding(self) -> str:  # type: ignore[override] # the base says None
        return getattr(self.real, "encoding", "utf-8")

    def flush(self) -> None:
        self.real.flush()

    def fileno(self) -> int:
        return int(self.real.fileno())

    def isatty(self) -> bool:
        return self.real.isatty()

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        """Leave the real stream open: this object is collected at any time, and the stream is not its own."""


class _LogSink(logging.Handler):
    def __init__(self, level: int, sink: Sink) -> None:
        super().__init__(level)
        self.setFormatter(RECORD_FORMAT)
        self.addFilter(is_output)
        self._sink = sink

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._sink("log", f"{self.format(record)}\n")
        except Exception:  # noqa: BLE001 (what every handler does: logging never breaks the code that logs)
            self.handleError(record)


@contextmanager
def _captured(sink: Sink) -> Iterator[None]:
    root, handler = logging.root, _LogSink(log_level(), sink)
    level = root.level
    stdout, stderr = _Tee(sys.stdout, "stdout", sink), _Tee(sys.stderr, "stderr", sink)
    root.addHandler(handler)
    root.setLevel(min(level, handler.level))
    try:
        with redirect_stdout(stdout), redirect_stderr(stderr):
            yield
    finally:
        if note := dropped_note({"stdout": stdout.real, "stderr": stderr.real}):
            sink("log", note)
        root.removeHandler(handler)
        root.setLevel(level)


@contextmanager
def _renewing(begun: Begun, writer: LedgerWriter) -> Iterator[None]:
    """Renew the lease from a thread while the job keeps this one busy.

    The thread does nothing else, and its database connection is its own. A job that ends within a
    quarter of its lease is over before the first renewal.
    """
    is_over = threading.Event()
    thread = threading.Thread(target=_renew_until, args=(is_over, begun, writer), daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _renew_until(is_over: threading.Event, begun: Begun, writer: LedgerWriter) -> None:
    pause = begun.lease.total_seconds() * RENEW_AT
    try:
        while not is_over.wait(pause):
            try:
                writer.renew([begun.attempt])
                pause = begun.lease.total_seconds() * RENEW_AT
            except LedgerUnavailable:
                pause = RETRY_SECONDS
    finally:
        connections.close_all()


def _is_readable(wake_fd: int | None, seconds: float) -> bool:
    poll = select.poll()
    if wake_fd is not None:
        poll.register(wake_fd, select.POLLIN)
    return bool(poll.poll(max(seconds, 0) * 1000))
