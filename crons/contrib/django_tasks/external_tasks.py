"""Tasks of Django's framework as jobs: what of them a job takes over, and what it cannot.

Nothing is imported for this: whoever has such a task has the framework already.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from crons.exceptions import InvalidJob
from crons.extensions import ExternalTask
from crons.jobs import is_instance_of

TASK = (("django.tasks.base", "Task"), ("django_tasks.base", "Task"))


def is_task(found: Any) -> bool:
    """Say whether this is a task: it can be enqueued, and nobody can call it."""
    return is_instance_of(found, TASK)


def read(task: Any, policies: Collection[str]) -> ExternalTask | None:
    """Read what *task* is; None if it is none of the framework's."""
    return _read(task, policies) if is_task(task) else None


def _read(task: Any, policies: Collection[str]) -> ExternalTask:
    name = task.name
    if task.takes_context:
        raise InvalidJob(
            f"{name}: takes_context=True asks for a TaskContext with a result, which a run of crons has none of. "
            "Move its body to a function of its own, call that from the task, and declare it with @job."
        )
    if task.run_after is not None:
        raise InvalidJob(f"{name}: run_after={task.run_after}: its schedule says when. Give the task without it.")
    if task.backend != "default" and "executor" not in policies:
        raise InvalidJob(
            f"{name} goes to the backend {task.backend!r}: say executor='…', with an executor in CRONS['EXECUTORS'] "
            f"whose OPTIONS are {{'backend': {task.backend!r}}}."
        )
    route = {"queue": task.queue_name if task.queue_name != "default" else "", "priority": task.priority}
    return ExternalTask(task.func, "tasks", {key: value for key, value in route.items() if value})
