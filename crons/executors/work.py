"""What a job says of its work, besides what it prints: counts, and how far it is."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

from crons.attempts import MOST_COUNTED, Counts, Progress


class Work:
    """Keeps what a job says where no attempt is recorded, as in a project's own tests."""

    def __init__(self) -> None:
        self.counts = Counts()
        self.progress: Progress | None = None

    def report(self, counts: Counts) -> None:
        """Add *counts* to those of before."""
        self.counts += counts

    def show(self, progress: Progress) -> None:
        """Take in how far the job is."""
        self.progress = progress


def counted(
    *, examined: int | None, changed: int | None, skipped: Mapping[str, int] | None, failed: int | None
) -> Counts:
    """Check what a job reports.

    Raises: TypeError, ValueError.
    """
    if examined is None and changed is None and failed is None and skipped is None:
        raise TypeError(
            "context.report() was given nothing; expected at least one of examined=, changed=, skipped=, failed="
        )
    if not isinstance(skipped, Mapping | None):
        raise TypeError(f"context.report(skipped={skipped!r}): expected counts by reason, such as {{'no address': 3}}")
    by_reason = {}
    for reason, count in (skipped or {}).items():
        if not isinstance(reason, str) or not reason.strip():
            raise TypeError(
                f"context.report(skipped={{{reason!r}: …}}): expected a reason in words, such as 'no address'"
            )
        by_reason[reason] = _count(f"context.report(skipped={{{reason!r}: {count!r}}})", count)
    numbers = {"examined": examined, "changed": changed, "failed": failed}
    checked = {
        name: None if number is None else _count(f"context.report({name}={number!r})", number)
        for name, number in numbers.items()
    }
    return Counts(**checked, skipped=by_reason)


def measured(done: int, total: int | None, text: str) -> Progress:
    """Check how far a job says it is.

    Raises: TypeError, ValueError.
    """
    of = None if total is None else _count(f"context.progress(total={total!r})", total)
    return Progress(_count(f"context.progress({done!r})", done), of, str(text))


def _count(given: str, number: Any) -> int:
    try:
        if isinstance(number, bool):
            raise TypeError
        count = operator.index(number)
    except TypeError:
        raise TypeError(f"{given}: expected a whole number") from None
    if not 0 <= count <= MOST_COUNTED:
        raise ValueError(f"{given}: expected a whole number from 0 to {MOST_COUNTED:,}")
    return count
