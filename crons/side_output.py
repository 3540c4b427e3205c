"""Side output: notes, logs, echoes, signs of life. It decides nothing: what cannot be written is dropped."""

from __future__ import annotations

import logging
import os
import select
import socket
import sys
import time
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from crons.exceptions import CronsError
from crons.presentation import readable

# OSError: a closed descriptor, a full disk, a reader that has gone. ValueError: a stream that its owner has closed.
BROKEN = (OSError, ValueError)
# poll() promises room for 4,096 bytes of a pipe, and a character takes up to four.
PIECE_CHARACTERS = 1_024
READER_PATIENCE_SECONDS = 5.0


class Log(logging.LoggerAdapter[logging.Logger]):
    """A logger that raises nothing, whatever its handlers do: a scheduler must outlive its log."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Leave the caller's message and fields as they are."""
        return msg, kwargs

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log, or do nothing."""
        with suppress(Exception):
            # One level more: the record must name the caller, not this line.
            super().log(level, msg, *args, **{**kwargs, "stacklevel": kwargs.get("stacklevel", 1) + 1})


def get_log(name: str) -> Log:
    """Return the log called *name*."""
    return Log(logging.getLogger(name))  # noqa: TID251 (this is the place)


class Encoded:
    """A stream that takes every text: what its encoding lacks is written as an escape.

    Args: *real* is None where Python found the descriptor closed at its start; then nothing is written. With
    *outlives_reader*, what is written after the reader has gone is dropped.
    Raises: BrokenPipeError when the reader is gone, CronsError when it cannot be written for another reason.
    """

    def __init__(self, real: TextIO | None, *, outlives_reader: bool = False) -> None:
        self.real = real
        self._outlives_reader = outlives_reader

    def write(self, text: str) -> int:
        """Write *text*."""
        try:
            self._write(text)
        except BrokenPipeError:
            if not self._outlives_reader:
                raise
        except OSError as error:
            raise CronsError(f"the output could not be written: {error}") from error
        return len(text)

    def flush(self) -> None:
        """Write out what is buffered."""
        self.write("")

    def isatty(self) -> bool:
        """Say whether a person reads this."""
        return is_terminal(self.real)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def _write(self, text: str) -> None:
        if self.real is None:
            return
        if not text:
            # Not write(""): Django's OutputWrapper would add a line end.
            self.real.flush()
            return
        try:
            self.real.write(text)
        except UnicodeEncodeError:
            encoding = getattr(self.real, "encoding", None) or "ascii"
            self.real.write(text.encode(encoding, "backslashreplace").decode(encoding))


class BestEffort(Encoded):
    """The same, but what cannot be written is dropped; *error* is the first error met.

    A reader that does not read (Ctrl-S, a pager, a log driver) is waited for once, for seconds only, because no lease
    is renewed meanwhile. From then on it gets what it has room for.
    """

    error: Exception | None = None

    def write(self, text: str) -> int:
        """Write *text*, or drop it."""
        try:
            for start in range(0, len(text) or 1, PIECE_CHARACTERS):
                _wait_for_room(self.real)
                self._write(text[start : start + PIECE_CHARACTERS])
                if len(text) > PIECE_CHARACTERS:
                    self._write("")  # Python's buffer would else be written in one piece, which may block
        except BROKEN as error:
            self.error = self.error or error
        return len(text)


# Descriptors whose reader did not read in time.
_unread: set[int] = set()


def _wait_for_room(stream: TextIO | None) -> None:
    """Return when *stream* has room for a piece.

    Raises: TimeoutError where its reader does not read; it is waited for once, whoever writes there.
    """
    descriptor = _descriptor_of(stream)
    if descriptor is None:
        return  # not a file: it cannot block
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    if not poll.poll(0 if descriptor in _unread else READER_PATIENCE_SECONDS * 1000):
        _unread.add(descriptor)
        raise TimeoutError("its reader does not read")


def _descriptor_of(stream: Any) -> int | None:
    try:
        return None if stream is None else int(stream.fileno())
    except (AttributeError, *BROKEN):
        return None


@contextmanager
def logging_with_best_effort() -> Iterator[None]:
    """Have log handlers drop what stdout or stderr does not take, instead of raising or blocking."""
    known = (reference() for reference in list(logging._handlerList))  # type: ignore[attr-defined] # all there are
    handlers = [each for each in known if isinstance(each, logging.StreamHandler) and _is_standard(each.stream)]
    wrapped = {each: BestEffort(each.stream) for each in handlers}
    for handler, ours in wrapped.items():
        handler.stream = ours  # setStream() would flush the old one first, which may block
    try:
        yield
    finally:
        for handler, ours in wrapped.items():
            if handler.stream is ours:  # else other code has set its own since
                handler.stream = ours.real


def _is_standard(stream: Any) -> bool:
    return _descriptor_of(stream) in (1, 2)


class Echo:
    """Shows what a job writes where the job was started; log records go to stderr.

    The text is made readable on its way, unless *as_written*.
    """

    def __init__(self, *, as_written: bool = False) -> None:
        self._as_written = as_written
        self._streams = {"stdout": BestEffort(sys.stdout), "stderr": BestEffort(sys.stderr)}

    def show(self, stream: str, text: str) -> None:
        """Show a piece of *stream*."""
        target = self._streams["stdout" if stream == "stdout" else "stderr"]
        target.write(text if self._as_written else readable(text))
        target.flush()

    def note(self) -> str:
        """Say for the attempt's record what could not be shown; nothing where all could."""
        return dropped_note(self._streams)


def dropped_note(streams: Mapping[str, BestEffort]) -> str:
    """Say which of *streams* did not take all that was written, and why; nothing where all did."""
    errors = "; ".join(f"{name}: {each.error}" for name, each in streams.items() if each.error is not None)
    return (
        f"crons: not all output could be shown where this was started ({errors}); it is kept here\n" if errors else ""
    )


def is_terminal(stream: TextIO | None) -> bool:
    """Say whether *stream* is a terminal; one that is closed is none."""
    try:
        return stream is not None and stream.isatty()
    except BROKEN:
        return False


def flush_at_exit(*, waits: bool = True) -> None:
    """Flush stdout and stderr for the last time; what they do not take is dropped.

    Python flushes both at its exit and turns the exit code into 120 where that fails, so a failing one is pointed at
    /dev/null. With *waits*, a reader that does not read is waited for, as by any program.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                if not waits:
                    _wait_for_room(stream)
                stream.flush()
        except BROKEN:
            _point_at_nothing(stream)


def _point_at_nothing(stream: TextIO) -> None:
    with suppress(*BROKEN):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)


class Notifier:
    """Tells whoever started this process how it is, where they ask: the datagram socket that NOTIFY_SOCKET names.

    Jobs do not inherit it: who waits for this process must not hear them. Called by the loop that does the work, and
    by no thread: where that loop hangs, WATCHDOG=1 must fail to come.
    """

    NAMES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")

    def __init__(self) -> None:
        self._given = {name: os.environ.pop(name) for name in self.NAMES if name in os.environ}
        address = self._given.get("NOTIFY_SOCKET", "")
        # An abstract one has a zero in the place of its @; other kinds, of virtual machines, are passed over.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address if address.startswith("/") else ""
        self._every = self._watched_seconds() / 4
        self._next = 0.0
        self._status = ""

    def ready(self, status: str) -> None:
        """Say that the first look is through."""
        self._status = status
        self._send("READY=1", f"STATUS={status}")

    def alive(self, status: str) -> None:
        """Say that the loop turns, four times as often as is asked for, and *status* where it is another."""
        lines = [f"STATUS={status}"] if status != self._status else []
        if self._every and time.monotonic() >= self._next:
            self._next = time.monotonic() + self._every
            lines.append("WATCHDOG=1")
        self._status = status
        self._send(*lines)

    def stopping(self, status: str) -> None:
        """Say that this process ends, as it was asked to."""
        self._send("STOPPING=1", f"STATUS={status}")

    def give_back(self) -> None:
        """Leave the socket to the program that takes this one's place in its process."""
        os.environ.update(self._given)

    def _watched_seconds(self) -> float:
        usec, pid = self._given.get("WATCHDOG_USEC", ""), self._given.get("WATCHDOG_PID", "")
        is_ours = not pid or pid == str(os.getpid())
        return int(usec) / 1_000_000 if is_ours and usec.isascii() and usec.isdigit() else 0.0

    def _send(self, *lines: str) -> None:
        if not self._address or not lines:
            return
        text = "\n".join(" ".join(line.splitlines()) for line in lines)
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.setblocking(False)
            end.sendto(text.encode(errors="replace"), self._address)
