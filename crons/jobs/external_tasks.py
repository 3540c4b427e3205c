"""Tasks that others declared, taken over as jobs by schedule(…): each system that has tasks reads its own."""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import Any

from crons.exceptions import InvalidJob
from crons.extensions import ExternalTask, extensions


def read(task: Any, policies: Collection[str]) -> ExternalTask:
    """Read what *task* is; *policies* are those that its job declares.

    Raises: InvalidJob where it is no task, or calling its function is not what its system would have done.
    """
    for each in extensions():
        found = each.read_task(task, policies)
        if found is not None:
            return found
    kinds = " or ".join(each.task_kind for each in extensions() if each.task_kind)
    raise InvalidJob(
        f"schedule({task!r}): expected a task {kinds}. "
        "For a function of your own: @job(cron(…)); for one of others: job(cron(…), name='…')(function)."
    )


def is_uncallable(function: Any) -> bool:
    """Say whether *function* is a task, which @job above @task has been given instead of the function."""
    return any(each.is_uncallable(function) for each in extensions())


def is_instance_of(task: Any, kinds: Collection[tuple[str, str]]) -> bool:
    """Say whether *task* is of one of *kinds*, (module, class); a module that is not imported has made no task."""
    found = [getattr(sys.modules[module], name) for module, name in kinds if module in sys.modules]
    return isinstance(task, tuple(found))
