"""One attempt as its host sees it: it waits for a supervisor, runs under one, and has ended."""

from __future__ import annotations

import math
import os
import selectors
import time
from typing import Protocol

from crons.executors.base import KILL_AT, Begun, Chunk, Ending, Finished, Outcome
from crons.executors.output import Output, without_secrets
from crons.executors.process import endings, wire
from crons.executors.process.pool import SUPERVISOR_PATIENCE_SECONDS, Pool
from crons.executors.process.streams import Streams, pipes
from crons.hosts import boottime
from crons.redaction import Redaction
from crons.side_output import get_log

logger = get_log("crons.executors")

# From asking for a process until its supervisor says that it begins; then the fork server or the supervisor is stuck.
START_PATIENCE_SECONDS = 10.0
_VANISHED_PATIENCE_SECONDS = 2.0


class Host(Protocol):
    """The process that has begun the attempt, as the attempt calls it back."""

    def on_output(self) -> None:
        """The attempt has written something."""

    def on_refused(self, attempt: int, why: str) -> None:
        """The job has surely not begun, and is not to: somebody asked for that."""

    def on_failed_start(self, attempt: int, why: OSError | str) -> None:
        """The job has surely not begun, because this machine could not start it."""

    def on_called(self) -> None:
        """A job was called: processes can be started here."""

    def on_ending(self, attempt: int, ending: Ending) -> None:
        """The attempt has ended."""


class HostedAttempt:
    """Hands one attempt to a supervisor, and reports to *host* what becomes of it.

    *give_up_at* is when the host is to call give_up(): by then the supervisor should have answered.
    Raises: OSError if no supervisor can be had.
    """

    def __init__(
        self,
        begun: Begun,
        host: Host,
        *,
        pool: Pool,
        selector: selectors.BaseSelector,
        output_limit_bytes: int,
        redaction: Redaction,
        kill_wait_seconds: float,
    ) -> None:
        self.begun = begun
        self.number = begun.attempt
        self.lease_seconds = begun.lease.total_seconds()
        # From when it was asked for: the ledger counts it from then or a little later.
        self.leased_at = boottime() if begun.leased_at is None else begun.leased_at
        self.give_up_at = time.monotonic() + START_PATIENCE_SECONDS
        self._lease_until = self.leased_at + self.lease_seconds * KILL_AT
        self._host = host
        self._pool = pool
        self._selector = selector
        self._redaction = redaction
        self._kill_wait_seconds = kill_wait_seconds
        self._output = Output(begun.attempt, output_limit_bytes, redaction)
        self._streams: Streams | None = None
        self._is_starting = False
        self._has_vanished = False
        self._cancel_reason: str | None = None
        self._channel = pool.acquire(self.on_message)

    def hand_over(self) -> None:
        """Give it to its supervisor, if that is there yet; one that is being forked says when it is.

        Raises: OSError if it cannot be given to any.
        """
        command = {"attempt": self.number, "start": wire.begun_as_json(self.begun), "lease": self._lease_until}
        while self._channel.pid is not None:
            with pipes() as (reading, writing):
                try:
                    self._channel.send(command, list(writing.values()))
                except OSError:
                    # It died, or was stopped, while it was idle: nothing has begun there.
                    for each in reading.values():
                        os.close(each)
                    self._leave_supervisor()
                    self._channel = self._pool.acquire(self.on_message)
                    continue
            self._streams = Streams(
                reading,
                self._output,
                selector=self._selector,
                on_data=self._host.on_output,
                on_end=self._on_end_of_output,
            )
            return

    def withdraw(self) -> None:
        """Take it back; it has surely not begun."""
        self._leave_supervisor()
        self.close()

    def renew(self, asked_at: float) -> None:
        """Tell the supervisor of the lease that was asked for at *asked_at*."""
        self._lease_until = asked_at + self.lease_seconds * KILL_AT
        self._command({"lease": self._lease_until})

    def cancel(self, reason: str) -> None:
        """Have the job asked to stop, then killed; the first reason counts."""
        if self._cancel_reason is None:
            self._cancel_reason = reason
            self._stop(reason, {"stop": "cancel", "at_once": False})

    def disown(self) -> None:
        """Have the job killed at once: another attempt may own its run."""
        self._stop(endings.NOT_OWNED, {"stop": "owner", "at_once": True})

    def give_up(self) -> None:
        """Do without the supervisor, which has not answered in time."""
        if self._has_vanished:
            self._end(Ending(Outcome.LOST, endings.VANISHED))
        elif self._channel.pid is None:
            self._pool.replace_server(self._channel)
            self._host.on_failed_start(self.number, endings.STUCK)
        else:
            self._kill_supervisor()

    def on_message(self, message: wire.Message | None) -> None:
        """Take in a message of its supervisor; None when that is gone."""
        if message is None:
            self._on_vanished()
        elif "pid" in message:
            self._hand_over_late()
        elif "starting" in message:
            self._on_starting()
        elif "blocked_by" in message:
            self._on_block(message["blocked_by"])
        else:
            self._on_report(message)

    def take_output(self) -> list[Chunk]:
        """Return what it has written and nobody has taken yet."""
        return self._output.take()

    def finished(self, ending: Ending) -> Finished:
        """Read the rest of its output, and return how it ended as that may be stored."""
        if self._streams is not None:
            self._streams.drain()
        self._output.end()
        return Finished(self.number, without_secrets(ending, self._redaction))

    def close(self) -> None:
        """Let go of its pipes."""
        if self._streams is not None:
            self._streams.close()

    def _hand_over_late(self) -> None:
        try:
            self.hand_over()
        except OSError as error:
            self._host.on_failed_start(self.number, error)

    def _on_starting(self) -> None:
        self._is_starting = True
        timeout = self.begun.timeout
        patience = math.inf if timeout is None else timeout.total_seconds() + self._kill_wait_seconds
        self.give_up_at = time.monotonic() + patience + SUPERVISOR_PATIENCE_SECONDS

    def _on_block(self, processes_left: list[str]) -> None:
        # Its supervisor is well, and waits: killing it would let go of what cannot be killed.
        self.give_up_at = math.inf
        text = endings.BLOCKED.format(", ".join(processes_left))
        about = {"event": "processes.left", "attempt": self.number}
        logger.warning("Attempt %d: %s", self.number, text, extra=about)
        self._output.feed("log", f"crons: {text}\n".encode())
        self._host.on_output()

    def _on_report(self, report: wire.Message) -> None:
        if why := endings.why_not_called(report):
            self._host.on_failed_start(self.number, why)
            return
        self._host.on_called()
        left = report.get("left")
        if left:
            # Its supervisor ends now: what it could not kill goes to the fork server.
            about = {"event": "processes.left", "attempt": self.number}
            logger.warning("Attempt %d left processes that cannot be killed: %s", self.number, left, extra=about)
            self._channel.on_message = None  # nothing it says now is about an attempt of ours
        else:
            self._pool.release(self._channel)
        self._end(endings.judge(self.begun, report, self._cancel_reason or ""))

    def _on_vanished(self) -> None:
        if not self._is_starting:
            self._host.on_failed_start(self.number, endings.GONE_BEFORE_START)
            return
        # The kernel and the fork server kill what is left of it: its pipes say when that is done.
        self._has_vanished = True
        self.give_up_at = time.monotonic() + _VANISHED_PATIENCE_SECONDS
        if self._streams is None or self._streams.have_ended:
            self._end(Ending(Outcome.LOST, endings.VANISHED))

    def _on_end_of_output(self) -> None:
        if self._has_vanished:
            self._end(Ending(Outcome.LOST, endings.VANISHED))

    def _end(self, ending: Ending) -> None:
        self._host.on_ending(self.number, ending)

    def _stop(self, why: str, command: wire.Message) -> None:
        if self._streams is None:
            self._host.on_refused(self.number, why)  # no supervisor has it yet
        else:
            self._command(command)

    def _command(self, command: wire.Message) -> None:
        if self._streams is None:
            return  # its supervisor gets all of it at the hand-over
        try:
            self._channel.send({"attempt": self.number, **command})
        except TimeoutError:
            self._kill_supervisor()  # stopped, or stuck: it watches nothing
        except OSError:
            pass  # gone: its channel says so on the next turn

    def _kill_supervisor(self) -> None:
        self.give_up_at = math.inf
        self._channel.kill()

    def _leave_supervisor(self) -> None:
        self._pool.drop(self._channel)
        self._channel.kill()
