"""Files that hold a service token: whole or not there, readable by their owner only, never through a symlink."""

import fcntl
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path

from django.db import transaction

from crm import tokens
from crm.models import ServiceToken

JOBS = "jobs"
JOBS_SCOPES = ("customers:read", "products:read", "orders:read", "stock:write", "reports:read")
JOBS_LIFE = timedelta(days=90)
# Before WARNED_BEFORE by more than a week: who calls it weekly is never warned.
RENEWED_BEFORE = timedelta(days=30)
_LONGEST_BYTES = 200


class FileRefused(Exception):
    """The file cannot hold a token; no token was made."""


def store(path: Path, make: Callable[[], tuple[ServiceToken, str]]) -> ServiceToken:
    """Put the text of the token that *make* makes into *path*, mode 0600, in place of what stood there.

    Returns: the token's row, without which the file is not written, as the row is not kept without the file.
    Raises: FileRefused; whatever *make* raises.
    """
    if path.is_dir():
        raise FileRefused(f"{path} is a directory. Give the name of a file.")
    with _refusing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
        try:
            with os.fdopen(file, "w", encoding="ascii") as opened, transaction.atomic():
                row, text = make()
                opened.write(f"{text}\n")
                opened.flush()
                os.fsync(opened.fileno())
            os.replace(draft, path)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(draft)
            raise
    return row


def ensure_for_jobs(path: Path, *, now: datetime) -> ServiceToken | None:
    """Leave a token in *path* that the jobs can use for RENEWED_BEFORE at least; of several at once one makes it.

    Returns: the row of a new token; None where the one in the file was good.
    Raises: FileRefused.
    """
    with _refusing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(f".{path.name}.lock").open("w")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _is_good(path, now):
            return None
        return store(path, lambda: tokens.issue(JOBS, JOBS_SCOPES, now + JOBS_LIFE, trusted_only=True, now=now))


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FileRefused(f"{path} cannot be written: {error.strerror}. Make its folder writable.") from error


def _is_good(path: Path, now: datetime) -> bool:
    text = _read(path)
    if text is None:
        return False
    try:
        row = tokens.authenticate(text, now=now)
    except tokens.InvalidToken:
        return False
    return row.expires_at > now + RENEWED_BEFORE and set(row.scopes) >= set(JOBS_SCOPES)


def _read(path: Path) -> str | None:
    """Give what the file holds; None where it is none of ours: missing, a symlink, or open to others."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(file, "rb") as opened:
        status = os.fstat(opened.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077 or status.st_uid != os.geteuid():
            return None
        return opened.read(_LONGEST_BYTES).decode("ascii", errors="replace").strip()
