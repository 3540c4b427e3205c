"""Hosts of each executor, and what tests wait on; scheduler and workers are started once, when first needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_django.plugin import DjangoDbBlocker

from crons.executors.process import hosted
from crons.jobs import Job, registry
from crons.verdicts import Outcome
from tests.contracts import promises
from tests.contracts.hosting import PATIENCE_SECONDS, Gate, Host, Trail, hidden_connections
from tests.contracts.jobs_under_test import BODIES, spare_what_is_open
from tests.contracts.selection import EXECUTORS
from tests.contracts.workers import Station, WorkerHost

OPTIONS = {"process": {"max_running": 2, "kill_wait_seconds": 0.3}}


@pytest.fixture(scope="session")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    """One for each process of the test run."""
    made = Station(tmp_path_factory.mktemp("station"))
    yield made
    made.close()


@pytest.fixture
def make_host(
    monkeypatch: pytest.MonkeyPatch, django_db_blocker: DjangoDbBlocker, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Host]]:
    """Prepares a host; after the test its executor must run one more attempt well, and be closed."""
    monkeypatch.setattr(registry, "jobs", {name: Job(name, each) for name, each in BODIES.items()})
    # On a busy machine a fork may take longer than a scheduler waits: the attempt would be refused, and not tried.
    monkeypatch.setattr(hosted, "START_PATIENCE_SECONDS", PATIENCE_SECONDS)
    hosts: list[Any] = []

    def make(alias: str, **options: object) -> Host:
        if alias in promises.ELSEWHERE:
            hosts.append(WorkerHost(alias, request.getfixturevalue("station")))
            return hosts[-1]
        spare_what_is_open()
        host = Host(EXECUTORS[alias](alias=alias, **{**OPTIONS.get(alias, {}), **options}))
        with hidden_connections(), django_db_blocker.unblock():
            host.executor.prepare()
        hosts.append(host)
        return host

    yield make
    try:
        for host in hosts:
            if not host.is_broken:
                assert host.run("noop").outcome == Outcome.SUCCEEDED, "the executor does not go on"
                assert host.running() == frozenset()
    finally:
        for host in hosts:
            host.close()


@pytest.fixture
def host(alias: str, make_host: Callable[[str], Host]) -> Host:
    """A host of the executor *alias*."""
    return make_host(alias)


@pytest.fixture
def trail(tmp_path: Path) -> Iterator[Trail]:
    """A named pipe that shows which of a job's processes live."""
    trail = Trail(tmp_path / "trail")
    yield trail
    trail.close()


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """A named pipe that a job waits at."""
    return Gate(tmp_path / "gate")
