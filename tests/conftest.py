"""What all tests share: databases, Debian packages, and a look at what a run leaves behind."""

import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import hypothesis
import pytest
from django.conf import settings
from django.test import SimpleTestCase

from tests import databases, leftovers, run

pytest_plugins = ["crons.pytest_plugin"]
# A busy machine is no reason to fail.
hypothesis.settings.register_profile("crons", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("crons")

# Debian package → the command that proves it is there.
_COMMANDS = {
    "chromium": "chromium",
    "cron": "cron",
    "faketime": "faketime",
    "nodejs": "node",
    "rabbitmq-server": "rabbitmq-server",
    "redis-server": "redis-server",
    "systemd": "systemd-analyze",
}
_REASON = "needs Debian package "
_DATABASE_FIXTURES = frozenset({"db", "transactional_db", "own_database", "live_server", "station"})
_LEFT_BEHIND = pytest.StashKey[dict[int, str]]()
# A slow test that does not say how long it takes.
_USUAL_SECONDS = 10
# Their tests mostly wait for processes that they have started.
_WAITING = ("acceptance", "contracts", "deploy")
# Children that were told to end may need a moment.
_PATIENCE_SECONDS = 30.0


@pytest.fixture
def own_database(tmp_path: Path) -> Iterator[databases.OwnDatabase]:
    """A database of this test's own, for subprocesses: .url, .env, .vendor, .migrate(), .manage(…)."""
    with databases.own_database(tmp_path) as database:
        yield database


def pytest_addoption(parser: pytest.Parser) -> None:
    """Know what scripts/test.sh says where each test shall run once."""
    parser.addoption("--rest", action="store_true", help="on SQLite: only the tests that the PostgreSQL leg leaves out")
    parser.addoption(
        "--also", action="append", default=[], metavar="PATH", help="on a leg of its own share: all tests of PATH"
    )


def pytest_configure() -> None:
    """Have Ctrl-C and a hang-up reach what the tests start: a shell in the background, or nohup, has them ignored."""
    for number, default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, default)


@pytest.hookimpl(trylast=True)  # after -m
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what the database at hand makes pointless, and what another leg runs; start the longest first."""
    on_postgres = settings.DATABASES["default"]["ENGINE"].endswith("postgresql")
    # By hand, DATABASE_URL alone runs everything there.
    is_leg = os.environ.get("CRONS_TEST_DATABASE") == "postgres" if on_postgres else config.getoption("--rest")
    whole = tuple(config.rootpath / path for path in config.getoption("--also"))
    kept, left_out = [], []
    for item in items:
        shares = bool(is_leg) and not any(item.path.is_relative_to(path) for path in whole)
        (kept if is_wanted(item, on_postgres=on_postgres, shares=shares) else left_out).append(item)
        _must_be_found(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    items[:] = dealt_out(kept, workers) if all(map(_seconds, kept)) else spread(kept, workers)


def is_wanted(item: pytest.Item, *, on_postgres: bool, shares: bool) -> bool:
    """Say whether *item* runs on the database at hand; with *shares* the two run no test both."""
    if item.get_closest_marker("sqlite" if on_postgres else "postgres"):
        return False
    return not shares or on_postgres == (_touches_database(item) and not item.get_closest_marker("sqlite"))


def dealt_out(items: list[pytest.Item], workers: int) -> list[pytest.Item]:
    """Return *items* so that each of *workers* begins with one of the longest.

    `--dist worksteal` gives each worker a stretch of the list. With the longest at its end, a run of the slow tests
    waited two minutes for that one alone.
    """
    by_length = sorted(items, key=_seconds, reverse=True)
    return [item for first in range(workers) for item in by_length[first::workers]]


def spread(items: list[pytest.Item], workers: int) -> list[pytest.Item]:
    """Return *items* so that half of *workers* begins with those that wait, and the others with those that compute.

    pytest-django puts first what touches its database. Four workers computed on two cores, and then all four waited.
    """
    waiting, others = [], []
    for item in items:
        (waiting if _waits(item) else others).append(item)
    waiters = workers // 2
    # `--dist worksteal` gives each worker a stretch of the list. Those that wait begin the last ones:
    # what touches the database of this process stays in the first ones, as far as there is room.
    before = len(items) * (workers - waiters) // workers
    found, others = others[:before], others[before:]
    for left in range(waiters, 0, -1):
        some, rest = -(-len(waiting) // left), len(others) // left
        found += waiting[:some] + others[:rest]
        waiting, others = waiting[some:], others[rest:]
    return found + waiting + others


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip by name what lacks its Debian package; with CI=true that is a failure."""
    for marker in item.iter_markers("needs"):
        for package in marker.args:
            if _is_there(package):
                continue
            if os.environ.get("CI") == "true":
                pytest.fail(f"{_REASON}{package}, and CI=true allows no skip", pytrace=False)
            pytest.skip(f"{_REASON}{package}")


@pytest.hookimpl(trylast=True)  # after xdist has stopped its workers
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run where one of its processes still lives, and kill it."""
    if hasattr(session.config, "workerinput"):
        return
    databases.drop_template()
    until = time.monotonic() + _PATIENCE_SECONDS
    while (found := leftovers.find()) and time.monotonic() < until:
        time.sleep(0.1)  # sleeps: other processes end, and none of them is a child to wait for
    session.config.stash[_LEFT_BEHIND] = found
    if found:
        leftovers.kill(list(found))
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count the skips for want of a package; name the processes left behind."""
    skipped = Counter(
        str(report.longrepr[2]).partition(_REASON)[2]
        for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple) and _REASON in str(report.longrepr[2])
    )
    for package, count in sorted(skipped.items()):
        terminalreporter.write_line(f"{count} skipped: {_REASON}{package}", yellow=True)
    for pid, command in terminalreporter.config.stash.get(_LEFT_BEHIND, {}).items():
        terminalreporter.write_line(f"LEFT BEHIND: process {pid}: {command}", red=True)


def pytest_report_header() -> str:
    """Say which database the tests run on."""
    engine = settings.DATABASES["default"]["ENGINE"].rpartition(".")[2]
    return f"database: {engine}, run {run.name()}"


def _must_be_found(item: pytest.Item) -> None:
    """Refuse a mark that does not stand in the test's own file: scripts/test.sh would not have it collected there."""
    for mark in ("slow", "postgres"):
        if item.get_closest_marker(mark) and f"mark.{mark}" not in _text(item.path):
            raise pytest.UsageError(f"{item.nodeid} is marked as {mark}, and {item.path.name} does not say mark.{mark}")


@cache
def _text(path: Path) -> str:
    return path.read_text()


def _seconds(item: pytest.Item) -> float:
    """Say about how long a slow test takes; 0 for one that is not marked as slow."""
    mark = item.get_closest_marker("slow")
    return 0 if mark is None else (mark.args or (_USUAL_SECONDS,))[0]


def _touches_database(item: pytest.Item) -> bool:
    if item.get_closest_marker("django_db") or item.get_closest_marker("postgres"):
        return True
    if _DATABASE_FIXTURES.intersection(getattr(item, "fixturenames", ())):
        return True
    case = getattr(item, "cls", None)
    return isinstance(case, type) and issubclass(case, SimpleTestCase) and bool(case.databases)


def _waits(item: pytest.Item) -> bool:
    fixtures = getattr(item, "fixturenames", ())
    in_this_process = item.get_closest_marker("django_db") or {"db", "transactional_db", "live_server"} & {*fixtures}
    place = item.path.relative_to(item.config.rootpath / "tests").parts[0]
    return not in_this_process and (place in _WAITING or "own_database" in fixtures)


def _is_there(package: str) -> bool:
    if package not in _COMMANDS:
        known = ", ".join(sorted(_COMMANDS))
        pytest.fail(f"needs({package!r}): not one of {known}. Add it to tests/conftest.py.", pytrace=False)
    # Daemons lie in directories that only root's PATH has.
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
    return shutil.which(_COMMANDS[package], path=path) is not None
