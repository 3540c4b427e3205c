"""Archive files: gzip-compressed JSON Lines, and beside each a manifest that says what must be in it.

A file is written under another name, brought to the disk, read back, and only then gets its own name; its manifest
comes last. So what bears its name is whole, and what has no manifest does not count.
"""

import fcntl
import gzip
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from django.conf import settings

SCHEMA = 1
_DRAFT = ".draft-"
_FILE_MODE, _FOLDER_MODE = 0o600, 0o700


class ArchiveRefused(Exception):
    """Nothing was archived, deleted or restored that was not whole before."""


@dataclass(frozen=True)
class Written:
    """What a file holds: *rows* are counted by kind."""

    records: int
    sha256: str
    size_bytes: int
    rows: dict[str, int] = field(default_factory=dict)
    name: str = ""

    def facts(self) -> dict[str, Any]:
        """Give what the manifest says of the file."""
        return {each: getattr(self, each) for each in ("records", "rows", "sha256", "size_bytes")}


def path_of(name: str) -> Path:
    """Give where the archive *name* lies, or would."""
    return Path(settings.CRM_ARCHIVE_DIR) / f"{name}.jsonl.gz"


def manifest_path_of(name: str) -> Path:
    """Give where the manifest of the archive *name* lies, or would."""
    return Path(settings.CRM_ARCHIVE_DIR) / f"{name}.manifest.json"


@contextmanager
def locked(table: str) -> Iterator[None]:
    """Be the only one that writes or deletes archives of *table* in this directory; the kernel frees it after a kill.

    What a killed writer has left half done is removed.

    Raises: ArchiveRefused where somebody else is at it, or the directory cannot be used.
    """
    folder = path_of(f"{table}/x").parent
    try:
        folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, _FILE_MODE)
    except OSError as error:
        raise ArchiveRefused(
            f"The archives' folder {folder} cannot be used: {error.strerror}. Expected a directory that this account "
            "can write; set CRM_ARCHIVE_DIR, or give it to this account."
        ) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ArchiveRefused(
                f"Somebody else is archiving or restoring {table} now. Nothing was done; run this again afterwards."
            ) from error
        for draft in folder.glob(f"{_DRAFT}*"):
            draft.unlink()
        yield
    finally:
        os.close(lock)


def write(stem: str, first: int, records: Iterable[Mapping[str, Any]], about: Mapping[str, Any]) -> Written:
    """Leave *records* as the archive `STEM.N`, whole, with its manifest; N is the first free number from *first* on.

    A file of that name with the same content is taken as this one: its writer was killed before somebody noted it.

    Args: *about* goes into the manifest.
    Raises: ArchiveRefused for a disk that is full or a file that reads back otherwise; neither leaves anything.
    """
    draft = path_of(stem).with_name(f"{_DRAFT}{os.path.basename(stem)}")
    try:
        packed = _write_draft(draft, records)
        written = next(each for each in _names(stem, first, packed) if _is_free(each))
        path = path_of(written.name)
        _publish(draft, path)
        facts = {"schema": SCHEMA, "archive": written.name, "file": path.name, **about, **written.facts()}
        with _created(draft) as file:
            file.write(json.dumps(facts, indent=1).encode() + b"\n")
            _to_disk(file)
        _publish(draft, manifest_path_of(written.name))
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise ArchiveRefused(
            f"The archive {path_of(stem)} cannot be written: {error.strerror}. Nothing of it was deleted from its "
            "table. Make room there, or set CRM_ARCHIVE_DIR to another disk, and run the job again."
        ) from error
    return written


def read(name: str, *, sha256: str, records: int) -> Iterator[dict[str, Any]]:
    """Check the whole archive *name* against its manifest and what the database says of it; then give its records.

    Raises: ArchiveRefused, before the first record is given, for a file that is missing or is not what was written.
    """
    check(name, sha256=sha256, records=records)
    return _records(path_of(name))


def check(name: str, *, sha256: str, records: int) -> dict[str, Any]:
    """Give the manifest of the archive *name*, after the file was found to be what it says.

    Raises: ArchiveRefused as read does.
    """
    path, manifest = path_of(name), manifest_of(name)
    if not path.exists():
        raise _refused(path, "it is not there", "Bring it back from a backup, or run this on the host that has it")
    came = _digest(path)
    for source, expected in (("the manifest", manifest["sha256"]), ("the database", sha256)):
        if came != expected:
            what = f"its SHA-256 is {came}, and {source} has {expected}"
            raise _refused(path, what, "The file is damaged, or another one: bring it back from a backup")
    if manifest["records"] != records:
        what = f"the manifest has {manifest['records']} records, and the database {records}"
        raise _refused(path, what, "Bring the manifest back from a backup")
    return manifest


def manifest_of(name: str) -> dict[str, Any]:
    """Give the manifest of the archive *name*.

    Raises: ArchiveRefused where it is missing, is none, or has a schema that this release does not know.
    """
    path = manifest_path_of(name)
    try:
        manifest = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise _refused(path, "there is no such manifest", "Bring it back from a backup") from error
    except (OSError, ValueError) as error:
        raise _refused(path, f"it cannot be read ({error})", "Bring it back from a backup") from error
    if not isinstance(manifest, dict) or not {"schema", "sha256", "records"} <= manifest.keys():
        raise _refused(path, "it is no manifest of an archive", "Bring it back from a backup")
    if manifest["schema"] != SCHEMA:
        what = f"its schema is {manifest['schema']!r}, and this release reads {SCHEMA}"
        raise _refused(path, what, "Use the release that wrote it, or a later one")
    return manifest


def encoded(record: Mapping[str, Any]) -> bytes:
    """Give *record* as its line: the same record gives the same bytes."""
    return json.dumps(record, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _write_draft(draft: Path, records: Iterable[Mapping[str, Any]]) -> Written:
    number, rows, content = 0, Counter[str](), hashlib.sha256()
    with _created(draft) as file:
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed:
            for record in records:
                line = encoded(record)
                packed.write(line)
                content.update(line)
                number += 1
                for kind, value in record.items():
                    rows[kind] += len(value) if isinstance(value, list) else 1
        _to_disk(file)
    came = hashlib.sha256()
    for line in _lines(draft):
        came.update(line)
    if came.digest() != content.digest():
        draft.unlink()
        raise _refused(draft, "it reads back otherwise than it was written", "The disk may be failing: look at it")
    return Written(number, _digest(draft), draft.stat().st_size, dict(rows))


def _names(stem: str, first: int, written: Written) -> Iterator[Written]:
    return (replace(written, name=f"{stem}.{number}") for number in count(first))


def _is_free(written: Written) -> bool:
    """Say whether no other archive stands under this name; half a one, without a manifest, is none."""
    path, manifest = path_of(written.name), manifest_path_of(written.name)
    return not manifest.exists() or (path.exists() and _digest(path) == written.sha256)


def _created(path: Path) -> Any:
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, _FILE_MODE), "wb")


def _to_disk(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def _publish(draft: Path, path: Path) -> None:
    os.replace(draft, path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)  # else the name may be gone after a power cut, and the rows with it
    finally:
        os.close(folder)


def _records(path: Path) -> Iterator[dict[str, Any]]:
    for line in _lines(path):
        record = json.loads(line)
        if not isinstance(record, dict):
            raise _refused(path, f"a line is {line[:80]!r}", "Expected a JSON object a line: it was not written here")
        yield record


def _lines(path: Path) -> Iterator[bytes]:
    with gzip.open(path, "rb") as file:
        yield from file


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refused(path: Path, came: str, next_step: str) -> ArchiveRefused:
    return ArchiveRefused(f"{path}: {came}. Nothing was deleted or restored. {next_step}.")
