"""What there is for Celery and its beat."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from crons.extensions import Extension, ExternalTask

if TYPE_CHECKING:
    from crons.doctor.findings import Finding
    from crons.targets.base import Target


class CeleryExtension(Extension):
    """Its workers run jobs, its beat fires them, and its tasks can be jobs."""

    executors = {"celery": "crons.contrib.celery.executor.CelerySender"}
    task_kind = "of Celery"

    def load_checks(self) -> None:
        """Register what is checked of jobs that Celery runs."""
        import crons.contrib.celery.checks  # noqa: F401

    def load_worker_tasks(self) -> None:
        """Import the tasks that our messages name, where Celery is there."""
        if find_spec("celery"):
            import crons.contrib.celery.tasks  # noqa: F401

    def targets(self) -> Iterable[type[Target]]:
        """Return the rows of django-celery-beat."""
        from crons.contrib.celery.beat.target import BeatTarget

        return (BeatTarget,)

    def read_task(self, task: Any, policies: Collection[str]) -> ExternalTask | None:
        """Return what a job takes over of a Celery task."""
        from crons.contrib.celery import external_tasks

        return external_tasks.read(task, policies)

    def examine(self) -> tuple[Iterable[Finding], bool]:
        """Say whether beat fires our rows."""
        from crons.contrib.celery.beat import doctor

        return doctor.examine()


EXTENSION = CeleryExtension()
