"""Declares each body of jobs_under_test as a job of its name, and gives a busy machine time."""

import os
from pathlib import Path
from typing import Any

from crons.executors.process import hosted, supervisor
from crons.jobs import Job, registry
from tests.contracts.hosting import PATIENCE_SECONDS
from tests.contracts.jobs_under_test import BODIES, END_AT_SIGTERM
from tests.contracts.project import dying

# On a busy machine a fork may take longer than a worker waits: the attempt would be refused, and not tried.
hosted.START_PATIENCE_SECONDS = PATIENCE_SECONDS


class Watch(supervisor.Watch):
    """Waits for a job that ends at SIGTERM, however long a busy machine takes; others are killed after two seconds."""

    def __init__(self, pid: int, command: Any, report: Any, oom_kills: int | None, kill_wait_seconds: float) -> None:
        if command["start"]["job"] in END_AT_SIGTERM:
            kill_wait_seconds = PATIENCE_SECONDS
        super().__init__(pid, command, report, oom_kills, kill_wait_seconds)


supervisor.Watch = Watch  # type: ignore[misc] # supervisors are forked from the worker, which has imported this

for _name, _body in BODIES.items():
    registry.add(Job(_name, _body))

if file := os.environ.get("CONTRACT_DYING_FILE"):
    dying.arm(Path(file))
