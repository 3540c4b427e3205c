"""Storms: whatever befalls its processes and its database, the ledger says what a journal of the jobs' own says."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from crons.executors.process.kernel import descendants
from tests.acceptance import journal
from tests.acceptance.conftest import PATIENCE_SECONDS, Site
from tests.acceptance.freezing import freeze
from tests.acceptance.journal import INTERVALS, Journal

KINDS = ("scheduler", "fork server", "supervisor", "job")
# Shorter than a storm, so that leases run out in it.
LEASE = "6"


class Storm:
    """Schedulers of a site whose jobs keep a journal; *blow* waits until jobs were done in the midst of it."""

    def __init__(self, site: Site) -> None:
        self.site = site
        site.env |= {journal.VARIABLE: str(site.folder / "journal"), "TEST_LEASE": LEASE}
        site.crons("sync")
        site.make_due()
        for entry in INTERVALS:
            site.sql("UPDATE crons_entry SET wake_at = NULL WHERE name = %s", entry)
        self.output = site.stack.enter_context((site.folder / "output").open("a"))
        self.servers = [self.start() for _ in range(2)]
        self.blow()

    def start(self, *prefix: str) -> subprocess.Popen[str]:
        """Start another scheduler."""
        return self.site.start_program(*prefix, *self.site.command("serve"), output=self.output)

    def blow(self, more: int = 3) -> None:
        """Return when *more* pieces of work have come to their end."""
        path, until = Path(self.site.env[journal.VARIABLE]), time.monotonic() + PATIENCE_SECONDS
        wanted = _ended(path) + more
        while _ended(path) < wanted:
            assert time.monotonic() < until, "nothing is done any more"
            time.sleep(0.05)  # sleeps: a file tells nobody of a line

    def find(self, kind: str) -> int:
        """Return a process of that kind, of any scheduler, as soon as there is one."""
        while True:
            for server in self.servers:
                found = [server.pid]
                for _ in range(KINDS.index(kind)):
                    found = [child for pid in found for child in _children(pid)]
                if found:
                    return found[-1]
            time.sleep(0.01)  # sleeps: for a job to begin

    def replace_dead(self) -> None:
        """Start a scheduler anew for each that has ended."""
        self.servers = [each if each.poll() is None else self.start() for each in self.servers]

    def calm_down(self) -> list[str]:
        """Let everything end, and say what is wrong with what is written down."""
        self.site.sql("UPDATE crons_entry SET paused_at = NULL")
        for server in self.servers:
            server.send_signal(signal.SIGTERM)
        for server in self.servers:
            server.wait(PATIENCE_SECONDS)
        self.site.wait_until_nothing_runs()
        self.site.crons("tick")
        return Journal(self.site).faults()


@pytest.fixture
def storm(site: Site) -> Storm:
    """Two schedulers that have done something already."""
    return Storm(site)


def test_processes_of_each_kind_are_killed(storm: Storm) -> None:
    """One after the other, while others work on."""
    for kind in KINDS:
        with killed(storm.find(kind)):
            storm.blow(1)
        storm.replace_dead()

    assert storm.calm_down() == []


@pytest.mark.slow
def test_processes_of_each_kind_are_stopped_for_a_moment(storm: Storm) -> None:
    """What is stopped comes back in time, or finds that it did not."""
    for kind in KINDS:
        with stopped(storm.find(kind), storm.site):
            storm.blow(2)

    assert storm.calm_down() == []


@pytest.mark.slow(55)
def test_processes_of_each_kind_are_stopped_for_longer_than_a_lease(storm: Storm) -> None:
    """What is stopped is given up by the others, and comes back to find that it is."""
    for kind in KINDS:
        with stopped(storm.find(kind), storm.site):
            until = time.monotonic() + 1.5 * float(LEASE)
            while time.monotonic() < until:
                storm.blow(1)
        storm.replace_dead()

    assert storm.calm_down() == []


@pytest.mark.slow
def test_a_scheduler_with_too_few_descriptors_beside_a_healthy_one(storm: Storm) -> None:
    """It cannot start what it begins: that is not the jobs' failure."""
    storm.servers.append(storm.start("prlimit", "--nofile=20"))
    storm.blow(20)

    assert storm.calm_down() == []


@pytest.mark.slow
@pytest.mark.parametrize("table", ["crons_attempt", "crons_run"])
def test_a_table_that_a_stranger_keeps_locked(storm: Storm, table: str) -> None:
    """A held INSERT: begins and endings come late, some after the end of their lease."""
    for seconds in (1.0, 3.0, 8.0):
        with locked(storm.site, table):
            time.sleep(seconds)  # sleeps: the length of the lock
        storm.blow(3)

    assert storm.calm_down() == []


@pytest.mark.slow(25)
@pytest.mark.needs("faketime")
def test_ticks_of_a_host_whose_clock_is_a_year_ahead(storm: Storm) -> None:
    """It records nothing that has not come, and ends nothing that goes on."""
    for _ in range(3):
        storm.site.faketime("+365d", "tick", check=False)
        storm.blow(2)

    assert storm.calm_down() == []


@contextmanager
def stopped(pid: int, site: Site) -> Iterator[None]:
    """Have a process stand still inside."""
    freeze(pid, site)
    try:
        yield
    finally:
        _signal(pid, signal.SIGCONT)


@contextmanager
def killed(pid: int) -> Iterator[None]:
    """Have a process be gone inside, and ever after."""
    _signal(pid, signal.SIGKILL)
    yield


@contextmanager
def locked(site: Site, table: str) -> Iterator[None]:
    """Keep everybody from writing inside."""
    if site.database.vendor == "sqlite":
        with closing(sqlite3.connect(site.database.url.removeprefix("sqlite:///"), timeout=30)) as connection:
            connection.isolation_level = None
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")
        return
    import psycopg

    with psycopg.connect(site.database.url) as connection:
        connection.execute(f"LOCK TABLE {table} IN SHARE MODE")
        yield
        connection.rollback()


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _children(pid: int) -> list[int]:
    below = descendants(pid)
    return [each for each in below if _parent(each) == pid]


def _parent(pid: int) -> int:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def _ended(path: Path) -> int:
    with suppress(FileNotFoundError):
        return sum(line.startswith("end ") for line in path.read_text().splitlines())
    return 0
