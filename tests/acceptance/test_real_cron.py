"""Debian's own cron, the lines as they are installed, and two schedulers beside it: one attempt per slot."""

from __future__ import annotations

import os
import re
import select
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.acceptance import namespaces
from tests.acceptance.installation import Installation

SCRIPT = Path(__file__).with_name("real_cron.sh")
SPOOL = Path("/var/spool/cron/crontabs")
# So long before the slot everything is started; it must be up by then, on a busy machine too.
LEAD = timedelta(seconds=40)
PATIENCE_SECONDS = 120
LOOK_SECONDS = 0.25
# libfaketime 0.9.10 with the monotonic clock left alone, as threads need it, has Python's sleep end in EINVAL.
SLEEP = "import select, time\ntime.sleep = lambda seconds: select.select([], [], [], seconds) and None\n"
RUNS = """
    SELECT e.name, r.slot_at, r.verdict, r.tries, count(a.id) FROM crons_run r
    JOIN crons_entry e ON e.id = r.entry_id LEFT JOIN crons_attempt a ON a.run_id = r.id
    GROUP BY r.id ORDER BY e.name, r.slot_at
"""


@dataclass
class Machine:
    """An installation with cron and schedulers, in namespaces of their own."""

    installed: Installation
    folder: Path
    process: subprocess.Popen[str]
    customers: int

    def is_through(self) -> bool:
        """Say whether both slots have verdicts and both of cron's lines have ended."""
        if self.process.poll() is not None:
            pytest.fail(f"the machine ended {self.process.returncode}: {self.told()}")
        verdicts = [verdict for _, _, verdict, _, _ in self.installed.rows(RUNS)]
        return len(verdicts) == 2 and all(verdicts) and len(self.installed.lines("exits")) == 2

    def told(self) -> str:
        """Give what its processes said, for a person who must find out why it failed."""
        files = [self.folder / "told", *self.folder.glob("serve-*.log"), *self.folder.glob("crm/var/log/*")]
        return "".join(f"\n── {file.name}\n{file.read_text()}" for file in files if file.exists())

    def stop(self) -> None:
        """End all of it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()  # pid 1 of its namespace goes with it, and with that all others
            self.process.wait()


@pytest.fixture
def slot_at() -> datetime:
    """The next Sunday's 02:00, which is a slot of the heartbeat too."""
    sunday = datetime.now(UTC) + timedelta(minutes=2)
    sunday += timedelta(days=(6 - sunday.weekday()) % 7)
    at = sunday.replace(hour=2, minute=0, second=0, microsecond=0)
    return at if at > datetime.now(UTC) + timedelta(minutes=2) else at + timedelta(days=7)


@pytest.fixture
def machines(tmp_path: Path, slot_at: datetime) -> Iterator[dict[int, Machine]]:
    """By its number of schedulers: a machine whose clock reaches the slot in LEAD."""
    namespaces.need(namespaces.OWN_MACHINE, "cron, which changes to each crontab's user")
    installed = {serves: Installation.make(tmp_path / f"{serves}" / "crm") for serves in (0, 2)}
    for each in installed.values():
        each.manage("demo_data", "--customers=200", f"--now={slot_at.isoformat()}")
    (tmp_path / "sitecustomize.py").write_text(SLEEP)
    clock = [*_clock(slot_at - LEAD - datetime.now(UTC)), f"PYTHONPATH={tmp_path}"]
    started = {serves: _start(each, serves, clock) for serves, each in installed.items()}
    yield started
    for machine in started.values():
        machine.stop()


@pytest.mark.needs("cron", "faketime")
def test_one_attempt_per_slot_whoever_fires(machines: dict[int, Machine], slot_at: datetime) -> None:
    """The first promise, on the user's own lines: cron alone, and cron beside two schedulers; losers are quiet."""
    crontabs = _names(SPOOL)
    _wait_for_all(list(machines.values()))
    for machine in machines.values():
        machine.stop()

    slot = f"{slot_at:%Y-%m-%d %H:%M:%S}"
    for machine in machines.values():
        assert machine.installed.rows(RUNS) == [
            ("clean_inactive_customers", slot, "succeeded", 1, 1),
            ("log_crm_heartbeat", slot, "succeeded", 1, 1),
        ], machine.told()
        assert machine.installed.rows("SELECT count(*) FROM crons_range") == [(0,)]
        assert machine.installed.lines("exits") == ["0", "0"]
        _assert_logged(machine, slot_at)
        assert [line for line in _said_by_lines(machine.installed) if "already" not in line] == []
    assert set(machines[0].installed.rows('SELECT "trigger" FROM crons_run')) == {("crontab",)}
    assert _names(SPOOL) == crontabs


def _assert_logged(machine: Machine, slot_at: datetime) -> None:
    [(left,)] = machine.installed.rows("SELECT count(*) FROM crm_customer")
    deleted = machine.customers - left
    assert deleted > 0
    [cleanup] = machine.installed.lines("log/customer_cleanup_log.txt")
    assert re.fullmatch(rf"{slot_at:%Y-%m-%d} 02:0\d:\d\d Deleted {deleted} inactive customers", cleanup)
    [heartbeat] = machine.installed.lines("log/crm_heartbeat_log.txt")
    assert re.fullmatch(rf"{slot_at:%d/%m/%Y}-02:0\d:\d\d CRM is alive", heartbeat)


def _said_by_lines(installed: Installation) -> list[str]:
    return [*installed.lines("log/customer_cleanup_cron.log"), *installed.lines("log/django_crontab.log")]


def _start(installed: Installation, serves: int, clock: list[str]) -> Machine:
    [(customers,)] = installed.rows("SELECT count(*) FROM crm_customer")
    folder = installed.place.parent
    with (folder / "told").open("w") as told:
        process = subprocess.Popen(
            [*namespaces.OWN_MACHINE, str(SCRIPT), str(folder), str(serves), *clock],
            stdin=subprocess.PIPE,
            stdout=told,
            stderr=subprocess.STDOUT,
            text=True,
        )
    return Machine(installed, folder, process, customers)


def _wait_for_all(machines: list[Machine]) -> None:
    """Look at the database now and then, for cron tells nobody; at once when a machine ends."""
    ended = select.poll()
    for machine in machines:
        ended.register(os.pidfd_open(machine.process.pid), select.POLLIN)
    until = time.monotonic() + PATIENCE_SECONDS
    while not all(machine.is_through() for machine in machines):
        if time.monotonic() > until:
            pytest.fail("no verdict in time" + "".join(machine.told() for machine in machines))
        ended.poll(LOOK_SECONDS * 1000)


def _clock(ahead: timedelta) -> list[str]:
    """Give the variables under which a process sees the clock *ahead* of the machine's."""
    found = subprocess.run(
        ["faketime", "-f", "+1", "printenv", "LD_PRELOAD"], capture_output=True, text=True, check=True
    )
    return [
        f"LD_PRELOAD={found.stdout.strip()}",
        f"FAKETIME=+{ahead.total_seconds():.3f}",
        "FAKETIME_DONT_FAKE_MONOTONIC=1",
        "NO_FAKE_STAT=1",
    ]


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
