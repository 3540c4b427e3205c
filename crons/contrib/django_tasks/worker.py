"""What workers of Django's Tasks framework import when a message of the executor tasks reaches them.

It needs the framework; a project without it never imports this.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone

from crons.contrib.django_tasks import executor as tasks
from crons.side_output import get_log
from crons.triggers import worker

log = get_log("crons")
# Two projects that share a queue take each other's messages; each is put back for the other.
FOREIGN_PAUSE = timedelta(seconds=1)
FOREIGN_TIMES = 20


@tasks.receiver
def run(context: Any, run: int, deployment: str, *, executor: str = "tasks", foreign: int = 0, **later: Any) -> str:
    """Begin the run that the message names, if it is still to be begun; what a newer release adds is ignored."""
    arrived = worker.take(run, deployment, executor=executor)
    log.info("%s: %s", arrived.fate, arrived.text)
    if arrived.fate == worker.Fate.FOREIGN:
        _put_back(context.task_result.task, run, deployment, executor, foreign, arrived.text)
    return f"{arrived.fate}: {arrived.text}"


def _put_back(task: Any, run: int, deployment: str, executor: str, foreign: int, text: str) -> None:
    if not 0 <= foreign < FOREIGN_TIMES:
        told = "%s, and nobody of it takes it from this queue. Give each project a queue of its own."
        log.error(told, text, extra={"event": "message.foreign"})
        return
    if task.get_backend().supports_defer:
        task = task.using(run_after=timezone.now() + FOREIGN_PAUSE)
    task.enqueue(run, deployment, executor=executor, foreign=foreign + 1)
