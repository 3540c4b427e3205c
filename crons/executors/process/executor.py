"""The process executor: every attempt in a process of its own, under a supervisor. This is the host's side.

host (scheduler, tick, run)
  └► fork server     a warm Django that only forks
      └► supervisor      one per place, serves one attempt after another
          └► job             one per attempt
"""

from __future__ import annotations

import atexit
import os
import selectors
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from crons.conf import conf
from crons.exceptions import CronsError
from crons.executors.base import Begun, Ending, Executor, LedgerWriter
from crons.executors.forking import refuse_shared
from crons.executors.process.hosted import HostedAttempt
from crons.executors.process.leases import Leases
from crons.executors.process.pool import Pool
from crons.executors.process.resting import Rest, explain
from crons.executors.reports import Reports
from crons.redaction import Redaction, of_project

GATHER_SECONDS = 0.005


class ProcessExecutor(Executor):
    """Runs each attempt in a process forked from a warm Django.

    Args: *max_running* attempts at once, default CRONS["MAX_RUNNING"]; *kill_wait_seconds* from SIGTERM
    to SIGKILL when a job is cancelled or has run too long.
    """

    def __init__(self, *, alias: str, max_running: int | None = None, kill_wait_seconds: float = 2.0) -> None:
        super().__init__(alias=alias)
        self._max_running = max_running
        self._kill_wait_seconds = kill_wait_seconds
        self._selector = selectors.DefaultSelector()
        self._pool = Pool(self._selector)
        self._reports = Reports()
        self._leases = Leases(self._reports.note_silence)
        self._rest = Rest()
        self._refused: dict[int, str] = {}
        self._redaction = Redaction(())
        self._attempts: dict[int, HostedAttempt] = {}
        self._owner: int | None = None

    @property
    def broken(self) -> bool:
        """Whether nothing can be started here any more; what runs goes on. Only a new process mends it."""
        return self._pool.is_broken

    def prepare(self) -> None:
        """Fork the fork server.

        Raises: CronsError where it could not be forked cleanly.
        """
        if not hasattr(os, "fork"):
            raise CronsError("the process executor needs os.fork(); on Windows use the inline one, or WSL.")
        if self._owner is not None:
            raise CronsError("prepare() was called before; an executor is prepared once.")
        refuse_shared()
        self._owner = os.getpid()
        self._redaction = of_project()
        self._max_running = self._max_running or conf.max_running
        self._pool.open(self._kill_wait_seconds)
        atexit.register(self.close)

    def free(self) -> int:
        if self.broken or self._max_running is None or not self._rest.is_over:
            return 0
        return max(self._max_running - len(self._attempts), 0)

    def start(self, begun: Iterable[Begun]) -> None:
        if self._owner is None:
            raise CronsError("start() was called before prepare().")
        for each in begun:
            try:
                self._start(each)
            except OSError as error:
                self.on_failed_start(each.attempt, error)

    def refused(self) -> Mapping[int, str]:
        refused, self._refused = self._refused, {}
        return refused

    def running(self) -> frozenset[int]:
        return frozenset(self._attempts) | self._reports.unfinished

    def work(self, writer: LedgerWriter, timeout_seconds: float, wake_fd: int | None = None) -> None:
        until = time.monotonic() + timeout_seconds
        self._reports.retry_now()
        with self._listening_to(wake_fd):
            while True:
                is_woken = self._read(min(until, self._next_due())) or self._gather(until)
                self._renew(writer)
                has_finished = self._write(writer)
                if is_woken or has_finished or self._refused or time.monotonic() >= until:
                    return

    def cancel(self, attempts: Iterable[int], reason: str) -> None:
        for number in attempts:
            attempt = self._attempts.get(number)
            if attempt is not None:
                attempt.cancel(reason)

    def close(self) -> None:
        if self._owner != os.getpid():
            return  # a forked copy of the host: nothing here is its own
        self._owner = None
        atexit.unregister(self.close)
        self._pool.close()
        for attempt in self._attempts.values():
            attempt.close()
        self._attempts.clear()
        self._selector.close()

    def on_output(self) -> None:
        """Have what an attempt has written stored before long."""
        self._reports.note_output()

    def on_refused(self, attempt: int, why: str) -> None:
        """Take back an attempt whose job has surely not begun."""
        taken = self._attempts.pop(attempt, None)
        if taken is not None:
            taken.withdraw()
        self._refused[attempt] = why

    def on_failed_start(self, attempt: int, why: OSError | str) -> None:
        """Take back an attempt that could not be started, and rest: the next would fail as well."""
        text = explain(why) if isinstance(why, OSError) else why
        self.on_refused(attempt, text)
        self._rest.note_failure(text)
        self.trouble = f"it rests, and what is due is left to others: {text}"

    def on_called(self) -> None:
        """Rest no more: processes can be started here."""
        self._rest.note_success()
        self.trouble = ""

    def on_ending(self, attempt: int, ending: Ending) -> None:
        """Keep how an attempt ended until the ledger has taken it."""
        ended = self._attempts.pop(attempt, None)
        if ended is not None:
            finished = ended.finished(ending)
            self._reports.add_output(ended.take_output())
            self._reports.add_ending(finished)

    def _start(self, begun: Begun) -> None:
        attempt = HostedAttempt(
            begun,
            self,
            pool=self._pool,
            selector=self._selector,
            output_limit_bytes=conf.output_limit_bytes,
            redaction=self._redaction,
            kill_wait_seconds=self._kill_wait_seconds,
        )
        self._leases.add(
            attempt.lease_seconds, attempt.leased_at, [each.lease_seconds for each in self._attempts.values()]
        )
        self._attempts[begun.attempt] = attempt
        attempt.hand_over()

    def _read(self, until: float) -> bool:
        """Wait for something to read, and take it in; say whether *wake_fd* became readable."""
        wait = max(until - time.monotonic(), 0)
        callbacks: list[Callable[[], None] | None] = [key.data for key, _ in self._selector.select(wait)]
        for callback in callbacks:
            if callback is not None:
                callback()
        now = time.monotonic()
        for attempt in [each for each in self._attempts.values() if each.give_up_at <= now]:
            attempt.give_up()
        return None in callbacks

    def _gather(self, until: float) -> bool:
        """Wait a moment for further endings: short jobs often end together, and one write serves them all."""
        is_woken = False
        until = min(until, time.monotonic() + GATHER_SECONDS)
        while self._reports.unfinished and self._attempts and not is_woken and time.monotonic() < until:
            is_woken = self._read(until)  # not for what is to do: that is to write what is gathered
        return is_woken

    def _next_due(self) -> float:
        renew_at = [self._leases.due_at] if self.running() else []
        return min([self._reports.due_at, *renew_at, *(each.give_up_at for each in self._attempts.values())])

    def _renew(self, writer: LedgerWriter) -> None:
        answer = self._leases.renew(writer, self.running())
        if answer is None:
            return
        renewed, asked_at = answer
        for number, attempt in list(self._attempts.items()):
            if number in renewed.owned:
                attempt.renew(asked_at)
            else:
                attempt.disown()
        for number, reason in renewed.cancelled.items():
            self.cancel([number], reason)

    def _write(self, writer: LedgerWriter) -> bool:
        """Write down what is due; say whether attempts finished."""
        if not self._reports.is_due:
            return False
        for attempt in self._attempts.values():
            self._reports.add_output(attempt.take_output())
        has_ended = bool(self._reports.unfinished)
        return self._reports.write(writer) and has_ended

    @contextmanager
    def _listening_to(self, wake_fd: int | None) -> Iterator[None]:
        if wake_fd is None:
            yield
            return
        self._selector.register(wake_fd, selectors.EVENT_READ, None)
        try:
            yield
        finally:
            self._selector.unregister(wake_fd)
