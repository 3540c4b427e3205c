"""Work: what an attempt's job reports of it, added up, and how far it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from crons.attempts import MOST_COUNTED, Counts, Progress
from crons.ledger.transactions import database_now, verb, writing
from crons.models import WorkReport

# Of a text with a number in it there are any number: what goes beyond these is counted together.
MOST_REASONS = 50
OTHER = "other reasons"


@verb
def add_counts(attempt: int, counts: Counts) -> None:
    """Add *counts* to those of *attempt*; within a caller's transaction they are committed with it."""
    with writing() as using:
        row = _locked(attempt, using)
        for name in ("examined", "changed", "failed"):
            more = getattr(counts, name)
            if more is not None:
                setattr(row, name, min((getattr(row, name) or 0) + more, MOST_COUNTED))
        row.skipped = _added(row.skipped, counts.skipped)
        row.save(using=using, update_fields=["examined", "changed", "failed", "skipped"])


@verb
def write_progress(attempt: int, progress: Progress) -> None:
    """Write down how far *attempt* is; within a caller's transaction others see it when that is committed."""
    now = database_now()
    with writing() as using:
        row = _locked(attempt, using)
        row.done, row.total, row.text, row.progress_at = progress.done, progress.total, progress.text, now
        row.save(using=using, update_fields=["done", "total", "text", "progress_at"])


def _locked(attempt: int, using: str) -> WorkReport:
    # Written before it is read: of a job's threads that report at once none overwrites the other's counts.
    WorkReport.objects.using(using).bulk_create([WorkReport(attempt_id=attempt)], ignore_conflicts=True)
    return WorkReport.objects.using(using).select_for_update().get(pk=attempt)


def _added(before: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    kept = Counter(before)
    for reason, count in more.items():
        has_room = len(kept.keys() - {OTHER}) < MOST_REASONS
        kept[reason if reason in kept or has_room else OTHER] += count
    return {reason: min(count, MOST_COUNTED) for reason, count in kept.items()}
