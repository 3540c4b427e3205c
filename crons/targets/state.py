"""What is kept on this machine between two commands: backups, and a lock."""

from __future__ import annotations

import fcntl
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from crons.conf import conf
from crons.exceptions import TargetError

BACKUPS_KEPT = 20
FILE, NONE, UNDONE = ".crontab", ".none", ".undone"
ROWS = ".rows"


def folder() -> Path:
    """Return the state directory.

    Raises: TargetError for an account without a home.
    """
    if conf.state_dir is not None:
        return conf.state_dir
    try:
        # As cron does, and not $HOME: sudo may leave that of another account.
        return Path(pwd.getpwuid(os.geteuid()).pw_dir) / ".local" / "state" / "crons"
    except KeyError as error:
        raise TargetError(
            f"the user id {os.geteuid()} has no name and no home, so there is no place for backups: "
            "set CRONS['STATE_DIR']."
        ) from error


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Keep all other changes of the target *name* by this account out.

    Raises: TargetError if another process has it locked, or the state directory cannot be written.
    """
    _make_private(folder())
    with _named_in_errors():
        lock = os.open(folder() / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise TargetError(f"another crons apply or undo is changing the {name}: try again when it is done.") from error
    finally:
        os.close(lock)


class Backups:
    """What a foreign schedule was before each apply of one deployment, newest last; None stands for none at all."""

    def __init__(self, key: str, *, file: str = FILE) -> None:
        """*file* is the suffix of what is kept."""
        self.folder = folder() / key
        self._kind = file

    def prepare(self) -> None:
        """Make the directory, closed to other accounts."""
        _make_private(folder())
        _make_private(self.folder)

    def newest(self, *, but: bytes | None) -> Path | None:
        """Return the newest backup that no undo has used and that does not hold *but*.

        One that holds what is installed is of an apply that was killed before it changed anything.
        """
        if self.folder.exists():
            self.prepare()
        return next((path for path in reversed(self._unused()) if self.read(path) != but), None)

    def read(self, path: Path) -> bytes | None:
        """Return what the backup at *path* holds; None where there was no such schedule."""
        with _named_in_errors():
            return None if path.suffix == NONE else path.read_bytes()

    def keep(self, content: bytes | None, *, suffix: str = "") -> Path:
        """Write *content* to disk, readable by this account only; delete all but the newest."""
        suffix = suffix or (NONE if content is None else self._kind)
        path = self.folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}{suffix}"
        # Under its name only when it is whole: an undo from half a backup would be worse than none.
        part = path.with_suffix(".part")
        self.prepare()
        with _named_in_errors():
            try:
                file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(file, "wb") as out:
                    out.write(content or b"")
                    out.flush()
                    os.fsync(out.fileno())
                part.rename(path)
            finally:
                part.unlink(missing_ok=True)
            for old in self._files()[:-BACKUPS_KEPT]:
                old.unlink()
        return path

    def use(self, path: Path) -> None:
        """Delete *path* and what is newer: an undo has gone back to it."""
        for each in self._unused():
            if each.name >= path.name:
                self.drop(each)

    def drop(self, path: Path) -> None:
        """Delete one backup."""
        with _named_in_errors():
            path.unlink(missing_ok=True)

    def _unused(self) -> list[Path]:
        return [path for path in self._files() if path.suffix in (self._kind, NONE)]

    def _files(self) -> list[Path]:
        with _named_in_errors():
            return sorted(path for path in self.folder.glob("*") if path.suffix in (self._kind, NONE, UNDONE))


def _make_private(path: Path) -> None:
    """Make the directory at *path*; refuse one that others may write: undo installs lines from there."""
    with _named_in_errors():
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat()
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise TargetError(
            f"the state directory {path} can be written by other accounts, who could have lines installed from there: "
            f"chmod go-w {path}, and let this account own it; or set CRONS['STATE_DIR']."
        )


@contextmanager
def _named_in_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TargetError(
            f"the state directory cannot be used: {error.filename or folder()}: {error.strerror}. Backups are "
            "kept there, so nothing was changed: make it writable for this account, or set CRONS['STATE_DIR']."
        ) from error
