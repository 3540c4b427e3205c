"""The CRM as its users' cron, scripts and people enter it: on a database of its own, with and without its server."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests import run
from tests.acceptance.conftest import PATIENCE_SECONDS, ROOT, Site, forget_where_it_lives
from tests.crm import graphql_server
from tests.databases import OwnDatabase

SCRIPT = ROOT / "crm" / "cron_jobs" / "clean_inactive_customers.sh"
REMINDERS_SCRIPT = SCRIPT.with_name("send_order_reminders.py")
CLEANUP, HEARTBEAT, REMINDERS, RESTOCK, REPORT = (
    "clean_inactive_customers",
    "log_crm_heartbeat",
    "send_order_reminders",
    "update_low_stock",
    "generate_crm_report",
)
TOKEN = "jobs_token"
FAR_SCHEDULE = "0 12 29 2 *"
NEAR_SCHEDULE = "* * * * *"
# Of one more page than the reminders ask for at once.
PENDING = 130
# What django-crontab would install, from the real package, without installing it.
PRINT_LINES = """
from django_crontab.crontab import Crontab
crontab = Crontab(verbosity=0)
crontab.add_jobs()
print(*crontab.crontab_lines, sep="", end="")
"""


@dataclass
class Shop:
    """The CRM on a database of its own, entered as cron, a script or a person would."""

    site: Site
    log_dir: Path
    env: dict[str, str] = field(default_factory=dict)

    def start(self, *command: str | Path, **changes: str) -> subprocess.CompletedProcess[str]:
        """Start *command* from / with nothing in the environment but what the CRM needs."""
        return subprocess.run(
            [str(part) for part in command],
            env=self.env | changes,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    def manage(self, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """Call manage.py likewise."""
        return self.start(sys.executable, ROOT / "manage.py", *arguments, **changes)

    def runs(self) -> list[tuple[Any, ...]]:
        """Return kind, verdict, trigger and who asked, of each run."""
        return self.site.sql('SELECT kind, verdict, "trigger", requested_by FROM crons_run ORDER BY id')

    def customers(self) -> int:
        [(count,)] = self.site.sql("SELECT count(*) FROM crm_customer")
        return int(count)

    def reschedule(self, entry: str, schedule: str) -> None:
        """Put *entry* on another schedule, as a person would, and have its last minute unaccounted for."""
        self._reschedule(entry, schedule, datetime.now(UTC) - timedelta(minutes=1))

    def reschedule_to_this_minute(self, *entries: str) -> None:
        """Have one slot of each be due, the minute that has begun, and no second one within a year."""
        slot = datetime.now(UTC).replace(second=0, microsecond=0)
        for entry in entries:
            self._reschedule(entry, f"{slot:%-M %-H %-d %-m} *", slot - timedelta(minutes=1))

    def reschedule_all_far(self) -> None:
        """Put all entries far from any slot."""
        for (entry,) in self.site.sql("SELECT name FROM crons_entry"):
            self.reschedule(entry, FAR_SCHEDULE)

    def _reschedule(self, entry: str, schedule: str, accounted_until: datetime) -> None:
        self.site.sql(
            "UPDATE crons_entry SET schedule = %s, overrides = %s, accounted_until = %s, wake_at = NULL "
            "WHERE name = %s",
            schedule,
            # Without the schedule among them, a scheduler that starts puts it back to what the code says.
            json.dumps({"retry": [0, 0, 1, 0], "schedule": schedule, "zone": "UTC"}),
            # As Django writes it: SQLite compares moments as texts.
            f"{accounted_until:%Y-%m-%d %H:%M:%S.%f}" + ("" if self.site.database.vendor == "sqlite" else "+00:00"),
            entry,
        )

    def log(self, name: str) -> list[str]:
        path = self.log_dir / name
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def shop(own_database: OwnDatabase, tmp_path: Path) -> Shop:
    """A shop with customers to delete, whose jobs are synced and far from any slot."""
    made = _shop(own_database.prepared("shop", _furnished), tmp_path)
    made.reschedule_all_far()
    return made


def _shop(database: OwnDatabase, folder: Path) -> Shop:
    env = {
        "PATH": "/usr/bin:/bin",
        "CRM_PYTHON": sys.executable,
        "CRM_SECRET_KEY": "acceptance-" * 5,
        "CRM_ENV_FILE": os.devnull,
        "CRM_LOG_DIR": str(database.log_dir),
        "CRM_ARCHIVE_DIR": str(folder / "archives"),
        "DATABASE_URL": database.url,
    }
    return Shop(Site(database, folder), database.log_dir, env)


def _furnished(database: OwnDatabase) -> None:
    shop = _shop(database, database.log_dir)
    shop.env["CRM_TOKEN_FILE"] = str(run.directory() / TOKEN)
    for arguments in (("demo_data", "--customers=40"), ("crons", "sync"), ("service_token", "jobs")):
        done = shop.manage(*arguments)
        assert done.returncode == 0, done.stderr
    forget_where_it_lives(shop.site)


@pytest.fixture
def web(shop: Shop, tmp_path: Path) -> Iterator[Shop]:
    """The shop with its web server, which the jobs ask, and a token of theirs."""
    shop.env["CRM_TOKEN_FILE"] = str(tmp_path / TOKEN)
    shop.env["CRM_HTTPS"] = "0"
    shop.env["CRM_GRAPHQL_TIMEOUT"] = str(PATIENCE_SECONDS)  # the server starts while the jobs do
    shutil.copy(run.directory() / TOKEN, tmp_path / TOKEN)  # with its mode
    # Its port is ours before it starts: who asks meanwhile waits in the queue.
    with socket.create_server(("127.0.0.1", 0)) as listening:
        shop.env["CRM_GRAPHQL_URL"] = f"http://127.0.0.1:{listening.getsockname()[1]}/graphql"
        server = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "uvicorn",
                "crm.asgi:application",
                "--fd",
                str(listening.fileno()),
                "--lifespan",
                "off",
            ],
            env=shop.env,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(listening.fileno(),),
        )
    try:
        yield shop
    finally:
        server.terminate()
        server.wait(PATIENCE_SECONDS)


@pytest.fixture
def orders(shop: Shop) -> Iterator[graphql_server.Server]:
    """The shop with a server that says which orders are pending, two pages of them."""
    with graphql_server.running() as server:
        shop.env |= {"CRM_GRAPHQL_URL": server.url, "CRM_TOKEN": "crm_12345678_secret"}
        server.answers = [
            graphql_server.page("orders", [graphql_server.order(7, "a@example.com")], "next"),
            graphql_server.page("orders", [graphql_server.order(8, "b@example.com")]),
        ]
        yield server


def make_pending_orders(shop: Shop) -> list[str]:
    """Have PENDING orders of this week be pending and no others; give what the reminders say of them, in order."""
    shop.site.sql("UPDATE crm_order SET status = 'paid' WHERE status = 'pending'")
    for days, count in ((8, 1), (2, PENDING)):  # the first is of last week
        shop.site.sql(
            "INSERT INTO crm_order (customer_id, status, ordered_at, total) "
            f"SELECT a.id, 'pending', %s, 0 FROM crm_customer a, crm_customer b ORDER BY b.id, a.id LIMIT {count}",
            # As Django writes it: SQLite compares moments as texts.
            f"{datetime.now(UTC) - timedelta(days=days):%Y-%m-%d %H:%M:%S}",
        )
    rows = shop.site.sql(
        "SELECT o.id, c.email FROM crm_order o JOIN crm_customer c ON c.id = o.customer_id "
        f"WHERE o.status = 'pending' ORDER BY o.id DESC LIMIT {PENDING}"
    )
    return [f"Order {number} {email}" for number, email in reversed(rows)]


def lines_of_django_crontab(shop: Shop) -> list[str]:
    """Give the lines that `manage.py crontab add` would install, from the real package."""
    done = shop.manage("shell", "--verbosity=0", "-c", PRINT_LINES)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def at_terminal(shop: Shop, *command: str | Path, until: bytes = b"", then: bytes = b"") -> tuple[int, str]:
    """Run *command* on a terminal of its own; return its exit code, and what was seen there.

    Once *until* is seen, *then* is typed.
    """
    terminal, theirs = os.openpty()
    # Not pty.fork(): a fork of this process, which has threads, may stand still before it becomes the command.
    words = ["setsid", "--ctty", *(str(part) for part in command)]
    env = {**shop.env, "TERM": "xterm"}
    process = subprocess.Popen(words, env=env, cwd="/", stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen = b""
    try:
        while piece := os.read(terminal, 4096):
            seen += piece
            if then and until in seen:
                os.write(terminal, then)
                then = b""
    except OSError:  # the terminal's last user has gone
        pass
    os.close(terminal)
    return process.wait(PATIENCE_SECONDS), seen.decode()
