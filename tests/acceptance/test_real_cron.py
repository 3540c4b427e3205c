"""Debian's own cron, the lines as they are installed, and two schedulers beside it: one attempt per slot."""

from __future__ import annotations

import os
import re
import select
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.acceptance import namespaces
from tests.acceptance.installation import Installation

SCRIPT = Path(__file__).with_name("real_cron.sh")
SPOOL = Path("/var/spool/cron/crontabs")
# So long before the slot everything is started; it must be up by then, on a busy machine too.
LEAD = timedelta(seconds=110)
PATIENCE_SECONDS = 290
LOOK_SECONDS = 0.25
# libfaketime 0.9.10 with the monotonic clock left alone, as threads need it, has Python's sleep end in EINVAL.
SLEEP = "import select, time\ntime.sleep = lambda seconds: select.select([], [], [], seconds) and None\n"
# Of each minute, and the schedulers' alone: no slot of it is cron's too.
OTHERS = "e.name <> 'deliver_webhooks'"
RUNS = f"""
    SELECT e.name, r.slot_at, r.verdict, r.tries, count(a.id) FROM crons_run r
    JOIN crons_entry e ON e.id = r.entry_id LEFT JOIN crons_attempt a ON a.run_id = r.id
    WHERE {OTHERS} GROUP BY r.id ORDER BY e.name, r.slot_at
"""
RANGES = f"SELECT count(*) FROM crons_range g JOIN crons_entry e ON e.id = g.entry_id WHERE {OTHERS}"


JOBS_OUTPUT = re.compile(r"Deleted \d|Kept \d|Order reminders processed!\Z|Raised |.* new stock \d+\Z")
PENDING = """
    SELECT o.id, c.email FROM crm_order o JOIN crm_customer c ON c.id = o.customer_id
    WHERE o.status = 'pending' AND o.ordered_at >= '{:%Y-%m-%d %H:%M:%S}' AND o.ordered_at < '{:%Y-%m-%d %H:%M:%S}'
    ORDER BY o.ordered_at, o.id
"""


@dataclass(frozen=True)
class Plan:
    """Who fires *job* at *hour* of a Sunday: cron, and so many schedulers beside it."""

    job: str
    hour: int
    serves: int


PLANS = (
    Plan("clean_inactive_customers", 2, 0),
    Plan("clean_inactive_customers", 2, 2),
    Plan("send_order_reminders", 8, 1),
    Plan("update_low_stock", 12, 1),
)


@dataclass
class Machine:
    """An installation with cron, a web server and schedulers, in namespaces of their own."""

    plan: Plan
    slot_at: datetime
    installed: Installation
    folder: Path
    process: subprocess.Popen[str]
    customers: int
    low: list[tuple[str, int]]
    pending: list[tuple[int, str]]

    def is_through(self) -> bool:
        """Say whether both slots have verdicts and both of cron's lines have ended."""
        if self.process.poll() is not None:
            pytest.fail(f"the machine ended {self.process.returncode}: {self.told()}")
        verdicts = [verdict for _, _, verdict, _, _ in self.installed.rows(RUNS)]
        return len(verdicts) == 2 and all(verdicts) and len(self.installed.lines("exits")) == 2

    def told(self) -> str:
        """Give what its processes said, for a person who must find out why it failed."""
        files = [self.folder / "told", *self.folder.glob("*.log"), *self.folder.glob("crm/var/log/*")]
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
def sunday() -> datetime:
    """The next Sunday of which every hour of PLANS is still to come."""
    at = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return at + timedelta(days=(6 - at.weekday()) % 7 or 7)


@pytest.fixture
def machines(tmp_path: Path, sunday: datetime) -> Iterator[list[Machine]]:
    """For each plan a machine whose clock reaches the slot in LEAD."""
    namespaces.need(namespaces.OWN_MACHINE, "cron, which changes to each crontab's user")
    (tmp_path / "sitecustomize.py").write_text(SLEEP)
    installed = [Installation.make(tmp_path / f"{number}" / "crm") for number, _ in enumerate(PLANS)]
    for each in installed:
        each.manage("demo_data", "--customers=200", f"--now={sunday.isoformat()}")
    started: list[Machine] = []
    with ExitStack() as stack:
        for plan, each in zip(PLANS, installed, strict=True):
            web = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            started.append(_start(plan, sunday + timedelta(hours=plan.hour), each, tmp_path, web))
            stack.callback(started[-1].stop)
        yield started


@pytest.mark.needs("cron", "faketime")
@pytest.mark.slow(120)
def test_one_attempt_per_slot_whoever_fires(machines: list[Machine]) -> None:
    """The first promise, on the user's own lines: cron alone, and cron beside schedulers; losers are quiet."""
    crontabs = _names(SPOOL)
    _wait_for_all(machines)
    for machine in machines:
        machine.stop()

    for machine in machines:
        slot = f"{machine.slot_at:%Y-%m-%d %H:%M:%S}"
        assert machine.installed.rows(RUNS) == [
            (job, slot, "succeeded", 1, 1) for job in sorted([machine.plan.job, "log_crm_heartbeat"])
        ], machine.told()
        assert machine.installed.rows(RANGES) == [(0,)]
        assert machine.installed.lines("exits") == ["0", "0"]
        [heartbeat] = machine.installed.lines("log/crm_heartbeat_log.txt")
        assert re.fullmatch(rf"{machine.slot_at:%d/%m/%Y-%H}:0\d:\d\d CRM is alive", heartbeat)
        _assert_logged(machine)
        assert [line for line in _said_by_lines(machine.installed) if "already" not in line] == []
    assert set(machines[0].installed.rows('SELECT "trigger" FROM crons_run')) == {("crontab",)}
    assert _names(SPOOL) == crontabs


def _assert_logged(machine: Machine) -> None:
    [(left,)] = machine.installed.rows("SELECT count(*) FROM crm_customer")
    expected = {
        "customer_cleanup_log.txt": [f"Deleted {machine.customers - left} inactive customers"],
        "order_reminders_log.txt": [f"Order {number} {email}" for number, email in machine.pending],
        "low_stock_updates_log.txt": [f"{name} new stock {stock + 10}" for name, stock in machine.low],
    }
    mine = {
        "clean_inactive_customers": "customer_cleanup_log.txt",
        "send_order_reminders": "order_reminders_log.txt",
        "update_low_stock": "low_stock_updates_log.txt",
    }[machine.plan.job]
    assert expected[mine]
    for name, texts in expected.items():
        lines = machine.installed.lines(f"log/{name}")
        assert [line[20:] for line in lines] == (texts if name == mine else []), machine.told()
        assert all(re.match(rf"{machine.slot_at:%Y-%m-%d %H}:0\d:\d\d ", line) for line in lines)
    assert (left < machine.customers) == (mine == "customer_cleanup_log.txt")


def _said_by_lines(installed: Installation) -> list[str]:
    files = ("customer_cleanup_cron.log", "order_reminders_cron.log", "django_crontab.log")
    return [line for name in files for line in installed.lines(f"log/{name}") if not JOBS_OUTPUT.match(line)]


def _start(plan: Plan, slot_at: datetime, installed: Installation, folder: Path, web: socket.socket) -> Machine:
    [(customers,)] = installed.rows("SELECT count(*) FROM crm_customer")
    low = installed.rows("SELECT name, stock FROM crm_product WHERE stock < 10 ORDER BY id")
    pending = installed.rows(PENDING.format(slot_at - timedelta(days=7), slot_at))
    with (installed.place / "var" / "crm.env").open("a") as settings:
        settings.write(f"CRM_GRAPHQL_URL=http://127.0.0.1:{web.getsockname()[1]}/graphql\n")
    place = installed.place.parent
    clock = [*_clock(slot_at - LEAD - datetime.now(UTC)), f"PYTHONPATH={folder}"]
    with (place / "told").open("w") as told:
        process = subprocess.Popen(
            [*namespaces.OWN_MACHINE, str(SCRIPT), str(place), str(plan.serves), str(web.fileno()), *clock],
            stdin=subprocess.PIPE,
            stdout=told,
            stderr=subprocess.STDOUT,
            text=True,
            pass_fds=(web.fileno(),),
        )
    return Machine(plan, slot_at, installed, place, process, customers, low, pending)


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
