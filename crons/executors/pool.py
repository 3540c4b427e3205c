"""The host's lines to its fork server and to the guards."""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import socket
import time
import warnings
from collections.abc import Callable, Iterable, Sequence

from crons.executors import capture, exiting, guard, processes, wire, zygote

_CLOSING_SECONDS = guard.SWEEP_PATIENCE_SECONDS + 3

Heard = Callable[["Line", wire.Message | None], None]


class Line:
    """The host's end of a line; *pid* is who is at the other end, once it has said so."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        self.inbox = wire.Inbox(end)
        self.pid: int | None = None


class Pool:
    """Keeps guards: one for each attempt that runs, the others waiting to serve again.

    A guard serves one attempt after another, so that each costs one fork and not two.
    """

    def __init__(self, selector: selectors.BaseSelector, heard: Heard) -> None:
        self.is_broken = False
        self._selector = selector
        self._heard = heard
        self._zygote: Line | None = None
        self._idle: list[Line] = []
        self._busy: set[Line] = set()

    def open(self, log_level: int, kill_wait_seconds: float) -> None:
        """Fork the fork server from this process, as it is now."""
        capture.fill_standard_descriptors()
        capture.flush()
        exiting.flush_before_fork()
        ours, theirs = wire.pair()
        with warnings.catch_warnings():
            # Python says that there are threads; the executor has said so, and named them.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            ours.close()
            zygote.live(theirs, log_level, kill_wait_seconds)
        theirs.close()
        self._zygote = Line(ours)
        self._zygote.pid = pid
        self._selector.register(ours, selectors.EVENT_READ, self._hear_zygote)

    def order(self, message: wire.Message, descriptors: Sequence[int]) -> Line:
        """Hand an order to a guard that is free, and return the line to it.

        Raises: OSError if there is none and none can be forked.
        """
        while True:
            is_new = not self._idle
            line = self._fork_guard() if is_new else self._idle.pop()
            try:
                wire.send(line.end, message, descriptors)
            except OSError:
                # It died, or was stopped, while it was waiting: nothing has begun there.
                self.drop(line)
                if line.pid is not None:
                    processes.kill(line.pid)
                if is_new:
                    raise
            else:
                self._busy.add(line)
                return line

    def give_back(self, line: Line) -> None:
        """Let the guard serve again."""
        self._busy.discard(line)
        self._idle.append(line)

    def drop(self, line: Line) -> None:
        """Forget a guard that is gone; one that is not hears that the host is."""
        self._busy.discard(line)
        if line in self._idle:
            self._idle.remove(line)
        self._hang_up(line)

    def close(self) -> None:
        """Have everything killed, and return when it is gone."""
        guards = [*self._idle, *self._busy]
        _end(guards)
        for line in guards:
            self.drop(line)
        if self._zygote is not None:
            _end([self._zygote])
            self._lose_zygote()

    def _fork_guard(self) -> Line:
        if self._zygote is None:
            raise OSError("the fork server is gone")
        ours, theirs = wire.pair()
        try:
            wire.send(self._zygote.end, {"fork": "guard"}, [theirs.fileno()])
        except OSError:
            ours.close()
            self.is_broken = True
            raise
        finally:
            theirs.close()
        line = Line(ours)
        self._selector.register(ours, selectors.EVENT_READ, lambda: self._hear_guard(line))
        return line

    def _hear_guard(self, line: Line) -> None:
        messages = line.inbox.read()
        for message in messages or ():
            line.pid = message.get("pid", line.pid)
            if "pid" not in message:
                self._heard(line, message)
        if messages is None:
            self.drop(line)
            self._heard(line, None)

    def _hear_zygote(self) -> None:
        if self._zygote is not None and self._zygote.inbox.read() is None:
            self._lose_zygote()

    def _lose_zygote(self) -> None:
        self.is_broken = True
        line, self._zygote = self._zygote, None
        if line is not None and line.pid is not None:
            self._hang_up(line)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(line.pid, 0)

    def _hang_up(self, line: Line) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(line.end)
        line.end.close()


def _end(lines: Iterable[Line]) -> None:
    """Hang up, and wait until those at the other ends are gone; kill those that do not go."""
    waiting = {line.end.fileno(): line for line in lines if line.end.fileno() != -1}
    poll = select.poll()
    for number, line in waiting.items():
        with contextlib.suppress(OSError):
            # Closing would not do: a copy of this end may live on in a process forked from this one.
            line.end.shutdown(socket.SHUT_WR)
        poll.register(number, select.POLLIN)
    ends_at = time.monotonic() + _CLOSING_SECONDS
    while waiting and (left := ends_at - time.monotonic()) > 0:
        for number, _ in poll.poll(left * 1000):
            if waiting[number].inbox.read() is None:
                poll.unregister(number)
                del waiting[number]
    for line in waiting.values():
        if line.pid is not None:
            processes.kill(line.pid)
