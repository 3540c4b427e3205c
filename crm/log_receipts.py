"""Which keys' lines stand in a log file: lines under one key are written once, whoever is killed when.

Beside `x_log.txt` lies `.x_log.txt.keys`, a few lines of JSON: the keys of the last writes, and, while one is
under way, where it begins and how long it is. From that the next writer sees whether it was finished
(then it counts) or not (then what there is of it is cut off). All of it happens under the log file's lock.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

KEPT_KEYS = 1_000
_MAX_BYTES = 1_000_000


class ReceiptsRefused(Exception):
    """The file of keys cannot be read or written; no line was written."""


@dataclass
class Receipts:
    """The keys whose lines stand in the log *filename*, the newest last, and the write under way."""

    filename: str
    directory: int
    keys: list[str] = field(default_factory=list)
    pending: dict[str, int | str] | None = None

    def settle(self, log: int) -> None:
        """Decide what became of a write whose process was killed: count it, or cut off what there is of it."""
        if self.pending is None:
            return
        about, start, size = os.fstat(log), int(self.pending["start"]), int(self.pending["size"])
        # Another file stands there since: somebody else rotated it, whole.
        if about.st_ino != self.pending["inode"] or about.st_size >= start + size:
            self.keys.append(str(self.pending["key"]))
        elif about.st_size > start:
            os.ftruncate(log, start)
        self.pending = None
        self._save()

    @contextmanager
    def noting(self, key: str, log: int, size_bytes: int) -> Iterator[None]:
        """Note that lines of *key* are written here: before, where; afterwards, that they were."""
        if not key:
            yield
            return
        about = os.fstat(log)
        self.pending = {"key": key, "inode": about.st_ino, "start": about.st_size, "size": size_bytes}
        self._save()
        try:
            yield
        except BaseException:
            self.pending = None
            # On a full disk this fails too; the next writer finds nothing of the lines, and settles it.
            with suppress(ReceiptsRefused):
                self._save()
            raise
        self.pending = None
        self.keys.append(key)
        self._save()

    def _save(self) -> None:
        self.keys = self.keys[-KEPT_KEYS:]
        name = _name(self.filename)
        draft = f"{name}.new"
        text = json.dumps({"pending": self.pending, "keys": self.keys}, indent=0)
        try:
            with suppress(FileNotFoundError):
                os.unlink(draft, dir_fd=self.directory)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            with os.fdopen(os.open(draft, flags, 0o640, dir_fd=self.directory), "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(draft, name, src_dir_fd=self.directory, dst_dir_fd=self.directory)
        except OSError as error:
            raise ReceiptsRefused(
                f"{name!r}, which keeps lines from being written twice, cannot be written: {error.strerror}. "
                "Make room, and its directory writable; then run the job again."
            ) from error


def read(filename: str, directory: int) -> Receipts:
    """Give the receipts of the log *filename* in *directory*; without a file there are none.

    Raises: ReceiptsRefused for what is no file of ours: overwriting it would have lines written twice.
    """
    name = _name(filename)
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    except FileNotFoundError:
        return Receipts(filename, directory)
    except OSError as error:
        raise ReceiptsRefused(f"{name!r} cannot be read: {error.strerror}. Move away what stands there.") from error
    try:
        with os.fdopen(file, encoding="utf-8") as opened:
            _require_own(name, file)
            content = json.loads(opened.read(_MAX_BYTES))
        keys, pending = [str(key) for key in content["keys"]], content["pending"]
        if pending is not None:
            pending = {"key": str(pending["key"]), **{each: int(pending[each]) for each in ("inode", "start", "size")}}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReceiptsRefused(f"{name!r} does not hold what was written to it ({error}). Move it away.") from error
    return Receipts(filename, directory, keys, pending)


def _require_own(name: str, file: int) -> None:
    # In a shared directory such as /tmp anybody may put one there: with keys whose lines would then never be
    # written, or a write under way from the log's first byte on, which would have it cut off.
    owner, me = os.fstat(file).st_uid, os.geteuid()
    if owner != me:
        raise ReceiptsRefused(
            f"{name!r} belongs to user {owner}, and this process to {me}. "
            "Run the job as that user, or move the file away."
        )


def _name(filename: str) -> str:
    return f".{filename}.keys"
