"""The process executor: every attempt in a process of its own, under a supervisor. This is the host's side.

host (scheduler, tick, run)
  └► fork server     a warm Django that only forks
      └► supervisor      one per place, serves one attempt after another
          └► job             one per attempt
"""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import selectors
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

from crons.attempts import KILL_AT, RENEW_AT, Begun, Finished, LedgerWriter
from crons.conf import conf
from crons.exceptions import CronsError, LedgerUnavailable
from crons.executors.base import Executor
from crons.executors.capture import log_level
from crons.executors.forking import refuse_shared
from crons.executors.output import Output, without_secrets
from crons.executors.process import endings, kernel, wire
from crons.executors.process.pool import Channel, Pool
from crons.executors.process.resting import Rest, explain
from crons.executors.process.streams import Streams, pipes
from crons.executors.process.supervisor import SWEEP_PATIENCE_SECONDS
from crons.executors.reports import RETRY_SECONDS, Reports
from crons.hosts.instances import boottime
from crons.redaction import Redaction, of_project
from crons.side_output import get_log
from crons.verdicts import Ending, Outcome

logger = get_log("crons.executors")

FLUSH_SECONDS = 0.5
GATHER_SECONDS = 0.005
_VANISHED_PATIENCE_SECONDS = 2.0
SUPERVISOR_PATIENCE_SECONDS = SWEEP_PATIENCE_SECONDS + 10


# From asking for a process until its supervisor says that it begins; then the fork server, or the supervisor, is stuck.
START_PATIENCE_SECONDS = 10.0


class _Attempt:
    """An attempt that has a supervisor, or waits for one to be forked."""

    def __init__(self, begun: Begun, channel: Channel, output: Output, lease_until: float) -> None:
        self.begun = begun
        self.channel = channel
        self.output = output
        self.lease_until = lease_until
        self.streams: Streams | None = None
        self.is_starting = False
        self.cancel_reason: str | None = None
        self.give_up_at = math.inf
        self.has_vanished = False


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
        self._pool = Pool(self._selector, self._hear)
        self._reports = Reports()
        self._rest = Rest()
        self._refused: dict[int, str] = {}
        self._redaction = Redaction(())
        self._attempts: dict[int, _Attempt] = {}
        self._by_channel: dict[Channel, _Attempt] = {}
        self._lease_seconds = math.inf
        self._renew_at = self._flush_at = math.inf
        self._retry_at = -math.inf
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
        self._pool.open(log_level(), self._kill_wait_seconds)
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
                self._fail_to_start(each.attempt, explain(error))

    def refused(self) -> Mapping[int, str]:
        refused, self._refused = self._refused, {}
        return refused

    def running(self) -> frozenset[int]:
        return frozenset(self._attempts) | self._reports.unfinished

    def work(self, writer: LedgerWriter, timeout_seconds: float, wake_fd: int | None = None) -> None:
        until = time.monotonic() + timeout_seconds
        self._retry_at = -math.inf
        with self._listening_to(wake_fd):
            while True:
                is_woken = self._read(until) or self._gather(until)
                self._renew(writer)
                has_finished = self._write(writer)
                if is_woken or has_finished or self._refused or time.monotonic() >= until:
                    return

    def cancel(self, attempts: Iterable[int], reason: str) -> None:
        for number in attempts:
            attempt = self._attempts.get(number)
            if attempt is not None and attempt.cancel_reason is None:
                attempt.cancel_reason = reason
                if attempt.streams is None:
                    self._refuse(number, reason)
                else:
                    self._tell(attempt, {"stop": "cancel", "at_once": False})

    def close(self) -> None:
        if self._owner != os.getpid():
            return  # a forked copy of the host: nothing here is its own
        self._owner = None
        atexit.unregister(self.close)
        self._pool.close()
        for attempt in self._attempts.values():
            if attempt.streams is not None:
                attempt.streams.close()
        self._attempts.clear()
        self._by_channel.clear()
        self._selector.close()

    def _start(self, begun: Begun) -> None:
        lease_seconds = begun.lease.total_seconds()
        # From when it was asked for: the ledger counts it from then or a little later.
        leased_at = boottime() if begun.leased_at is None else begun.leased_at
        channel = self._pool.acquire()
        output = Output(begun.attempt, conf.output_limit_bytes, self._redaction)
        attempt = _Attempt(begun, channel, output, leased_at + lease_seconds * KILL_AT)
        attempt.give_up_at = time.monotonic() + START_PATIENCE_SECONDS
        self._attempts[begun.attempt] = self._by_channel[channel] = attempt
        self._lease_seconds = min(each.begun.lease.total_seconds() for each in self._attempts.values())
        self._renew_at = min(self._renew_at, time.monotonic() + leased_at - boottime() + lease_seconds * RENEW_AT)
        self._hand_over(attempt)

    def _hand_over(self, attempt: _Attempt) -> None:
        """Give the attempt to its supervisor if that is there: one may come when nobody waits for it any more."""
        begun = attempt.begun
        command = {"attempt": begun.attempt, "start": wire.begun_as_json(begun), "lease": attempt.lease_until}
        while attempt.channel.pid is not None:
            with pipes() as (reading, writing):
                try:
                    wire.send(attempt.channel.end, command, list(writing.values()))
                except OSError:
                    # It died, or was stopped, while it was waiting: nothing has begun there.
                    for each in reading.values():
                        os.close(each)
                    self._leave_supervisor(attempt)
                    attempt.channel = self._pool.acquire()
                    self._by_channel[attempt.channel] = attempt
                    continue
            attempt.streams = Streams(
                reading,
                attempt.output,
                selector=self._selector,
                on_data=self._note_output,
                on_end=partial(self._note_end_of_output, attempt),
            )
            return

    def _leave_supervisor(self, attempt: _Attempt) -> None:
        self._by_channel.pop(attempt.channel, None)
        self._pool.drop(attempt.channel)
        if attempt.channel.pid is not None:
            kernel.kill(attempt.channel.pid)

    def _withdraw(self, attempt: _Attempt) -> None:
        """Take an attempt back that has surely not begun."""
        self._leave_supervisor(attempt)
        if attempt.streams is not None:
            attempt.streams.close()

    def _refuse(self, attempt: int, why: str) -> None:
        taken = self._attempts.pop(attempt, None)
        if taken is not None:
            self._withdraw(taken)
        self._refused[attempt] = why

    def _fail_to_start(self, attempt: int, why: str) -> None:
        self._refuse(attempt, why)
        self._rest.note_failure(why)
        self.trouble = f"it rests, and what is due is left to others: {why}"

    def _read(self, until: float) -> bool:
        """Wait for something to read, or to do; say whether somebody wants the host elsewhere."""
        return self._listen(min(until, self._next_due()))

    def _listen(self, until: float) -> bool:
        wait = max(until - time.monotonic(), 0)
        callbacks: list[Callable[[], None] | None] = [key.data for key, _ in self._selector.select(wait)]
        for callback in callbacks:
            if callback is not None:
                callback()
        self._give_up_on_supervisors()
        return None in callbacks

    def _gather(self, until: float) -> bool:
        """Wait a moment for further endings: short jobs end in flocks, and one write serves them all."""
        is_woken = False
        until = min(until, time.monotonic() + GATHER_SECONDS)
        while self._reports.unfinished and self._attempts and not is_woken and time.monotonic() < until:
            is_woken = self._listen(until)  # not for what is to do: that is to write what is gathered
        return is_woken

    def _next_due(self) -> float:
        due = self._renew_at if self._attempts or self._reports.unfinished else math.inf
        if self._reports.unfinished:
            due = min(due, self._retry_at)
        elif self._flush_at < math.inf:
            due = min(due, max(self._flush_at, self._retry_at))
        return min([due, *(each.give_up_at for each in self._attempts.values())])

    def _note_output(self) -> None:
        self._flush_at = min(self._flush_at, time.monotonic() + FLUSH_SECONDS)

    def _note_end_of_output(self, attempt: _Attempt) -> None:
        if attempt.has_vanished:
            self._finish(attempt, Ending(Outcome.LOST, endings.VANISHED))

    def _hear(self, channel: Channel, message: wire.Message | None) -> None:
        attempt = self._by_channel.get(channel)
        if attempt is None:
            return
        if message is None:
            del self._by_channel[channel]
            self._note_vanished(attempt)
        elif "pid" in message:
            self._hand_over_late(attempt)
        elif "starting" in message:
            self._note_start(attempt)
        elif "blocked_by" in message:
            self._note_block(attempt, message["blocked_by"])
        else:
            self._note_report(attempt, message)

    def _hand_over_late(self, attempt: _Attempt) -> None:
        try:
            self._hand_over(attempt)
        except OSError as error:
            self._fail_to_start(attempt.begun.attempt, explain(error))

    def _note_start(self, attempt: _Attempt) -> None:
        attempt.is_starting = True
        timeout = attempt.begun.timeout
        patience = math.inf if timeout is None else timeout.total_seconds() + self._kill_wait_seconds
        attempt.give_up_at = time.monotonic() + patience + SUPERVISOR_PATIENCE_SECONDS

    def _note_block(self, attempt: _Attempt, processes_left: list[str]) -> None:
        # Its supervisor is well, and waits: killing it would let go of what cannot be killed.
        attempt.give_up_at = math.inf
        said = endings.HELD.format(", ".join(processes_left))
        logger.warning("Attempt %d: %s", attempt.begun.attempt, said)
        attempt.output.feed("log", f"crons: {said}\n".encode())
        self._note_output()

    def _note_report(self, attempt: _Attempt, report: wire.Message) -> None:
        if why := endings.why_not_called(report):
            self._fail_to_start(attempt.begun.attempt, why)
            return
        self._rest.note_success()
        self.trouble = ""
        left = report.get("left")
        if left:
            # Its supervisor ends now: what it could not kill goes to the fork server.
            logger.warning("Attempt %d left processes that cannot be killed: %s", attempt.begun.attempt, left)
        else:
            self._pool.release(attempt.channel)
        del self._by_channel[attempt.channel]
        self._finish(attempt, endings.judge(attempt.begun, report, attempt.cancel_reason or ""))

    def _note_vanished(self, attempt: _Attempt) -> None:
        if not attempt.is_starting:
            self._fail_to_start(attempt.begun.attempt, endings.GONE_BEFORE_START)
            return
        # The kernel and the fork server kill what is left of it: its pipes say when that is done.
        attempt.has_vanished = True
        attempt.give_up_at = time.monotonic() + _VANISHED_PATIENCE_SECONDS
        if attempt.streams is None or attempt.streams.have_ended:
            self._finish(attempt, Ending(Outcome.LOST, endings.VANISHED))

    def _give_up_on_supervisors(self) -> None:
        now = time.monotonic()
        for attempt in [each for each in self._attempts.values() if each.give_up_at <= now]:
            if attempt.has_vanished:
                self._finish(attempt, Ending(Outcome.LOST, endings.VANISHED))
            elif attempt.channel.pid is None:
                self._pool.replace_server(attempt.channel)
                self._fail_to_start(attempt.begun.attempt, endings.STUCK)
            else:
                self._kill_supervisor(attempt)

    def _kill_supervisor(self, attempt: _Attempt) -> None:
        attempt.give_up_at = math.inf
        if attempt.channel.pid is not None:
            kernel.kill(attempt.channel.pid)

    def _finish(self, attempt: _Attempt, ending: Ending) -> None:
        number = attempt.begun.attempt
        if self._attempts.pop(number, None) is None:
            return
        if attempt.streams is not None:
            attempt.streams.drain()
        attempt.output.end()
        self._reports.add_output(attempt.output.take())
        self._reports.add_ending(Finished(number, without_secrets(ending, self._redaction)))

    def _renew(self, writer: LedgerWriter) -> None:
        now, asked_at = time.monotonic(), boottime()
        attempts = self.running()
        if now < self._renew_at or not attempts:
            return
        try:
            renewed = writer.renew(attempts)
        except LedgerUnavailable as error:
            self._reports.note_silence(error)
            self._renew_at = now + RETRY_SECONDS
            return
        self._renew_at = now + self._lease_seconds * RENEW_AT
        for number, attempt in list(self._attempts.items()):
            if number in renewed.owned:
                attempt.lease_until = asked_at + attempt.begun.lease.total_seconds() * KILL_AT
                self._tell(attempt, {"lease": attempt.lease_until})
            elif attempt.streams is None:
                self._refuse(number, endings.NOT_OWNED)
            else:
                self._tell(attempt, {"stop": "owner", "at_once": True})
        for number, reason in renewed.cancelled.items():
            self.cancel([number], reason)

    def _write(self, writer: LedgerWriter) -> bool:
        """Write down what is due; say whether attempts finished."""
        now = time.monotonic()
        has_ended = bool(self._reports.unfinished)
        if now < self._retry_at or not (has_ended or now >= self._flush_at):
            return False
        for attempt in self._attempts.values():
            self._reports.add_output(attempt.output.take())
        if not self._reports.write(writer):
            self._retry_at = self._flush_at = now + RETRY_SECONDS
            return False
        self._flush_at = math.inf
        return has_ended

    def _tell(self, attempt: _Attempt, command: wire.Message) -> None:
        if attempt.streams is None:
            return  # it gets all of it when it is there
        try:
            wire.send(attempt.channel.end, {"attempt": attempt.begun.attempt, **command})
        except TimeoutError:
            self._kill_supervisor(attempt)  # stopped, or stuck: it watches nothing
        except OSError:
            pass  # gone: its channel says so on the next turn

    @contextlib.contextmanager
    def _listening_to(self, wake_fd: int | None) -> Iterator[None]:
        if wake_fd is None:
            yield
            return
        self._selector.register(wake_fd, selectors.EVENT_READ, None)
        try:
            yield
        finally:
            self._selector.unregister(wake_fd)
