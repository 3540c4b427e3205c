"""Rotated log files of the jobs, moved as they are: each line a record, each file an archive."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings

from crm import logs
from crm.archives import files
from crm.archives.models import Archive
from crm.archives.moving import Archived, Moving, noted

NAME = Archive.Table.LOGS.value
SETTING = "CRM_ARCHIVE_LOGS_DAYS"
CHANGED = "the file was written to since it was copied"


def move(moving: Moving, *, dry_run: bool = False) -> Archived:
    """Leave no rotated log that was last written before the retention, but as an archive.

    The file that a job writes to is none of them; nor is what other programs keep there.

    Raises: ArchiveRefused as for tables.
    """
    done = Archived(NAME, dry_run=dry_run)
    days = getattr(settings, SETTING)
    if not days:
        return done
    done.cut_at = cut_at = moving.now - timedelta(days=days)
    if dry_run:
        for path in logs.rotated(cut_at):
            done.windows[path.name] = sum(1 for _ in _records(path))
        done.moved = done.windows.total()
        return done
    with files.locked(NAME):
        for archive in Archive.objects.filter(table=NAME, state=Archive.State.DELETING).order_by("pk"):
            _delete(archive, moving, done)
        for path in logs.take_rotated(cut_at):
            if moving.is_over():
                done.finished = False
                return done
            written_at = datetime.fromtimestamp(int(path.stat().st_mtime), UTC)
            until = written_at + timedelta(seconds=1)
            about = {"table": NAME, "since": written_at.isoformat(), "until": until.isoformat(), "run": moving.key}
            written = files.write(f"{NAME}/{path.name.removesuffix(logs.TAKEN)}", 1, _records(path), about)
            _delete(noted(NAME, written_at, until, written, moving), moving, done)
    return done


def restore(archive: Archive, records: Iterator[dict[str, Any]], *, dry_run: bool) -> tuple[int, int]:
    """Write the log to the folder `restored` below CRM_LOG_DIR, byte for byte; give (lines, lines written)."""
    folder = Path(settings.CRM_LOG_DIR) / "restored"
    path = folder / _log_of(archive)
    texts = [_bytes(record) for record in records]
    if path.exists() and path.read_bytes() == b"".join(texts):
        return len(texts), 0
    if not dry_run:
        folder.mkdir(mode=0o750, exist_ok=True)
        draft = folder / f".draft-{path.name}"
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o640), "wb") as file:
            file.writelines(texts)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
        Archive.objects.filter(pk=archive.pk).update(out=0)
    return len(texts), len(texts)


def _delete(archive: Archive, moving: Moving, done: Archived) -> None:
    """Delete the log whose every line *archive* holds."""
    records = files.read(archive.name, sha256=archive.sha256, records=archive.records)
    path = Path(settings.CRM_LOG_DIR) / f"{_log_of(archive)}{logs.TAKEN}"
    done.archives.append(archive.name)
    out = archive.records
    if path.exists():
        with path.open("rb") as file:
            is_same = all(file.readline() == _bytes(record) for record in records) and not file.read(1)
        if is_same:
            path.unlink()
            done.moved += archive.records
        else:
            out = 0
            done.skipped[CHANGED] += 1
    Archive.objects.filter(pk=archive.pk).update(
        state=Archive.State.ARCHIVED, position=archive.records, out=out, finished_at=moving.now
    )


def _log_of(archive: Archive) -> str:
    return archive.name.removeprefix(f"{NAME}/").rpartition(".")[0]


def _records(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for line in file:
            yield {"line": line.decode(errors="surrogateescape")}


def _bytes(record: dict[str, Any]) -> bytes:
    return str(record["line"]).encode(errors="surrogateescape")
