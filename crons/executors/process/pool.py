"""The host's lines to its fork servers and to the guards.

There are two fork servers: the one that forks guards, and below it a second one that waits to take its place. A new
one cannot be forked from the host, which has connections and threads by then.
"""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import socket
import time
import warnings
from collections.abc import Callable, Iterable

from crons.executors import capture
from crons.executors.process import exiting, fork_server, kernel, supervisor, wire
from crons.side_output import get_log

_CLOSING_SECONDS = supervisor.SWEEP_PATIENCE_SECONDS + 3

log = get_log("crons.executors")

Heard = Callable[["Line", wire.Message | None], None]


class Line:
    """The host's end of a line; *pid* is who is at the other end, once it has said so."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        self.inbox = wire.Inbox(end)
        self.pid: int | None = None
        self.server: Line | None = None


class Pool:
    """Keeps guards: one for each attempt that runs, the others waiting to serve again.

    A guard serves one attempt after another, so that each costs one fork and not two.
    """

    def __init__(self, selector: selectors.BaseSelector, heard: Heard) -> None:
        self.is_broken = False
        self._selector = selector
        self._heard = heard
        self._zygote: Line | None = None
        self._spare: Line | None = None
        self._idle: list[Line] = []
        self._busy: set[Line] = set()

    def open(self, log_level: int, kill_wait_seconds: float) -> None:
        """Fork the fork server from this process, as it is now."""
        capture.fill_standard_descriptors()
        capture.flush()
        inherited = exiting.flush_before_fork()
        ours, theirs = wire.pair()
        with warnings.catch_warnings():
            # Python says that there are threads; the executor has said so, and named them.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            ours.close()
            fork_server.live(theirs, log_level, kill_wait_seconds, inherited)
        theirs.close()
        self._zygote = Line(ours)
        self._zygote.pid = pid
        self._selector.register(ours, selectors.EVENT_READ, self._hear_zygote)
        self._fork_spare()

    def line(self) -> Line:
        """Return the line to a guard that is free, or to one that is being forked: it has a pid when it is there.

        Raises: OSError if there is none and none can be forked.
        """
        line = self._idle.pop() if self._idle else self._fork("guard", self._hear_guard)
        if self._spare is None:
            self._fork_spare()
        self._busy.add(line)
        return line

    def replace_server(self, line: Line) -> None:
        """Kill the fork server that *line* waits for (it is stopped, or stuck); the other takes its place."""
        if self._zygote is line.server and self._zygote is not None and self._zygote.pid is not None:
            kernel.kill(self._zygote.pid)
            self._lose_zygote()

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
        servers = [each for each in (self._zygote, self._spare) if each is not None]
        _end(servers)
        self._spare = None
        for line in servers:
            self._bury(line)
        self._zygote, self.is_broken = None, True

    def _fork(self, what: str, hear: Callable[[Line], None]) -> Line:
        ours, theirs = wire.pair()
        try:
            while not self._ask(what, theirs):
                self._lose_zygote()
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        line = Line(ours)
        line.server = self._zygote
        self._selector.register(ours, selectors.EVENT_READ, lambda: hear(line))
        return line

    def _ask(self, what: str, theirs: socket.socket) -> bool:
        """Ask the fork server to fork, and say whether it is there to hear it."""
        if self._zygote is None:
            raise OSError("the fork server is gone")
        try:
            wire.send(self._zygote.end, {"fork": what}, [theirs.fileno()])
        except OSError:
            return False
        return True

    def _hear_guard(self, line: Line) -> None:
        messages = line.inbox.read()
        for message in messages or ():
            line.pid = message.get("pid", line.pid)
            self._heard(line, message)
        if messages is None:
            self.drop(line)
            self._heard(line, None)

    def _hear_zygote(self) -> None:
        line = self._zygote
        if line is None:
            return
        messages = line.inbox.read()
        for message in messages or ():
            line.pid = message.get("pid", line.pid)
        if messages is None:
            self._lose_zygote()

    def _hear_spare(self, line: Line) -> None:
        if line is self._zygote:
            self._hear_zygote()  # it has taken over in this very turn
            return
        messages = line.inbox.read()
        for message in messages or ():
            line.pid = message.get("pid", line.pid)
        if messages is None:
            self._bury(line)
            if self._spare is line:
                self._spare = None  # another is asked for with the next guard

    def _fork_spare(self) -> None:
        if self._zygote is None:
            return
        try:
            self._spare = self._fork("server", self._hear_spare)
        except OSError as error:
            log.warning("no second fork server: %s", error)

    def _lose_zygote(self) -> None:
        line, self._zygote = self._zygote, None
        if line is not None:
            self._bury(line)
        if self._spare is None:
            self.is_broken = True
            return
        # Nothing is forked from this process any more: it has connections and threads by now.
        log.error("the fork server is gone, the second one takes its place")
        self._zygote, self._spare = self._spare, None
        self._selector.modify(self._zygote.end, selectors.EVENT_READ, self._hear_zygote)

    def _bury(self, line: Line) -> None:
        self._hang_up(line)
        if line.pid is not None:
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
            kernel.kill(line.pid)
