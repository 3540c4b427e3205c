"""What a job said of its work, in the words of people and as data."""

from __future__ import annotations

from typing import Any

from crons.attempts import Counts, Progress
from crons.models import Attempt, WorkReport
from crons.presentation.text import readable


def work_of(attempt: Attempt | None) -> WorkReport | None:
    """Return what the job of *attempt* said, if it said anything; a query unless the attempts were read with theirs."""
    return getattr(attempt, "work", None)


def counts_of(work: WorkReport | None) -> Counts:
    """Return the sums of what was reported."""
    return Counts() if work is None else Counts(work.examined, work.changed, work.failed, work.skipped)


def progress_of(work: WorkReport | None) -> Progress | None:
    """Return how far the job said it was; None if it never did."""
    return None if work is None or work.done is None else Progress(work.done, work.total, work.text)


def describe_work(work: WorkReport | None, *, briefly: bool = False) -> str:
    """Write what was reported: `1,200 examined, 37 changed, 4 skipped (3 no address, 1 opted out), 0 failed`.

    With *briefly* the reasons are left out.
    """
    counts = counts_of(work)
    told = []
    if counts.examined is not None:
        told.append(f"{counts.examined:,} examined")
    if counts.changed is not None:
        told.append(f"{counts.changed:,} changed")
    if counts.skipped:
        reasons = sorted(counts.skipped.items(), key=lambda item: (-item[1], item[0]))
        why = ", ".join(f"{count:,} {readable(reason)}" for reason, count in reasons)
        told.append(f"{sum(counts.skipped.values()):,} skipped" + ("" if briefly else f" ({why})"))
    if counts.failed is not None:
        told.append(f"{counts.failed:,} failed")
    return ", ".join(told)


def describe_progress(progress: Progress | None) -> str:
    """Write how far a job is: `4,900 of 10,000 (49 %): customers`."""
    if progress is None:
        return ""
    told = f"{progress.done:,}"
    if progress.total is not None:
        told += f" of {progress.total:,}"
        if progress.total:
            told += f" ({progress.done * 100 // progress.total} %)"
    return f"{told}: {readable(progress.text)}" if progress.text else told


def work_as_json(work: WorkReport | None) -> dict[str, Any] | None:
    """Return what the job said as data; None if it said nothing."""
    if work is None:
        return None
    names = ("examined", "changed", "failed", "skipped", "done", "total", "text", "progress_at")
    return {name: getattr(work, name) for name in names}
