"""Writes that the database refused: noted outside of it, and handed over once it takes writes again.

A scheduler keeps them in memory; a tick or a run ends before the database is back, so each process appends them to one
file of this account, in STATE_DIR or the directory for temporary files. What is lost: all that stands in memory alone,
where that disk is full as well, when the process ends; of one that is killed, what it noted since its last line.
"""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import json
import os
import stat
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from django.db import connections
from django.utils import timezone

from crons.conf import conf
from crons.hosts import host, is_suite

# A line is written for the first refusal, the second after it, the fourth, … and at least this often.
EVERY = timedelta(minutes=5)
LONGEST_ERROR = 300
# Days of a database that is away; what comes later is kept in memory alone.
MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Refused:
    """Writes that one *process* was refused: the first and the last, how many, and what the last was refused with."""

    process: str
    first_at: datetime
    last_at: datetime
    attempts: int
    error: str

    def and_then(self, later: Refused) -> Refused:
        """Return both as one."""
        return replace(later, first_at=self.first_at, attempts=self.attempts + later.attempts)

    def as_line(self) -> bytes:
        """Write it as a line of JSON."""
        return (json.dumps(asdict(self), default=datetime.isoformat) + "\n").encode()

    @classmethod
    def from_line(cls, line: bytes) -> Refused:
        """Read such a line. Raises: ValueError, KeyError or TypeError for one that is cut off or garbled."""
        given = json.loads(line)
        first_at, last_at = (datetime.fromisoformat(given[name]) for name in ("first_at", "last_at"))
        if first_at.tzinfo is None or last_at.tzinfo is None:
            raise ValueError("moments without a zone")
        return cls(str(given["process"]), first_at, last_at, int(given["attempts"]), str(given["error"]))


class Refusals:
    """What this process was refused and has in no file, and the file that it shares with others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._own: Refused | None = None
        self._line_at = 1
        self._written_at: datetime | None = None

    def note(self, error: object) -> None:
        """Note that a write was refused just now; in a test suite, which refuses writes on purpose, nothing."""
        if is_suite():
            return
        now = timezone.now()
        text = " ".join(str(error).split())[:LONGEST_ERROR]
        with self._lock:
            own = Refused(f"{host()}:{os.getpid()}", now, now, 1, text)
            self._own = own if self._own is None else self._own.and_then(own)
            is_old = self._written_at is not None and now - self._written_at > EVERY
            if self._own.attempts >= self._line_at or is_old:
                if self._written_at is None:
                    atexit.register(self.write_down)
                self._line_at, self._written_at = min(2 * self._line_at, 1 << 20), now
                self._write_down()

    def write_down(self) -> None:
        """Have the file hold all that this process has noted."""
        with self._lock:
            self._write_down()

    @contextmanager
    def taken(self) -> Iterator[Sequence[Refused]]:
        """Hand over what processes of this account were refused; it is forgotten if the block ends without an error.

        Whoever comes second meanwhile gets what it has noted itself. Cost: a look for the file, while there is nothing.
        """
        with self._lock:
            own, self._own = self._own, None
        try:
            with _opened(os.O_RDWR) as file:
                yield [*([own] if own else []), *(_lines(file) if file is not None else [])]
                if file is not None:
                    os.ftruncate(file, 0)
        except BaseException:
            with self._lock:
                if own is not None:
                    self._own = own if self._own is None else own.and_then(self._own)
            raise
        self._line_at, self._written_at = 1, None
        atexit.unregister(self.write_down)

    def _write_down(self) -> None:
        if self._own is None:
            return
        with suppress(OSError), _opened(os.O_WRONLY | os.O_APPEND | os.O_CREAT) as file:
            if file is not None and os.fstat(file).st_size < MOST_BYTES:
                line = b"\n" + self._own.as_line()  # the last one may have been cut off by a full disk
                if os.write(file, line) == len(line):
                    self._own = None


refused_writes = Refusals()


def path() -> Path:
    """Name the file of this account for this database."""
    given = connections[conf.database].settings_dict
    database = [str(given.get(name, "")) for name in ("ENGINE", "NAME", "HOST", "PORT")]
    mark = hashlib.sha256("\n".join(database).encode()).hexdigest()[:16]
    folder = conf.state_dir or Path(tempfile.gettempdir()) / f"crons-{os.getuid()}"
    return folder / f"refused-{mark}"


@contextmanager
def _opened(flags: int) -> Iterator[int | None]:
    """Open the file and lock it; None where there is none, others may write there, or another has locked it."""
    file = None
    with suppress(OSError, ValueError):
        found = path()
        if flags & os.O_CREAT:
            found.parent.mkdir(mode=0o700, exist_ok=True)
        # In a directory that others may write to, whoever comes first could have this process write elsewhere.
        if _is_private(os.lstat(found.parent)):
            file = os.open(found, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        if file is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(file)
                file = None
        yield file
    finally:
        if file is not None:
            os.close(file)


def _is_private(found: os.stat_result) -> bool:
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022


def _lines(file: int) -> Iterator[Refused]:
    for line in os.pread(file, 2 * MOST_BYTES, 0).splitlines():
        with suppress(ValueError, KeyError, TypeError):  # a disk that was full in the middle of it
            yield Refused.from_line(line)
