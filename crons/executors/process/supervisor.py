"""The supervisor: forks one job at a time, ends it in time, and lets nothing that it started stay behind.

It leads a session of its own, so that a terminal's signals do not reach the jobs. It is a subreaper: the kernel gives
it every orphan below it, so that what a job left behind is found wherever it went. Its channel to the host closes when
the host ends, even by SIGKILL; then everything here is killed.
"""

from __future__ import annotations

import errno
import math
import os
import select
import socket
import time
import traceback
from signal import SIGKILL, SIGTERM
from typing import NoReturn

from crons.executors import capture
from crons.executors.process import child, kernel, wire
from crons.executors.process.exiting import Exit
from crons.executors.process.resting import explain
from crons.executors.process.shared_report import SharedReport
from crons.hosts import boottime, lock_attempt

# A sleep does not count the time in which a machine is suspended, a lease does: read the clock at least this often.
_LONGEST_SLEEP_SECONDS = 1.0
_SWEEP_SECONDS = 0.01
SWEEP_PATIENCE_SECONDS = 5.0


def run(channel: socket.socket, log: capture.LogPipe, kill_wait_seconds: float, leaving: Exit) -> NoReturn:
    """Be a supervisor in this freshly forked process until the host hangs up."""
    code = 1
    try:
        os.setsid()
        kernel.adopt_orphans()
        wire.send(channel, {"pid": os.getpid()})
        Supervisor(channel, log, kill_wait_seconds, leaving).serve()
        code = 0
    except BaseException:  # noqa: BLE001 (a supervisor that goes on half-broken watches nothing)
        traceback.print_exc()
    finally:
        os._exit(code)


class Supervisor:
    """Serves one host: commands to start, to stop, and to move the end of the lease; answers with what happened."""

    def __init__(self, channel: socket.socket, log: capture.LogPipe, kill_wait_seconds: float, leaving: Exit) -> None:
        self._inbox = wire.Inbox(channel)
        self._log = log
        self._leaving = leaving
        self._kill_wait_seconds = kill_wait_seconds
        self._children = kernel.ChildWatcher()
        self._poll = select.poll()
        self._poll.register(channel, select.POLLIN)
        self._poll.register(self._children, select.POLLIN)
        self._watch: Watch | None = None
        self._lock: socket.socket | None = None
        self._report = SharedReport()

    def serve(self) -> None:
        """Carry out commands until the host closes the channel, or until a process cannot be killed."""
        while True:
            self._poll.poll(None if self._watch is None else self._watch.patience_ms())
            self._children.drain()
            commands = self._inbox.read()
            if commands is None:
                end_all()
                return
            for command in commands:
                self._handle(command)
            self._reap()
            if self._watch is not None and not self._go_on(self._watch):
                return

    def _handle(self, command: wire.Message) -> None:
        if "start" in command:
            self._start(command)
        # Anything else may be late: about an attempt that has ended meanwhile.
        elif self._watch is not None and self._watch.attempt == command["attempt"]:
            if "lease" in command:
                self._watch.lease_until = command["lease"]
            else:
                self._watch.stop(command["stop"], at_once=command["at_once"])

    def _start(self, command: wire.Message) -> None:
        received = [self._inbox.descriptors.popleft() for _ in range(len(self._inbox.descriptors))]
        try:
            if len(received) < len(capture.STREAMS):
                # The kernel leaves out the descriptors that a process may not have.
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            self._report.clear()
            # Open here and in the job's process: while either lives, others know that this attempt may run.
            self._lock = lock_attempt(command["start"]["instance"], command["attempt"])
            # Sent before the fork: if this process vanishes, nobody can know whether the job has begun.
            wire.send(self._inbox.end, {"attempt": command["attempt"], "starting": True})
            # Counted before the fork: a job may fill the memory before this process is scheduled again.
            oom_kills = kernel.oom_kills()
            supervisor, pid = os.getpid(), os.fork()
        except OSError as error:
            self._unlock_attempt()
            wire.send(self._inbox.end, {"attempt": command["attempt"], "refused": explain(error)})
        else:
            if pid == 0:
                self._become_job(command["start"], supervisor, dict(zip(capture.STREAMS, received, strict=True)))
            self._watch = Watch(pid, command, self._report, oom_kills, self._kill_wait_seconds)
        for each in received:
            os.close(each)

    def _become_job(self, data: wire.Message, supervisor: int, descriptors: dict[str, int]) -> NoReturn:
        try:
            self._inbox.end.close()
            self._children.close()
            child.become_job(data, supervisor, descriptors, self._report, self._log, self._leaving)
        except BaseException:  # noqa: BLE001 (the supervisor's stack must not unwind in the job's process)
            traceback.print_exc()
        finally:
            os._exit(70)

    def _reap(self) -> None:
        for exited in kernel.reap():
            if self._watch is not None:
                self._watch.note(exited)

    def _go_on(self, watch: Watch) -> bool:
        watch.enforce()
        if watch.blocked_by and not watch.is_block_reported:
            watch.is_block_reported = True
            wire.send(self._inbox.end, {"attempt": watch.attempt, "blocked_by": watch.blocked_by})
        if not watch.is_over:
            return True
        self._unlock_attempt()
        wire.send(self._inbox.end, watch.close())
        self._watch = None
        return not watch.left

    def _unlock_attempt(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None


class Watch:
    """One attempt as its supervisor sees it."""

    def __init__(
        self, pid: int, command: wire.Message, report: SharedReport, oom_kills: int | None, kill_wait_seconds: float
    ) -> None:
        self.attempt: int = command["attempt"]
        self.lease_until: float = command["lease"]
        self.is_over = False
        self.left: list[int] = []
        # Processes of another user: while one of them lives, the job has not ended.
        self.blocked_by: list[str] = []
        self.is_block_reported = False
        self._pid = pid
        self._oom_kills = oom_kills
        self._report = report
        self._kill_wait_seconds = kill_wait_seconds
        timeout = command["start"]["timeout"]
        self._timeout_at = math.inf if timeout is None else time.monotonic() + timeout
        self._kill_at = math.inf
        self._sweep_until = math.inf
        self._stopped_by: str | None = None
        self._job: kernel.ExitedChild | None = None
        self._cpu_seconds = 0.0
        self._peak_memory_bytes = 0

    def patience_ms(self) -> float:
        """Say how long the supervisor may sleep."""
        if self._job is not None:
            return (_LONGEST_SLEEP_SECONDS if self.blocked_by else _SWEEP_SECONDS) * 1000
        next_at = min(self._timeout_at, self._kill_at) - time.monotonic()
        wait = min(next_at, self.lease_until - boottime(), _LONGEST_SLEEP_SECONDS)
        return math.ceil(max(wait, 0) * 1000)

    def stop(self, why: str, *, at_once: bool) -> None:
        """End the job, asking it first unless *at_once*.

        The first reason counts; none does where the job has reported its end before.
        """
        if self._job is not None:
            return
        if self._stopped_by is None and not self._report.has_ended:
            self._stopped_by = why
        self._timeout_at = math.inf
        if at_once:
            self.lease_until = math.inf
            self._kill_at = time.monotonic() + self._kill_wait_seconds
            kernel.kill_group(self._pid)
        elif self._kill_at == math.inf:
            self._kill_at = time.monotonic() + self._kill_wait_seconds
            kernel.kill_group(self._pid, SIGTERM)

    def note(self, exited: kernel.ExitedChild | None) -> None:
        """Take in that a child has ended, or that none is left."""
        if exited is None:
            self.is_over = True
            return
        self._cpu_seconds += exited.cpu_seconds
        self._peak_memory_bytes = max(self._peak_memory_bytes, exited.peak_memory_bytes)
        if exited.pid == self._pid:
            self._job = exited
            self._sweep_until = time.monotonic() + SWEEP_PATIENCE_SECONDS

    def enforce(self) -> None:
        """Do what is due by now: stop the job, or kill what it left behind."""
        now = time.monotonic()
        if self._job is not None:
            self._sweep(now)
        elif boottime() >= self.lease_until:
            self.stop("lease", at_once=True)
        elif now >= self._timeout_at:
            self.stop("timeout", at_once=False)
        elif now >= self._kill_at:
            self.stop("", at_once=True)

    def close(self) -> wire.Message:
        """Report what happened."""
        assert self._job is not None
        said = self._report.read()
        return {
            "attempt": self.attempt,
            "code": self._job.code,
            "stopped_by": self._stopped_by,
            "said": said.ending,
            "is_called": said.is_called,
            **({"refused": said.refusal} if said.refusal else {}),
            "is_garbled": said.is_garbled,
            "failure": said.failure,
            "is_out_of_memory": self._is_out_of_memory(self._job.code),
            "cpu_seconds": self._cpu_seconds,
            "peak_memory_bytes": self._peak_memory_bytes,
            "left": self.left,
        }

    def _is_out_of_memory(self, code: int) -> bool:
        if code != -SIGKILL or self._oom_kills is None:
            return False
        return (kernel.oom_kills() or 0) > self._oom_kills

    def _sweep(self, now: float) -> None:
        if self.is_over:
            return
        left = kernel.kill_below(os.getpid(), self._pid)
        if now < self._sweep_until:
            return
        foreign = kernel.of_other_users(left)
        if foreign:
            # What sudo has started still works, and a second run beside it is what overlap="skip" rules out.
            self.blocked_by = [kernel.describe(each) for each in foreign]
        else:
            # What waits for a dead disk has its SIGKILL, and does nothing more: the ending must not wait as well.
            self.is_over, self.left = True, left


def end_all() -> None:
    """Kill everything below this process and wait until it is gone, or cannot be killed."""
    patience_ends = time.monotonic() + SWEEP_PATIENCE_SECONDS
    while time.monotonic() < patience_ends:
        kernel.kill_below(os.getpid())
        if None in list(kernel.reap()):
            return
        time.sleep(_SWEEP_SECONDS)
