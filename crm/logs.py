"""The jobs' log files: whole lines only, through no symlink, rotated by size, safe with several writers."""

import fcntl
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings

from crm.plain_text import one_line

# What is about to be archived: out of the rotation, and not yet deleted.
TAKEN = ".taken"
_FILE_MODE, _DIRECTORY_MODE = 0o640, 0o750
_ROTATED = re.compile(r"(.+_log\.txt)\.([0-9]+)")


class LogRefused(Exception):
    """The log file cannot be written safely; nothing was written."""


def append_line(filename: str, text: str) -> None:
    """Append *text* as one line to *filename* in CRM_LOG_DIR; see append_lines."""
    append_lines(filename, [text])


def append_lines(filename: str, texts: Sequence[str]) -> None:
    """Append each of *texts* as one line to *filename* in CRM_LOG_DIR, all of them or none, rotating first
    when it would grow too big.

    Line breaks and other control characters become spaces, so that no value can forge a line.

    Raises: LogRefused for a symlink, a directory that is one, something that is no plain file, a path,
        or a disk that is full; half a line does not stay.
    """
    if filename != os.path.basename(filename) or filename in ("", ".", ".."):
        raise LogRefused(f"{filename!r} is not a plain file name. Give a name; CRM_LOG_DIR is the directory.")
    lines = "".join(f"{one_line(text)}\n" for text in texts).encode(errors="backslashreplace")
    with _directory(Path(settings.CRM_LOG_DIR)) as directory:
        file = _open_locked(filename, directory)
        try:
            if lines and _is_full(file, len(lines)):
                _rotate(filename, directory)
                # The lock on the old file is held until these lines stand in the new one.
                fresh = _open_locked(filename, directory)
                os.close(file)
                file = fresh
            _write(file, lines, filename)
        finally:
            os.close(file)


def require_writable(filename: str) -> None:
    """Open *filename* as append_lines would: a job whose effects cannot be undone asks before them.

    Raises: LogRefused, but for a disk that is full.
    """
    append_lines(filename, [])


def rotated(before: datetime) -> list[Path]:
    """List what was rotated away in CRM_LOG_DIR and last written before *before*, and what is taken already."""
    found = []
    for path in sorted(Path(settings.CRM_LOG_DIR).glob("*.*")):
        if path.name.endswith(TAKEN) and not path.is_symlink():
            found.append(path)
        elif _ROTATED.fullmatch(path.name):
            with suppress(FileNotFoundError):  # rotated on meanwhile: the next run finds it
                status = path.lstat()
                if stat.S_ISREG(status.st_mode) and status.st_mtime < before.timestamp():
                    found.append(path)
    return found


def take_rotated(before: datetime) -> list[Path]:
    """Take what rotated() lists out of the rotation, which would rename it on; give where each stands now."""
    taken = []
    for path in rotated(before):
        match = _ROTATED.fullmatch(path.name)
        if match is None:
            taken.append(path)
            continue
        with _directory(path.parent) as directory:
            file = _open_locked(match[1], directory)
            try:
                status = os.stat(path.name, dir_fd=directory, follow_symlinks=False)
                if status.st_mtime < before.timestamp():
                    written_at = datetime.fromtimestamp(status.st_mtime, UTC)
                    # With the inode: two that were last written in one second are two.
                    name = f"{match[1]}.{written_at:%Y-%m-%dT%H-%M-%S}-{status.st_ino}{TAKEN}"
                    os.rename(path.name, name, src_dir_fd=directory, dst_dir_fd=directory)
                    taken.append(path.with_name(name))
            except FileNotFoundError:
                pass
            finally:
                os.close(file)
    return taken


@contextmanager
def _directory(path: Path) -> Iterator[int]:
    """Hold the log directory open: what is done relative to it cannot be led elsewhere by a later swap."""
    try:
        path.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise LogRefused(
            f"CRM_LOG_DIR {path} cannot be used: {error.strerror}. Expected a directory that is no symlink; "
            "set CRM_LOG_DIR to the real path."
        ) from error
    try:
        yield directory
    finally:
        os.close(directory)


def _open_locked(filename: str, directory: int) -> int:
    """Open *filename* for appending and lock it; the name still means this file once the lock is held."""
    while True:
        file = _open(filename, directory)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if _is_current(file, filename, directory):
                return file
        except BaseException:
            os.close(file)
            raise
        # Another process rotated while this one waited.
        os.close(file)


def _open(filename: str, directory: int) -> int:
    # O_NONBLOCK: a named pipe put in the file's place would hold the job until someone reads it.
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        file = os.open(filename, flags, _FILE_MODE, dir_fd=directory)
    except OSError as error:
        raise LogRefused(
            f"Log file {filename!r} cannot be opened: {error.strerror}. Expected a plain file, no symlink, "
            "writable by this user; move away what stands there."
        ) from error
    if stat.S_ISREG(os.fstat(file).st_mode):
        return file
    os.close(file)
    raise LogRefused(f"Log file {filename!r} is no plain file. Move away what stands there.")


def _write(file: int, lines: bytes, filename: str) -> None:
    size = os.fstat(file).st_size
    if lines and size and os.pread(file, 1, size - 1) != b"\n":
        lines = b"\n" + lines  # a writer was killed in the middle: what it left must not become part of a line
    try:
        written = os.write(file, lines)
        if written == len(lines):
            return
        os.ftruncate(file, size)  # the lock is held: what lies behind is only the beginning of these
        reason = "no room for the whole line"
    except OSError as error:
        reason = str(error.strerror)
    raise LogRefused(f"Log file {filename!r} cannot be written: {reason}. Make room, then run the job again.")


def _is_current(file: int, filename: str, directory: int) -> bool:
    try:
        named = os.stat(filename, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(named, os.fstat(file))


def _is_full(file: int, size_bytes: int) -> bool:
    size, limit = os.fstat(file).st_size, settings.CRM_LOG_MAX_BYTES
    return bool(limit) and size > 0 and size + size_bytes > limit


def _rotate(filename: str, directory: int) -> None:
    """Move *filename* to .1, .1 to .2 and so on; what would get a number above CRM_LOG_KEEP is dropped."""
    keep = settings.CRM_LOG_KEEP
    if keep == 0:
        os.unlink(filename, dir_fd=directory)
        return
    for number in range(keep, 0, -1):
        older = filename if number == 1 else f"{filename}.{number - 1}"
        with suppress(FileNotFoundError):
            os.replace(older, f"{filename}.{number}", src_dir_fd=directory, dst_dir_fd=directory)
