"""Messages between an executor's own processes: JSON lines over stream sockets, descriptors beside them."""

from __future__ import annotations

import json
import select
import socket
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from crons.attempts import Begun

READ_BYTES = 65_536
MOST_DESCRIPTORS = 3
SEND_PATIENCE_SECONDS = 5.0
# Received without this flag, a pipe's end leaks into every program that a job starts.
_CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)

Message = dict[str, Any]
MOMENTS = ("since", "until", "slot_at", "closes_at")


def pair() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a channel; neither blocks."""
    ends = socket.socketpair()
    for end in ends:
        end.setblocking(False)
    return ends


def send(end: socket.socket, message: Message, descriptors: Sequence[int] = ()) -> None:
    """Send *message* whole, *descriptors* with its first bytes.

    Raises: OSError if the other side is gone, or does not read for SEND_PATIENCE_SECONDS.
    """
    rest = memoryview(json.dumps(message).encode() + b"\n")
    while rest:
        try:
            sent = socket.send_fds(end, [rest], list(descriptors)) if descriptors else end.send(rest)
        except BlockingIOError:
            _wait_for_room(end)
            continue
        rest, descriptors = rest[sent:], ()


def _wait_for_room(end: socket.socket) -> None:
    waiting = select.poll()
    waiting.register(end, select.POLLOUT)
    if not waiting.poll(SEND_PATIENCE_SECONDS * 1000):
        raise TimeoutError("the other process does not read its messages")


class Inbox:
    """Takes what has come over *end*, never waiting; *descriptors* came along, oldest first."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        self.descriptors: deque[int] = deque()
        self._rest = b""

    def read(self) -> list[Message] | None:
        """Return the messages that are complete now, or None when the other side is gone."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self.end, READ_BYTES, MOST_DESCRIPTORS, _CLOSE_ON_EXEC)
        except BlockingIOError:
            return []
        except OSError:
            return None
        self.descriptors.extend(descriptors)
        if not data:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines]


def begun_as_json(begun: Begun) -> Message:
    """Write what a job's process needs to know of its attempt as plain JSON."""
    return {
        **vars(begun),
        "args": dict(begun.args),
        **{name: at.isoformat() for name in MOMENTS if (at := getattr(begun, name)) is not None},
        "timeout": None if begun.timeout is None else begun.timeout.total_seconds(),
        "lease": begun.lease.total_seconds(),
    }


def begun_from_json(data: Mapping[str, Any]) -> Begun:
    """Read what begun_as_json wrote."""
    moments = {name: data[name] and datetime.fromisoformat(data[name]) for name in MOMENTS}
    timeout = None if data["timeout"] is None else timedelta(seconds=data["timeout"])
    return Begun(**{**data, **moments, "timeout": timeout, "lease": timedelta(seconds=data["lease"])})
