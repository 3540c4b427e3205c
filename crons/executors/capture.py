"""Capturing: whatever a process and its children write goes into three pipes."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Iterator
from typing import IO

from crons.conf import conf

STREAMS = ("stdout", "stderr", "log")
RECORD_FORMAT = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%d %H:%M:%S")

# The attempt keeps its error by itself; this logger's records are for error trackers.
JOB_LOGGER = "crons.job"


def is_output(record: logging.LogRecord) -> bool:
    """Say whether *record* belongs to what an attempt writes."""
    return record.name != JOB_LOGGER


def log_level() -> int:
    """Return the least level of records kept, as a number.

    Raises: InvalidSetting if CRONS["LOG_LEVEL"] is no level's name.
    """
    return logging.getLevelNamesMapping()[conf.log_level.upper()]


class LogPipe(logging.Handler):
    """Writes each record as a line, its traceback below it, to *descriptor*."""

    _descriptor = -1
    _identity: tuple[int, int] | None = None

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.setFormatter(RECORD_FORMAT)
        self.addFilter(is_output)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._write(f"{self.format(record)}\n".encode(errors="replace"))
        except Exception:  # noqa: BLE001 (what every handler does: logging never breaks the code that logs)
            self.handleError(record)

    def point_at(self, descriptor: int) -> None:
        """Write to *descriptor* from now on, as long as it is what it is now."""
        self._descriptor, self._identity = descriptor, _identity_of(descriptor)

    def _write(self, data: bytes) -> None:
        # A job may have closed it, and have a file of its own under that number by now.
        if self._identity is not None and _identity_of(self._descriptor) == self._identity:
            write_whole(self._descriptor, data)


def _identity_of(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def write_whole(descriptor: int, data: bytes) -> None:
    """Write all of *data*, however little the pipe takes at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def fill_standard_descriptors() -> None:
    """Make sure that 0, 1 and 2 are open, so that no pipe or socket of ours ever gets such a number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def flush() -> None:
    """Flush Python's own buffers; a stream that its owner closed has nothing to flush."""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            pass


def reopen_streams() -> None:
    """Let sys.stdin, stdout and stderr be what descriptors 0, 1 and 2 are, written line by line in UTF-8."""
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    for number in (1, 2):
        # The buffers copied from the host may hold what its full disk or broken pipe has refused: flushed into
        # /dev/null, or each job would write it again.
        kept = os.dup(number)
        os.dup2(nothing, number)
        flush()
        os.dup2(kept, number)
        os.close(kept)
    os.close(nothing)
    sys.stdin = open(0, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    sys.stdout = _reopened(sys.stdout, 1)
    sys.stderr = _reopened(sys.stderr, 2)


def take_over_logging(level: int) -> LogPipe:
    """Send the records that would reach a terminal, and all from *level* up, to the handler returned."""
    pipe = LogPipe(level)
    root = logging.root
    for logger in _loggers():
        for handler in [each for each in logger.handlers if _writes_to_terminal(each)]:
            logger.removeHandler(handler)
            _attach(pipe, logger)
    _attach(pipe, root)
    root.setLevel(min(root.level, level))
    return pipe


def redirect(descriptors: dict[str, int], pipe: LogPipe) -> None:
    """Point stdout, stderr and the log of this process at *descriptors*, which it now owns."""
    for stream, number in (("stdout", 1), ("stderr", 2)):
        os.dup2(descriptors[stream], number)
        os.close(descriptors[stream])
    pipe.point_at(descriptors["log"])


def _reopened(stream: IO[str] | None, number: int) -> IO[str]:
    # The old object is kept where it can be: others may hold a reference to it.
    try:
        if isinstance(stream, io.TextIOWrapper) and stream.fileno() == number:
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
            return stream
    except (OSError, ValueError):
        pass
    return open(number, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _loggers() -> Iterator[logging.Logger]:
    yield logging.root
    known = list(logging.Logger.manager.loggerDict.values())
    yield from (each for each in known if isinstance(each, logging.Logger))


def _writes_to_terminal(handler: logging.Handler) -> bool:
    stream = getattr(handler, "stream", None)
    if stream is None:
        return False
    if stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        return True
    try:
        return stream.fileno() in (1, 2)
    except (AttributeError, OSError, ValueError):
        return False


def _attach(pipe: LogPipe, logger: logging.Logger) -> None:
    # Where the record ends up in any case: attached lower as well, it would be written twice.
    while logger.propagate and logger.parent is not None:
        logger = logger.parent
    if pipe not in logger.handlers:
        logger.addHandler(pipe)
