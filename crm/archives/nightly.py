"""All that is old, one table after the other, for as long as there is time."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from crm.archives import log_files
from crm.archives.moving import Archived, Moving, budget_from, move
from crm.archives.tables import TABLES

NAMES = (*TABLES, log_files.NAME)


def archive_old(
    moving: Moving,
    *,
    budget: timedelta | None = timedelta(minutes=25),
    dry_run: bool = False,
    force: bool = False,
    names: Sequence[str] = NAMES,
) -> list[Archived]:
    """Archive what is older than its table's retention; what there was no time for is left to the next run.

    Args: *force* lifts the cap.
    Raises: ArchiveRefused; tables that come before the one it is about are done.
    """
    working = replace(moving, until=budget_from(budget, moving.clock))
    done = []
    for name in names:
        if name == log_files.NAME:
            done.append(log_files.move(working, dry_run=dry_run))
        else:
            done.append(move(TABLES[name], working, dry_run=dry_run, force=force))
    return done


def lines_of(done: Sequence[Archived]) -> list[str]:
    """Say what was done, or would be: a line for each table, for each file, and for each reason that kept something."""
    said = []
    for each in done:
        if each.cut_at is None:
            said.append(f"{each.table}: kept for ever.")
            continue
        verb, end = ("would move", ".") if each.dry_run else ("moved", f" to {len(each.archives)} archives.")
        said.append(f"{each.table}: {verb} {each.moved} records from before {each.cut_at:%Y-%m-%d}{end}")
        said += [f"  {window}: {number}" for window, number in each.windows.items()]
        said += [f"  {name}" for name in each.archives]
        said += [f"  kept {number}: {reason}" for reason, number in each.skipped.items() if number]
        if not each.finished:
            said.append("  The time for it is over; the rest goes at the next slot.")
    return said
