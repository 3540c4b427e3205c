"""The pytest plugin: schedulers are off during the suite, and fixtures for tests of scheduled jobs.

pytest loads it before Django has settings, also in projects that have nothing to do with crons:
nothing is imported here that needs them, and without a fixture of ours nothing else happens.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from crons.hosts import in_tests

if TYPE_CHECKING:
    from crons.jobs import Registry
    from crons.testing.clock import Clock

_BEFORE = pytest.StashKey[str | None]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Know the setting crons_schedulers."""
    parser.addini("crons_schedulers", "let serve, tick and run of crons work in all tests", "bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """Switch the schedulers off, unless the project's configuration wants them in all tests."""
    config.stash[_BEFORE] = os.environ.get(in_tests.VARIABLE)
    if config.getini("crons_schedulers"):
        os.environ[in_tests.VARIABLE] = "0"
    else:
        in_tests.mark()


def pytest_sessionstart() -> None:
    """Refuse to begin where a module that declares cannot be imported: its jobs would be missing, and nothing red."""
    jobs = sys.modules.get("crons.jobs")
    if jobs is None or not _are_apps_ready():
        return
    from crons.checks.asking import carefully
    from crons.sources.code import names_crons

    with carefully():
        broken = jobs.registry.broken
    for module, why in broken.items():
        if names_crons(module):
            raise pytest.UsageError(f"{module} cannot be imported: {why}. See: manage.py check")


def _are_apps_ready() -> bool:
    apps = sys.modules.get("django.apps")
    return bool(apps and apps.apps.ready and apps.apps.is_installed("crons"))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave the environment as it was."""
    before = config.stash.get(_BEFORE, None)
    if before is None:
        os.environ.pop(in_tests.VARIABLE, None)
    else:
        os.environ[in_tests.VARIABLE] = before


@pytest.fixture
def crons_clock() -> Iterator[Clock]:
    """Let the time of the schedule stand still; `crons_clock.move_to("2026-03-29T01:59+01:00")` moves it."""
    from crons.testing import clock

    with clock.at() as stopped:
        yield stopped


@pytest.fixture
def crons_sandbox() -> Iterator[Registry]:
    """Nothing is declared; what the test declares is forgotten after it."""
    from crons.testing import sandbox

    with sandbox() as registry:
        yield registry


@pytest.fixture
def crons_schedulers() -> Iterator[None]:
    """Let serve, tick and run work in this test, and in the processes that it starts."""
    with in_tests.schedulers():
        yield
