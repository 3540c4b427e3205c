"""What is put on a schedule is a task; what tasks there are is in tests/contrib."""

from __future__ import annotations

import pytest

from crons.exceptions import InvalidJob
from crons.extensions import extensions
from crons.jobs import schedule
from crons.schedules import cron


def test_what_is_no_task_is_refused_with_what_to_write(empty_registry):
    """A function has its own decorator."""
    with pytest.raises(InvalidJob) as refused:
        schedule(len, cron("0 6 * * MON"))

    kinds = " or ".join(sorted(each.task_kind for each in extensions() if each.task_kind))
    assert str(refused.value) == (
        f"schedule(<built-in function len>): expected a task {kinds}. "
        "For a function of your own: @job(cron(…)); for one of others: job(cron(…), name='…')(function)."
    )
