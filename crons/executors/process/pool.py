"""The host's channels to its fork servers and to the supervisors.

There are two fork servers: the one that forks supervisors, and below it a second one that waits to take its place.
A new one cannot be forked from the host, which has connections and threads by then.
"""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import socket
import time
import warnings
from collections.abc import Callable, Iterable, Sequence

from crons.executors import capture
from crons.executors.process import exiting, fork_server, kernel, supervisor, wire
from crons.side_output import get_log

_CLOSING_SECONDS = supervisor.SWEEP_PATIENCE_SECONDS + 3

log = get_log("crons.executors")

# A supervisor that works reports at the latest so long after it should have ended its attempt.
SUPERVISOR_PATIENCE_SECONDS = supervisor.SWEEP_PATIENCE_SECONDS + 10

OnMessage = Callable[[wire.Message | None], None]


class Channel:
    """The host's end of a channel to a process below.

    *pid* is the process at the other end, once its first message has come; *server* forked it. *on_message* gets its
    messages, and None when it is gone; without it they are dropped.
    """

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        self.inbox = wire.Inbox(end)
        self.pid: int | None = None
        self.server: Channel | None = None
        self.on_message: OnMessage | None = None

    def send(self, message: wire.Message, descriptors: Sequence[int] = ()) -> None:
        """Send *message* and *descriptors*.

        Raises: OSError if the other side is gone; TimeoutError if it does not read.
        """
        wire.send(self.end, message, descriptors)

    def kill(self) -> None:
        """Kill the process at the other end, if there is one yet."""
        if self.pid is not None:
            kernel.kill(self.pid)


class Pool:
    """Keeps supervisors: one for each attempt that runs, the others waiting to serve again.

    A supervisor serves one attempt after another, so that each costs one fork and not two.
    """

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self.is_broken = False
        self._selector = selector
        self._server: Channel | None = None
        self._spare: Channel | None = None
        self._idle: list[Channel] = []
        self._busy: set[Channel] = set()

    def open(self, kill_wait_seconds: float) -> None:
        """Fork the fork server from this process, as it is now."""
        log_level = capture.log_level()
        capture.fill_standard_descriptors()
        capture.flush()
        inherited = exiting.flush_before_fork()
        ours, theirs = wire.pair()
        with warnings.catch_warnings():
            # Python warns of threads; the executor has logged their names already.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            ours.close()
            fork_server.run(theirs, log_level, kill_wait_seconds, inherited)
        theirs.close()
        self._server = Channel(ours)
        self._server.pid = pid
        self._selector.register(ours, selectors.EVENT_READ, self._read_server)
        self._fork_spare()

    def acquire(self, on_message: OnMessage) -> Channel:
        """Return the channel to a supervisor that is idle, or to one being forked: it has a pid once it is there.

        Raises: OSError if there is none and none can be forked.
        """
        channel = self._idle.pop() if self._idle else self._fork("supervisor", self._read_supervisor)
        if self._spare is None:
            self._fork_spare()
        channel.on_message = on_message
        self._busy.add(channel)
        return channel

    def replace_server(self, channel: Channel) -> None:
        """Kill the fork server that *channel* waits for (it is stopped, or stuck); the other takes its place."""
        if self._server is channel.server and self._server is not None and self._server.pid is not None:
            self._server.kill()
            self._fail_over()

    def release(self, channel: Channel) -> None:
        """Let the supervisor serve again."""
        channel.on_message = None
        self._busy.discard(channel)
        self._idle.append(channel)

    def drop(self, channel: Channel) -> None:
        """Forget a supervisor that is gone; one that is not sees its channel's end, and ends."""
        channel.on_message = None
        self._busy.discard(channel)
        if channel in self._idle:
            self._idle.remove(channel)
        self._close(channel)

    def close(self) -> None:
        """Have everything killed, and return when it is gone."""
        supervisors = [*self._idle, *self._busy]
        _end(supervisors)
        for channel in supervisors:
            self.drop(channel)
        servers = [each for each in (self._server, self._spare) if each is not None]
        _end(servers)
        self._spare = None
        for channel in servers:
            self._close_and_reap(channel)
        self._server, self.is_broken = None, True

    def _fork(self, what: str, on_readable: Callable[[Channel], None]) -> Channel:
        ours, theirs = wire.pair()
        try:
            while not self._ask(what, theirs):
                self._fail_over()
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        channel = Channel(ours)
        channel.server = self._server
        self._selector.register(ours, selectors.EVENT_READ, lambda: on_readable(channel))
        return channel

    def _ask(self, what: str, theirs: socket.socket) -> bool:
        """Ask the fork server to fork; False where it is gone."""
        if self._server is None:
            raise OSError("the fork server is gone")
        try:
            wire.send(self._server.end, {"fork": what}, [theirs.fileno()])
        except OSError:
            return False
        return True

    def _read_supervisor(self, channel: Channel) -> None:
        messages = channel.inbox.read()
        for message in messages or ():
            channel.pid = message.get("pid", channel.pid)
            if channel.on_message is not None:
                channel.on_message(message)
        if messages is None:
            on_message = channel.on_message
            self.drop(channel)
            if on_message is not None:
                on_message(None)

    def _read_server(self) -> None:
        channel = self._server
        if channel is None:
            return
        messages = channel.inbox.read()
        for message in messages or ():
            channel.pid = message.get("pid", channel.pid)
        if messages is None:
            self._fail_over()

    def _read_spare(self, channel: Channel) -> None:
        if channel is self._server:
            self._read_server()  # it has taken over in this very turn
            return
        messages = channel.inbox.read()
        for message in messages or ():
            channel.pid = message.get("pid", channel.pid)
        if messages is None:
            self._close_and_reap(channel)
            if self._spare is channel:
                self._spare = None  # another is asked for with the next supervisor

    def _fork_spare(self) -> None:
        if self._server is None:
            return
        try:
            self._spare = self._fork("server", self._read_spare)
        except OSError as error:
            log.warning("no second fork server: %s", error, extra={"event": "fork_server.missing"})

    def _fail_over(self) -> None:
        channel, self._server = self._server, None
        if channel is not None:
            self._close_and_reap(channel)
        if self._spare is None:
            self.is_broken = True
            return
        # Nothing is forked from this process any more: it has connections and threads by now.
        log.error("the fork server is gone, the second one takes its place", extra={"event": "fork_server.lost"})
        self._server, self._spare = self._spare, None
        self._selector.modify(self._server.end, selectors.EVENT_READ, self._read_server)

    def _close_and_reap(self, channel: Channel) -> None:
        self._close(channel)
        if channel.pid is not None:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(channel.pid, 0)

    def _close(self, channel: Channel) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(channel.end)
        channel.end.close()


def _end(channels: Iterable[Channel]) -> None:
    """Close the channels, and wait until the processes at their other ends have ended; kill those that do not end."""
    waiting = {channel.end.fileno(): channel for channel in channels if channel.end.fileno() != -1}
    poll = select.poll()
    for number, channel in waiting.items():
        with contextlib.suppress(OSError):
            # Closing would not do: a copy of this end may live on in a process forked from this one.
            channel.end.shutdown(socket.SHUT_WR)
        poll.register(number, select.POLLIN)
    ends_at = time.monotonic() + _CLOSING_SECONDS
    while waiting and (left := ends_at - time.monotonic()) > 0:
        for number, _ in poll.poll(left * 1000):
            if waiting[number].inbox.read() is None:
                poll.unregister(number)
                del waiting[number]
    for channel in waiting.values():
        channel.kill()
