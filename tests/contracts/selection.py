"""Which executors a test runs on: by what each of them promises."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from crons.executors.base import Executor
from crons.executors.inline import InlineExecutor
from crons.executors.process.executor import ProcessExecutor
from tests.contracts import promises

# Those of this process; the others are a worker away.
EXECUTORS: dict[str, type[Executor]] = {"inline": InlineExecutor, "process": ProcessExecutor}
# What a job does to its process has nothing to do with the database: its workers are tried on one.
_ELSEWHERE = {"celery": [pytest.mark.needs("redis-server"), pytest.mark.sqlite], "tasks": [pytest.mark.sqlite]}


def of(aliases: Iterable[str]) -> pytest.MarkDecorator:
    """Test these executors."""
    return pytest.mark.parametrize("alias", [pytest.param(each, marks=_ELSEWHERE.get(each, ())) for each in aliases])


def those_that(*promised: str) -> pytest.MarkDecorator:
    """Test the executors that promise as much."""
    return of(promises.that(*promised))


all_executors = of(promises.EXECUTORS)
# What patches the executor's own process, or calls what only an object in this process has.
executors_here = of(EXECUTORS)
processes_here = of(["process"])
