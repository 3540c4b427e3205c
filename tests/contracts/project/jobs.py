"""Declares each body of jobs_under_test as a job of its name, and gives a busy machine time."""

import os
from pathlib import Path

from crons.executors.process import hosted
from crons.jobs import Job, registry
from tests.contracts.hosting import PATIENCE_SECONDS
from tests.contracts.jobs_under_test import BODIES
from tests.contracts.project import dying

# On a busy machine a fork may take longer than a worker waits: the attempt would be refused, and not tried.
hosted.START_PATIENCE_SECONDS = PATIENCE_SECONDS

for _name, _body in BODIES.items():
    registry.add(Job(_name, _body))

if file := os.environ.get("CONTRACT_DYING_FILE"):
    dying.arm(Path(file))
