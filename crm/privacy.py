"""What is for this account only: the folder of its data, its database's files, and files that hold secrets."""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

_OF_OTHERS = 0o077


def make_private_directory(path: Path) -> None:
    """Leave a directory at *path* that only this account can look into, whatever its umask; not where it may not."""
    with suppress(OSError):  # an installation that writes nothing here is read-only here
        path.mkdir(mode=0o700, exist_ok=True)
        _close(path)


def refuse_open_secret(path: Path) -> None:
    """Refuse a file of secrets that others can read.

    Raises: ImproperlyConfigured with what to type.
    """
    # systemd lends credentials to the service's user by an access list, whose mask shows as rights of a group.
    lent = os.environ.get("CREDENTIALS_DIRECTORY")
    if lent and path.is_relative_to(lent):
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & _OF_OTHERS:
        raise ImproperlyConfigured(
            f"{path} has mode {mode:04o}: other accounts can read or change the secrets in it. Run: chmod 600 {path}; "
            "if others may have read it, change the secrets too."
        )


def close_database(sender: Any, connection: Any, **given: Any) -> None:
    """Take the files of a SQLite database from others: whoever reads it has everybody's sessions."""
    if connection.vendor == "sqlite" and not connection.is_in_memory_db():
        for path in files_of(connection.settings_dict["NAME"]):
            with suppress(OSError):
                _close(path)


def files_of(name: Any) -> Iterator[Path]:
    """Give the files that SQLite may have for the database *name*."""
    for ending in ("", "-wal", "-shm", "-journal"):
        yield Path(f"{name}{ending}")


def _close(path: Path) -> None:
    status = path.stat()
    if status.st_mode & _OF_OTHERS and status.st_uid == os.geteuid():
        path.chmod(stat.S_IMODE(status.st_mode) & ~_OF_OTHERS)
