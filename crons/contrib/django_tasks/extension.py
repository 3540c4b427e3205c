"""What there is for Django's Tasks framework."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from crons.extensions import Extension, ExternalTask


class DjangoTasksExtension(Extension):
    """Its workers run jobs, and its tasks can be jobs."""

    executors = {"tasks": "crons.contrib.django_tasks.executor.TasksSender"}
    task_kind = "of Django's Tasks framework"

    def read_task(self, task: Any, policies: Collection[str]) -> ExternalTask | None:
        """Return what a job takes over of a task."""
        from crons.contrib.django_tasks import external_tasks

        return external_tasks.read(task, policies)

    def is_uncallable(self, function: Any) -> bool:
        """Say whether it is a task: such an object can only be enqueued."""
        from crons.contrib.django_tasks import external_tasks

        return external_tasks.is_task(function)


EXTENSION = DjangoTasksExtension()
