"""Moving old rows to files: copied, read back, then deleted batch by batch, where each is still what was copied."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain, groupby, islice
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from crm.archives import files
from crm.archives.files import ArchiveRefused
from crm.archives.models import Archive
from crm.archives.tables import Table, after

CHANGED = "changed since it was copied"
GONE = "deleted by somebody else meanwhile"
RESTORED = "restored, and held"
# So much work an attempt that is killed may have to do again.
MOST_RECORDS = 50_000
# A share says nothing about a handful.
_SHARE_COUNTS_FROM = 1_000


class TooManyRecords(ArchiveRefused):
    """More of a table would go than one run may take; nothing of it was archived."""


@dataclass
class Archived:
    """What was done to a table: *moved* records are in *archives* and out of it; *finished* unless time was over.

    In a dry run *moved* counts those that would be, by window in *windows*.
    """

    table: str
    moved: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    archives: list[str] = field(default_factory=list)
    windows: Counter[str] = field(default_factory=Counter)
    cut_at: datetime | None = None
    finished: bool = True
    dry_run: bool = False


@dataclass(frozen=True)
class Moving:
    """How an attempt works: as whom, for how long, in which steps, and who is told."""

    now: datetime
    run: int | None = None
    key: str = ""
    until: float | None = None
    batch_size: int = 500
    most: int = MOST_RECORDS
    clock: Callable[[], float] = time.monotonic
    atomic: Callable[[], AbstractContextManager[Any]] = transaction.atomic
    on_progress: Callable[[int, int | None], None] = lambda done, of: None

    def is_over(self) -> bool:
        """Say whether the time for it is."""
        return self.until is not None and self.clock() >= self.until


def move(table: Table, moving: Moving, *, dry_run: bool = False, force: bool = False) -> Archived:
    """Leave no row of *table* that is older than its retention, but in archives; what an attempt began is ended first.

    An archive holds what happened in one calendar month of the business's zone. Rows that something keeps stay, and
    are counted by reason.

    Args: *force* lifts the cap.
    Raises: ArchiveRefused where more of the table would go than CRM_ARCHIVE_MAX_SHARE allows (a dry run raises it as
        well), somebody else is at it, the disk is full or a file is damaged.
    Cost: flat memory; each batch is one short transaction of a constant number of statements.
    """
    done = Archived(table.name, dry_run=dry_run)
    if table.kept_for is None:
        return done
    done.cut_at = cut_at = moving.now - table.kept_for
    if not force:
        _refuse_too_many(table, cut_at)
    if dry_run:
        for at, _ in _due(table, cut_at, moving, done):
            done.moved += 1
            done.windows[_month_of(at)] += 1
        return done
    with files.locked(table.name):
        finish(table, moving, done)
        for month, due in groupby(_due(table, cut_at, moving, done), key=lambda each: _month_of(each[0])):
            while (first := next(due, None)) is not None:
                if moving.is_over():
                    done.finished = False
                    return done
                records = (record for _, record in chain([first], islice(due, moving.most - 1)))
                since, until = window_of(month, _zone())
                delete(table, copy(table, month, (since, min(until, cut_at)), records, moving), moving, done)
    return done


def finish(table: Table, moving: Moving, done: Archived) -> None:
    """Delete what killed attempts have copied and not yet deleted."""
    for begun in Archive.objects.filter(table=table.name, state=Archive.State.DELETING).order_by("pk"):
        delete(table, begun, moving, done)


def window_of(month: str, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Give the half-open window of *month*, such as 2023-04, as it is read in *zone*."""
    year, number = int(month[:4]), int(month[5:])
    since = datetime(year, number, 1, tzinfo=zone)
    until = datetime(year + number // 12, number % 12 + 1, 1, tzinfo=zone)
    return since.astimezone(UTC), until.astimezone(UTC)


def noted(table: str, since: datetime, until: datetime, written: files.Written, moving: Moving) -> Archive:
    """Make the row of an archive whose file stands whole on the disk."""
    return Archive.objects.create(
        name=written.name, table=table, since=since, until=until, records=written.records, rows=written.rows,
        sha256=written.sha256, size_bytes=written.size_bytes, run=moving.run, run_key=moving.key,
        created_at=moving.now,
    )  # fmt: skip


def _zone() -> ZoneInfo:
    return ZoneInfo(settings.TIME_ZONE)


def _month_of(at: datetime) -> str:
    return f"{at.astimezone(_zone()):%Y-%m}"


def _due(table: Table, cut_at: datetime, moving: Moving, done: Archived) -> Iterator[tuple[datetime, dict[str, Any]]]:
    """Give moment and record of each row before *cut_at* that nothing keeps, the oldest first; count the others."""
    held = Q()
    restored = Archive.objects.filter(table=table.name, held_until__gt=moving.now)
    for since, until in restored.values_list("since", "until"):
        held |= Q(**{f"{table.at}__gte": since, f"{table.at}__lt": until})
    aged = table.rows().filter(**{f"{table.at}__lt": cut_at})
    if held:
        done.skipped[RESTORED] += aged.filter(held).count()
        aged = aged.exclude(held)
    key = None
    while rows := list(after(aged, table.at, key)[: moving.batch_size]):
        keeping = table.keeping(rows)
        done.skipped.update(keeping.values())
        for row, record in zip(rows, table.records(rows), strict=True):
            if row.pk not in keeping:
                yield getattr(row, table.at), record
        key = (getattr(rows[-1], table.at), rows[-1].pk)


def copy(
    table: Table, name: str, window: tuple[datetime, datetime], records: Iterable[dict[str, Any]], moving: Moving
) -> Archive:
    """Write the next archive of *name*, and note it; nothing is deleted yet. The caller has the table's lock."""
    since, until = window
    about = {"table": table.name, "since": since.isoformat(), "until": until.isoformat(), "run": moving.key}
    used = Archive.objects.filter(name__startswith=f"{table.name}/{name}.").values_list("name", flat=True)
    part = 1 + max((int(each.rpartition(".")[2]) for each in used), default=0)
    written = files.write(f"{table.name}/{name}", part, records, about)
    return noted(table.name, since, until, written, moving)


def delete(table: Table, archive: Archive, moving: Moving, done: Archived) -> None:
    """Delete what *archive* holds, from where an earlier attempt stopped, where it is still as it was copied."""
    records = files.read(archive.name, sha256=archive.sha256, records=archive.records)
    rest = islice(records, archive.position, None)
    done.archives.append(archive.name)
    while batch := list(islice(rest, moving.batch_size)):
        if moving.is_over():
            done.finished = False
            return
        with moving.atomic():
            archive = _claimed(archive)
            gone, kept = _delete_batch(table, batch, archive.name)
            archive.position += len(batch)
            archive.out += len(gone)
            archive.cents_out += sum(map(table.cents, gone))
            archive.kept = dict(Counter(archive.kept) + kept)
            archive.save(update_fields=["position", "out", "cents_out", "kept"])
        done.moved += len(gone)
        done.skipped += kept
        moving.on_progress(done.moved, None)
    Archive.objects.filter(pk=archive.pk, state=Archive.State.DELETING).update(
        state=Archive.State.ARCHIVED, finished_at=moving.now
    )


def _claimed(archive: Archive) -> Archive:
    """Lock the row of *archive*, and see that nobody else has gone on with it, such as another host."""
    row = Archive.objects.select_for_update().get(pk=archive.pk)
    if (row.position, row.state) != (archive.position, Archive.State.DELETING):
        raise ArchiveRefused(f"Somebody else goes on with the archive {archive} now. Run this again afterwards.")
    return row


def _delete_batch(table: Table, batch: list[dict[str, Any]], archive: str) -> tuple[list[dict[str, Any]], Counter[str]]:
    """Delete the rows of *batch* that are as they were copied; give their records, and why the others stay."""
    copied = {table.id_of(record): record for record in batch}
    # Locked first, then read: what is compared is what is deleted.
    rows = list(table.rows().filter(pk__in=copied).order_by("pk").select_for_update())
    keeping = table.keeping(rows)
    found = dict(zip((row.pk for row in rows), table.records(rows), strict=True))
    kept: Counter[str] = Counter()
    gone = []
    for pk, record in copied.items():
        if pk not in found:
            kept[GONE] += 1
        elif pk in keeping:
            kept[keeping[pk]] += 1
        elif files.encoded(found[pk]) != files.encoded(record):
            kept[CHANGED] += 1
        else:
            gone.append(record)
    table.delete([table.id_of(record) for record in gone], archive)
    return gone, kept


def _refuse_too_many(table: Table, cut_at: datetime) -> None:
    aged = table.model._default_manager.filter(**{f"{table.at}__lt": cut_at}).order_by().count()
    if aged < _SHARE_COUNTS_FROM:
        return
    every, share = table.model._default_manager.order_by().count(), settings.CRM_ARCHIVE_MAX_SHARE
    if aged > every * share:
        raise TooManyRecords(
            f"{aged} of {every} {table.name} are older than {cut_at:%Y-%m-%d}, but one run may archive at most "
            f"{share:.0%} of them (CRM_ARCHIVE_MAX_SHARE). Nothing was archived. Check for a wrong clock or a wrong "
            f"{table.setting}; if this is meant, run manage.py archive_old_records --force"
        )


def budget_from(length: timedelta | None, clock: Callable[[], float] = time.monotonic) -> float | None:
    """Give the reading of *clock* at which *length* from now is over."""
    return None if length is None else clock() + length.total_seconds()
