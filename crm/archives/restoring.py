"""Bringing archives back: the file is checked whole before its first row is written, and a row that is there stays."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F

from crm.archives import files, log_files
from crm.archives.files import ArchiveRefused, encoded
from crm.archives.models import Archive
from crm.archives.moving import Moving
from crm.archives.tables import HELD, RESTORABLE, Table

THERE = "there already"
OTHER = "another row has its id"
BREAKS = "breaks a rule of the table"


@dataclass
class Restored:
    """What came back of one archive; in a dry run, what would."""

    archive: str
    examined: int = 0
    restored: int = 0
    skipped: Counter[str] = field(default_factory=Counter)


def named(name: str) -> list[Archive]:
    """Give the archives that *name* means: one, such as orders/2023-04.1, or all of a window, such as orders/2023-04.

    Raises: ArchiveRefused where there is none.
    """
    rows = list(Archive.objects.filter(name=name)) or list(
        Archive.objects.filter(name__startswith=f"{name}.").order_by("pk")
    )
    if not rows:
        newest = Archive.objects.order_by("-pk").first()
        example = f"The newest is {newest.name}." if newest else "Nothing has been archived yet."
        raise ArchiveRefused(
            f"There is no archive {name!r}. {example} Nothing was restored. Give a name or a window, as "
            "manage.py restore_archive --list shows them."
        )
    return rows


def restore(
    archive: Archive, moving: Moving, *, only: Collection[int] | None = None, dry_run: bool = False
) -> Restored:
    """Write what *archive* holds back to where it was; twice is the same as once, and so is again after a kill.

    What is there already stays as it is. For HELD the archiving leaves the window alone.

    Args: *only* restores the records with these ids, such as one customer's.
    Raises: ArchiveRefused for a file that is missing or damaged, before anything is written.
    Cost: flat memory; each batch is one short transaction.
    """
    done = Restored(archive.name)
    if dry_run:
        _bring_back(archive, moving, done, only, dry_run=True)
        return done
    with files.locked(archive.table):
        archive.refresh_from_db()
        files.check(archive.name, sha256=archive.sha256, records=archive.records)
        if archive.state == Archive.State.DELETING:
            raise ArchiveRefused(
                f"The archive {archive} is still being made: {archive.position} of {archive.records} records are "
                "through. Nothing was restored. Let the job that makes it end first, or run it: "
                f"manage.py {'clean_inactive_customers' if archive.table == 'customers' else 'archive_old_records'}"
            )
        # First, so that a night between two attempts does not take away what has come back.
        Archive.objects.filter(pk=archive.pk).update(held_until=moving.now + HELD)
        _bring_back(archive, moving, done, only)
        if only is None:
            Archive.objects.filter(pk=archive.pk).update(state=Archive.State.RESTORED, restored_at=moving.now)
    return done


def _bring_back(
    archive: Archive, moving: Moving, done: Restored, only: Collection[int] | None, *, dry_run: bool = False
) -> None:
    records = files.read(archive.name, sha256=archive.sha256, records=archive.records)
    if archive.table == Archive.Table.LOGS:
        done.examined, done.restored = log_files.restore(archive, records, dry_run=dry_run)
        done.skipped[THERE] += done.examined - done.restored
        return
    table = RESTORABLE[archive.table]
    if only is not None:
        records = (record for record in records if table.id_of(record) in only)
    while batch := list(islice(records, moving.batch_size)):
        with transaction.atomic():
            back = _restorable(table, batch, done)
            if not dry_run:
                back = _insert(table, back, done)
                table.restored(back, now=moving.now)
                out, cents = len(back), sum(map(table.cents, back))
                Archive.objects.filter(pk=archive.pk).update(out=F("out") - out, cents_out=F("cents_out") - cents)
        done.examined += len(batch)
        done.restored += len(back)
        moving.on_progress(done.examined, archive.records)


def _restorable(table: Table, batch: list[dict[str, Any]], done: Restored) -> list[dict[str, Any]]:
    """Give those of *batch* that are not there and have all they need; count the others by reason."""
    rows = list(table.rows().filter(pk__in=[table.id_of(record) for record in batch]))
    there = dict(zip((row.pk for row in rows), table.records(rows), strict=True))
    missing = table.missing(batch)
    back = []
    for record in batch:
        pk = table.id_of(record)
        if pk in there:
            done.skipped[THERE if encoded(there[pk]) == encoded(record) else OTHER] += 1
        elif pk in missing:
            done.skipped[missing[pk]] += 1
        else:
            back.append(record)
    return back


def _insert(table: Table, records: list[dict[str, Any]], done: Restored) -> list[dict[str, Any]]:
    """Write *records*; where one breaks a rule of the table, all others are written one by one. Give those written."""
    try:
        with transaction.atomic():
            table.insert(records)
            return records
    except IntegrityError:
        written = []
        for record in records:
            try:
                with transaction.atomic():
                    table.insert([record])
                    written.append(record)
            except IntegrityError:
                done.skipped[BREAKS] += 1
        return written
