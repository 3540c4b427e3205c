"""What tests of tasks on a schedule share: how one is refused, and how its job is run."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from crons.exceptions import InvalidJob
from crons.executors.runner import Context, call
from crons.jobs import Job, schedule
from crons.schedules import cron
from crons.verdicts import Ending

MONDAYS = cron("0 6 * * MON")
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def refusal(task: Any, **options: Any) -> str:
    """Return why *task* cannot be put on a schedule."""
    with pytest.raises(InvalidJob) as refused:
        schedule(task, MONDAYS, **options)
    return str(refused.value)


def run(job: Job, **args: Any) -> Ending:
    """Return how a call of *job* in this process ends."""
    return call(job.body, Context("e", "j", "k", 1, 1, "slot", "test", NOON, NOON, args=args))
