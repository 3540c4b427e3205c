"""Every way into the user's jobs: one entry each, one run per firing, an exit code that is true."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from crons.sources import CronjobsSource, CrontabFilesSource
from crons.sources.base import Binding
from tests import run
from tests.acceptance import namespaces
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
NO_RETRY = '{"retry": [0, 0, 1, 0]}'
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
            timeout=60,
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
        """Put *entry* on another schedule, as its row has it, and have its last minute unaccounted for."""
        minute_ago = (
            "strftime('%Y-%m-%d %H:%M:%f', 'now', '-1 minute')"
            if self.site.database.vendor == "sqlite"
            else "now() - interval '1 minute'"
        )
        self.site.sql(
            f"UPDATE crons_entry SET schedule = %s, overrides = %s, wake_at = NULL, accounted_until = {minute_ago} "
            "WHERE name = %s",
            schedule,
            NO_RETRY,
            entry,
        )

    def log(self, name: str) -> list[str]:
        path = self.log_dir / name
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def shop(own_database: OwnDatabase, tmp_path: Path) -> Shop:
    """A shop with customers to delete, whose jobs are synced and far from any slot."""
    made = _shop(own_database.prepared("shop", _furnished), tmp_path)
    for (entry,) in made.site.sql("SELECT name FROM crons_entry"):
        made.reschedule(entry, FAR_SCHEDULE)
    return made


def _shop(database: OwnDatabase, folder: Path) -> Shop:
    env = {
        "PATH": "/usr/bin:/bin",
        "CRM_PYTHON": sys.executable,
        "CRM_SECRET_KEY": "acceptance",
        "CRM_ENV_FILE": os.devnull,
        "CRM_LOG_DIR": str(database.log_dir),
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


# ── the shell script ──────────────────────────────────────────────────────────────────────────────


def test_line_of_the_crontab_runs_the_slot_through_a_symlink(shop: Shop, tmp_path: Path) -> None:
    """From / and with an empty environment, as cron does it."""
    (tmp_path / "linked.sh").symlink_to(SCRIPT)
    shop.reschedule(CLEANUP, NEAR_SCHEDULE)
    before = shop.customers()

    done = shop.start(tmp_path / "linked.sh", "--scheduled")

    assert (done.returncode, done.stderr) == (0, "")
    assert shop.runs() == [("slot", "succeeded", "crontab", "")]
    [line] = shop.log("customer_cleanup_log.txt")
    assert line[19:] == f" Deleted {before - shop.customers()} inactive customers"
    assert shop.customers() < before


@pytest.mark.sqlite  # what it shows has nothing to do with the database
def test_line_of_the_crontab_far_from_a_slot_runs_nothing(shop: Shop) -> None:
    """A crontab that fires at the wrong time must not delete anybody; the exit code is no failure."""
    before = shop.customers()

    done = shop.start(SCRIPT, "--scheduled")

    assert done.returncode == 0
    assert done.stderr.startswith(f"no slot of {CLEANUP} has fallen due since ")
    assert (shop.runs(), shop.customers(), shop.log("customer_cleanup_log.txt")) == ([], before, [])


@pytest.mark.sqlite  # what it shows has nothing to do with the database
def test_person_at_a_terminal_asks_for_one_run_more(shop: Shop) -> None:
    """Also near a slot: who types it wants it now, and the slot is still to come."""
    shop.reschedule(CLEANUP, NEAR_SCHEDULE)

    code, seen = at_terminal(shop, SCRIPT)

    assert code == 0
    assert re.search(r"Deleted \d+ of 40 customers: ", seen)
    [(kind, verdict, trigger, by)] = shop.runs()
    assert (kind, verdict, trigger) == ("manual", "succeeded", "manual")
    assert by != ""
    assert len(shop.log("customer_cleanup_log.txt")) == 1


@pytest.mark.parametrize(
    ("schedule", "run"),
    [
        (NEAR_SCHEDULE, ("slot", "succeeded", "crontab", "no terminal, taken for its slot")),
        (FAR_SCHEDULE, ("manual", "succeeded", "crontab", "no terminal, near no slot")),
    ],
)
@pytest.mark.sqlite  # what it shows has nothing to do with the database
def test_bare_call_without_a_terminal_is_guessed(shop: Shop, schedule: str, run: tuple[str, ...]) -> None:
    """A line from before Crons says nothing; what was made of it is on record."""
    shop.reschedule(CLEANUP, schedule)

    done = shop.start(SCRIPT)

    assert (done.returncode, shop.runs()) == (0, [run])
    assert f"({run[3]})" in shop.manage("crons", "show", "1").stdout


@pytest.mark.sqlite  # what it shows has nothing to do with the database
def test_dry_run_leaves_nothing(shop: Shop) -> None:
    """Neither a run nor a log line nor one customer less, also when a slot is due."""
    shop.reschedule(CLEANUP, NEAR_SCHEDULE)
    before = shop.customers()

    done = shop.start(SCRIPT, "--dry-run")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Would delete ")
    assert (shop.runs(), shop.customers(), shop.log("customer_cleanup_log.txt")) == ([], before, [])


@pytest.mark.parametrize("arguments", [["--scheduled"], []])
@pytest.mark.sqlite  # what it shows has nothing to do with the database
def test_refused_cleanup_is_the_exit_code_of_the_script(shop: Shop, arguments: list[str]) -> None:
    """Whoever fires it learns from the exit code, and from stderr why."""
    shop.reschedule(CLEANUP, NEAR_SCHEDULE)
    before = shop.customers()

    done = shop.start(SCRIPT, *arguments, CRM_CLEANUP_MAX_COUNT="1")

    assert done.returncode == 1
    assert "customers would be deleted" in done.stderr
    assert [run[1] for run in shop.runs()] == ["failed"]
    assert shop.customers() == before


@pytest.mark.sqlite  # what it shows has nothing to do with the database
def test_force_goes_above_the_caps(shop: Shop) -> None:
    """The way on after a refusal that a person has looked at."""
    done = shop.start(SCRIPT, "--force", CRM_CLEANUP_MAX_COUNT="1")

    assert (done.returncode, [run[:2] for run in shop.runs()]) == (0, [("manual", "succeeded")])
    [(args,)] = shop.site.sql("SELECT args FROM crons_run")
    assert (json.loads(args) if isinstance(args, str) else args) == {"force": True}


@pytest.mark.sqlite  # what it shows has nothing to do with the database
def test_force_is_for_no_slot(shop: Shop) -> None:
    """A crontab line with it would go above the caps every week, and nobody would have looked."""
    shop.reschedule(CLEANUP, NEAR_SCHEDULE)
    before = shop.customers()

    done = shop.start(SCRIPT, "--scheduled", "--force")

    assert (done.returncode, shop.runs(), shop.customers()) == (2, [], before)
    assert done.stderr.endswith("--force is for a run that a person asks for. Leave out --scheduled.\n")


def test_called_from_within_an_attempt_it_does_the_work(shop: Shop) -> None:
    """Entering the ledger again would wait for itself for ever."""
    shop.start(SCRIPT)
    [(attempt,)] = shop.site.sql("SELECT id FROM crons_attempt")
    shop.site.sql("UPDATE crons_attempt SET outcome = ''")
    beat = lines_of_django_crontab(shop)[0].split()[9]
    within = {"CRONS_ATTEMPT": str(attempt)}

    done = [
        shop.start(SCRIPT, "--scheduled", **within),
        shop.manage("crons", "run", CLEANUP, **within),
        shop.manage("crontab", "run", beat, **within),
    ]

    assert [(each.returncode, each.stderr) for each in done] == [(0, "")] * 3
    assert len(shop.runs()) == 1
    assert [each.stdout.count("Deleted ") for each in done] == [1, 1, 0]
    # The run's line stands there once, however often its attempt does the work.
    assert len(shop.log("customer_cleanup_log.txt")) == 1
    assert len(shop.log("crm_heartbeat_log.txt")) == 1


# ── django-crontab ────────────────────────────────────────────────────────────────────────────────


def test_line_of_the_real_package_runs_the_slot(shop: Shop) -> None:
    """As /bin/sh gets it from cron; what it prints goes to a log, for cron would mail it."""
    line = lines_of_django_crontab(shop)[0]
    minutes, command = line.split(None, 5)[:5], line.split(None, 5)[5]
    shop.reschedule(HEARTBEAT, NEAR_SCHEDULE)

    first = shop.start("/bin/sh", "-c", command)
    second = shop.start("/bin/sh", "-c", command)

    assert minutes == ["*/5", "*", "*", "*", "*"]
    assert [(each.returncode, each.stdout, each.stderr) for each in (first, second)] == [(0, "", "")] * 2
    beats = shop.log("crm_heartbeat_log.txt")
    # The second call may have come in the next minute.
    assert shop.runs() == [("slot", "succeeded", "crontab", "")] * len(beats)
    assert len(beats) + len(shop.log("django_crontab.log")) == 2


@pytest.mark.sqlite  # what it shows has nothing to do with the database
def test_hash_that_no_line_has_runs_nothing(shop: Shop) -> None:
    """After a changed CRONJOBS the old crontab is still installed."""
    done = shop.manage("crontab", "run", "0123456789abcdef")

    assert done.returncode == 1
    assert "no line of CRONJOBS has the hash 0123456789abcdef" in done.stderr
    assert shop.runs() == []


# ── one entry, however many doors ─────────────────────────────────────────────────────────────────


@pytest.mark.sqlite  # what it shows has nothing to do with the database
def test_each_job_is_one_entry(shop: Shop) -> None:
    """Code, CRONJOBS and the crontab files name the same ones; CRON_CLASSES and crons bring one each."""
    assert shop.site.sql("SELECT name, source FROM crons_entry ORDER BY name") == [
        (CLEANUP, "code"),
        ("crons.prune", "code"),
        ("expire_sessions_and_tokens", "cron_classes"),
        (REPORT, "code"),
        (HEARTBEAT, "code"),
        ("send_order_confirmations", "code"),
        (REMINDERS, "code"),
        (RESTOCK, "code"),
    ]
    assert CronjobsSource().read().bindings == (
        Binding(HEARTBEAT, "*/5 * * * *", "CRONJOBS[0]"),
        Binding(RESTOCK, "0 */12 * * *", "CRONJOBS[1]"),
    )
    assert CrontabFilesSource().read().bindings == (
        Binding(CLEANUP, "0 2 * * 0", "customer_cleanup_crontab.txt:1"),
        Binding(REMINDERS, "0 8 * * *", "order_reminders_crontab.txt:1"),
    )


@dataclass
class Doors:
    """Ways into the jobs, opened one after the other without waiting."""

    shop: Shop
    opened: list[tuple[str, subprocess.Popen[str]]] = field(default_factory=list)
    stack: ExitStack = field(default_factory=ExitStack)

    def open(self, *command: str | Path) -> subprocess.Popen[str]:
        """Start *command* as cron would."""
        process = subprocess.Popen(
            [str(part) for part in command],
            env=self.shop.env,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.stack.callback(process.kill)
        self.opened.append((" ".join(str(part) for part in command), process))
        return process

    def endings(self) -> list[tuple[str, str]]:
        """Wait for all; give those that failed, with what they said."""
        ended = [
            (command, process, process.communicate(timeout=PATIENCE_SECONDS * 3)) for command, process in self.opened
        ]
        return [(command, said[1]) for command, process, said in ended if process.returncode != 0]


def test_all_doors_of_all_jobs_at_once_run_each_slot_once(web: Shop) -> None:
    """Scripts, crontab lines, commands, `crons run`, `tick` and a scheduler: one attempt per job, no failure."""
    jobs = (CLEANUP, HEARTBEAT, REMINDERS, RESTOCK, REPORT)
    pending = make_pending_orders(web)
    crontab = [line.split(None, 5)[5] for line in lines_of_django_crontab(web)]
    # A moment of this year: no second slot comes while the test runs.
    slot = f"{datetime.now(UTC):%-M %-H %-d %-m} *"
    for entry in jobs:
        web.reschedule(entry, slot)
    manage = (sys.executable, ROOT / "manage.py")
    doors = Doors(web)

    with doors.stack:
        serve = doors.open(*manage, "crons", "serve")
        for script in (SCRIPT, REMINDERS_SCRIPT):
            doors.open(script, "--scheduled", "--wait")
        for line in crontab:
            doors.open("/bin/sh", "-c", line)
        for command in (CLEANUP, REMINDERS, RESTOCK, "crm_report"):
            doors.open(*manage, command, "--scheduled", "--wait")
        doors.open(*manage, "crons", "run", HEARTBEAT, "--scheduled", "--wait")
        doors.open(*manage, "crons", "tick")
        for entry in jobs:
            web.site.wait_for_row(
                "SELECT 1 FROM crons_run r JOIN crons_entry e ON e.id = r.entry_id "
                f"WHERE e.name = '{entry}' AND r.verdict <> ''",
                serve,
            )
        # The others may have done it all before the scheduler is there; killed then, it could not say goodbye.
        web.site.wait_for_row("SELECT 1 FROM crons_heartbeat WHERE kind = 'serve'", serve)
        serve.send_signal(signal.SIGTERM)
        failed = doors.endings()

    assert failed == []
    assert web.site.sql(
        "SELECT e.name, r.verdict, r.tries FROM crons_run r JOIN crons_entry e ON e.id = r.entry_id ORDER BY e.name"
    ) == [(entry, "succeeded", 1) for entry in sorted(jobs)]
    assert len(web.log("customer_cleanup_log.txt")) == len(web.log("crm_heartbeat_log.txt")) == 1
    assert len(web.log("crm_report_log.txt")) == 1
    assert [line[20:] for line in web.log("order_reminders_log.txt")] == pending
    [(raised,)] = web.site.sql("SELECT count(*) FROM crm_stockmovement WHERE reason = 'restock'")
    assert len(web.log("low_stock_updates_log.txt")) == raised > 0


# ── the reminders ─────────────────────────────────────────────────────────────────────────────────


def test_reminders_run_their_slot_from_the_crontab_line_once(shop: Shop, orders: Any, tmp_path: Path) -> None:
    """From /, through a symlink, with what the line gives and nothing else."""
    (tmp_path / "linked.py").symlink_to(REMINDERS_SCRIPT)
    shop.reschedule(REMINDERS, f"{datetime.now(UTC):%-M %-H %-d %-m} *")

    first = shop.start(tmp_path / "linked.py", "--scheduled")
    second = shop.start(REMINDERS_SCRIPT, "--scheduled")

    assert (first.returncode, first.stdout, first.stderr) == (0, "Order reminders processed!\n", "")
    assert (second.returncode, second.stdout) == (0, "")
    assert "has succeeded already" in second.stderr
    assert shop.runs() == [("slot", "succeeded", "crontab", "")]
    assert [line[19:] for line in shop.log("order_reminders_log.txt")] == [
        " Order 7 a@example.com",
        " Order 8 b@example.com",
    ]
    assert len(orders.asked) == 2


def test_reminders_read_every_page_of_the_server_itself(web: Shop) -> None:
    """Over HTTP, with the token that `service_token jobs` left in its file; many orders of one moment too."""
    pending = make_pending_orders(web)

    dry = web.start(REMINDERS_SCRIPT, "--dry-run")
    done = web.start(REMINDERS_SCRIPT)

    assert (dry.returncode, dry.stderr) == (0, "")
    assert dry.stdout.splitlines() == [f"Would log {PENDING} reminders.", *pending]
    assert (done.returncode, done.stdout, done.stderr) == (0, "Order reminders processed!\n", "")
    lines = web.log("order_reminders_log.txt")
    assert [line[20:] for line in lines] == pending
    assert [line for line in lines if not re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d Order ", line)] == []
    assert [run[:3] for run in web.runs()] == [("manual", "succeeded", "crontab")]


@pytest.mark.sqlite  # what it shows has nothing to do with the database
def test_revoked_token_fails_the_reminders(web: Shop) -> None:
    """Also where none are pending: a refusal is no empty list."""
    make_pending_orders(web)
    web.site.sql("UPDATE crm_servicetoken SET revoked_at = created_at")

    refused = web.start(REMINDERS_SCRIPT)
    web.site.sql("UPDATE crm_order SET status = 'paid' WHERE status = 'pending'")
    dry = web.start(REMINDERS_SCRIPT, "--dry-run")

    for done in (refused, dry):
        assert (done.returncode, done.stdout) == (1, "")
        assert "orders, page 1 (after 0 rows): " in done.stderr
        assert "(UNAUTHENTICATED)" in done.stderr
    assert [run[1] for run in web.runs()] == ["failed"]
    assert web.log("order_reminders_log.txt") == []


@pytest.mark.sqlite  # what it shows has nothing to do with the database
def test_reminders_of_a_dry_run_leave_nothing(shop: Shop, orders: Any) -> None:
    done = shop.start(REMINDERS_SCRIPT, "--dry-run")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "Would log 2 reminders.\nOrder 7 a@example.com\nOrder 8 b@example.com\n"
    assert (shop.runs(), shop.log("order_reminders_log.txt")) == ([], [])


@pytest.mark.sqlite  # what it shows has nothing to do with the database
def test_reminders_that_fail_say_why_and_log_nothing(shop: Shop, orders: Any) -> None:
    """A refusal is not an empty list, half of the orders are not all."""
    orders.answers[1] = {"errors": [{"message": "It was revoked.", "extensions": {"code": "UNAUTHENTICATED"}}]}

    refused = shop.start(REMINDERS_SCRIPT)
    shop.reschedule(REMINDERS, FAR_SCHEDULE)
    without_token = shop.start(REMINDERS_SCRIPT, CRM_TOKEN="", CRM_TOKEN_FILE="/nowhere/token")
    shop.reschedule(REMINDERS, FAR_SCHEDULE)
    without_site = shop.start(REMINDERS_SCRIPT, CRM_GRAPHQL_URL="http://127.0.0.1:9/graphql")

    assert [done.returncode for done in (refused, without_token, without_site)] == [1, 1, 1]
    assert "orders, page 2 (after 1 rows): " in refused.stderr
    assert "It was revoked. (UNAUTHENTICATED)" in refused.stderr
    assert "The jobs have no token: CRM_TOKEN is not set, and CRM_TOKEN_FILE, " in without_token.stderr
    assert "http://127.0.0.1:9/graphql did not answer: Connection refused." in without_site.stderr
    assert "processed" not in refused.stdout + without_token.stdout + without_site.stdout
    assert shop.log("order_reminders_log.txt") == []
    assert "crm_12345678_secret" not in refused.stderr + without_site.stderr


# ── the restock ───────────────────────────────────────────────────────────────────────────────────


def test_restock_of_django_crontabs_line_runs_its_slot_once(web: Shop) -> None:
    """Over GraphQL, with the token that `service_token jobs` left in its file."""
    command = lines_of_django_crontab(web)[1].split(None, 5)[5]
    web.reschedule(RESTOCK, f"{datetime.now(UTC):%-M %-H %-d %-m} *")
    low = web.site.sql("SELECT name, stock + 10 FROM crm_product WHERE stock < 10 ORDER BY id")
    assert low

    done = [web.start("/bin/sh", "-c", command) for _ in range(2)]

    assert [(each.returncode, each.stdout, each.stderr) for each in done] == [(0, "", "")] * 2
    assert web.runs() == [("slot", "succeeded", "crontab", "")]
    assert [line[20:] for line in web.log("low_stock_updates_log.txt")] == [
        f"{name} new stock {stock}" for name, stock in low
    ]


@pytest.mark.sqlite  # what it shows has nothing to do with the database
def test_revoked_token_fails_the_restock(web: Shop) -> None:
    web.site.sql("UPDATE crm_servicetoken SET revoked_at = created_at")

    done = web.manage("update_low_stock")

    assert done.returncode == 1
    assert "(UNAUTHENTICATED)" in done.stderr
    assert web.site.sql("SELECT count(*) FROM crm_stockmovement WHERE reason = 'restock'") == [(0,)]
    assert web.log("low_stock_updates_log.txt") == []


@pytest.mark.django_db  # some of Django's own checks ask the database
def test_disagreeing_line_of_cronjobs_is_an_error_that_shows_both(settings: Any) -> None:
    """Which of them was meant, only a person knows."""
    settings.CRONJOBS = [("*/10 * * * *", "crm.cron.log_crm_heartbeat")]

    with pytest.raises(SystemCheckError) as refusal:
        call_command("check")

    assert "'*/5 * * * *' in crm" in str(refusal.value)
    assert "'*/10 * * * *' in CRONJOBS[0]" in str(refusal.value)


@pytest.mark.django_db  # some of Django's own checks ask the database
def test_disagreeing_crontab_file_is_an_error_that_shows_both(settings: Any, tmp_path: Path) -> None:
    """Likewise."""
    line = tmp_path / "line.txt"
    line.write_text("0 3 * * 0 /srv/crm/crm/cron_jobs/clean_inactive_customers.sh --scheduled\n")
    settings.CRONS = {**settings.CRONS, "CRONTAB_FILES": [line]}

    with pytest.raises(SystemCheckError) as refusal:
        call_command("check")

    assert "'0 2 * * SUN' in crm" in str(refusal.value)
    assert "'0 3 * * 0' in line.txt:1" in str(refusal.value)


# ── the web server ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("header", "answer"),
    [
        (b"Content-Length: 10000000", b"HTTP/1.1 413 "),
        (b"Content-Length: 2500001", b"HTTP/1.1 413 "),
        (b"Transfer-Encoding: chunked", b"HTTP/1.1 411 "),
    ],
)
@pytest.mark.sqlite  # what it shows has nothing to do with the database
def test_long_body_is_refused_before_it_comes(web: Shop, header: bytes, answer: bytes) -> None:
    """Django would write it to the disk first, whole: one that never ends fills it. No byte of it is sent here."""
    port = int(web.env["CRM_GRAPHQL_URL"].rpartition(":")[2].partition("/")[0])

    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as connection:
        start = b"POST /graphql HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        connection.sendall(start + header + b"\r\n\r\n")
        with connection.makefile("rb") as file:
            told = file.read()  # to its end: the server hangs up

    assert told.startswith(answer)


# ── progress ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.sqlite  # what it shows has nothing to do with the database
def test_each_command_shows_a_bar_at_a_terminal_and_keeps_none_of_it(web: Shop) -> None:
    """The job draws on the terminal of whoever typed it, from its own process; it is gone before the output."""
    make_pending_orders(web)
    commands = {
        "clean_inactive_customers": ("Deleting", "Looking at customers"),
        "send_order_reminders": ("Asking for orders", "Asking for orders"),
        "update_low_stock": ("Raising low stocks", "Asking for products"),
        "crm_report": ("Counting", "Counting"),
    }

    for attempt, (command, bars) in enumerate(commands.items(), start=1):
        manage = (sys.executable, ROOT / "manage.py", command)
        preview = at_terminal(web, *manage, "--dry-run")
        done = at_terminal(web, *manage)
        chunks = web.site.sql("SELECT text FROM crons_outputchunk WHERE attempt_id = %s ORDER BY seq", attempt)
        kept = "".join(text for (text,) in chunks)

        assert (preview[0], done[0]) == (0, 0), preview[1] + done[1]
        for bar, (_, seen) in zip(bars, (done, preview), strict=True):
            assert f"{bar} \x1b[" in seen
            # What is left of it is an empty line and the cursor.
            assert bar not in seen.rpartition("\x1b[2K")[2]
            assert seen.rfind("\x1b[?25h") > seen.rfind("\x1b[?25l")
        assert kept
        assert kept in done[1].replace("\r\n", "\n")
        assert "\x1b" not in kept


@pytest.mark.sqlite  # what it shows has nothing to do with the database
def test_interrupted_command_gives_the_cursor_back(shop: Shop, orders: graphql_server.Server) -> None:
    """The bar hides it, and a job that is killed while it draws cannot show it again."""
    orders.answers = [lambda handler: orders.closing.wait(PATIENCE_SECONDS)]

    code, seen = at_terminal(
        shop, sys.executable, ROOT / "manage.py", "send_order_reminders", until=b"Asking for orders", then=b"\x03" * 2
    )

    assert code != 0
    assert seen.rfind("\x1b[?25h") > seen.rfind("\x1b[?25l") >= 0
    assert shop.site.sql("SELECT outcome FROM crons_attempt") == [("cancelled",)]
    assert shop.log("order_reminders_log.txt") == []


# ── logs that cannot be written ───────────────────────────────────────────────────────────────────


@pytest.mark.sqlite  # what it shows has nothing to do with the database
def test_log_folder_that_is_a_symlink_fails_the_job(shop: Shop, tmp_path: Path) -> None:
    """In a shared folder somebody else may have put it there; the reason stands in the ledger."""
    (tmp_path / "link").symlink_to(shop.log_dir)

    done = shop.manage("crons", "run", HEARTBEAT, CRM_LOG_DIR=str(tmp_path / "link"))

    assert done.returncode == 1
    assert f"CRM_LOG_DIR {tmp_path / 'link'} cannot be used: " in done.stderr
    assert "set CRM_LOG_DIR to the real path." in shop.manage("crons", "show", "1").stdout
    assert shop.log("crm_heartbeat_log.txt") == []


@pytest.mark.sqlite  # what it shows has nothing to do with the database
def test_full_disk_fails_the_job(shop: Shop) -> None:
    """A heartbeat that left no line is none."""
    namespaces.need(namespaces.OWN_MOUNTS, "a disk that is full")
    here = shlex.quote(str(shop.log_dir))
    fill = f'mount -t tmpfs -o size=4k none {here} && head -c 4096 /dev/zero >{here}/big; exec "$@"'
    command = (sys.executable, ROOT / "manage.py", "crons", "run", HEARTBEAT)

    done = shop.start(*namespaces.OWN_MOUNTS, "/bin/sh", "-c", fill, "sh", *command)

    assert done.returncode == 1
    assert "Log file 'crm_heartbeat_log.txt' cannot be written: No space left on device." in done.stderr
    assert "No space left on device" in shop.manage("crons", "show", "1").stdout


@pytest.mark.sqlite  # what it shows has nothing to do with the database
def test_full_disk_does_not_hide_that_customers_are_gone(shop: Shop) -> None:
    """The log has no room for their number; the run's output has it, and the run is no success."""
    before = shop.customers()

    done = over_the_log_folder(shop, f"size=4k none {shop.log_dir} && head -c 4096 /dev/zero >{shop.log_dir}/big")

    gone = before - shop.customers()
    assert gone > 0
    assert done.returncode == 1
    assert f"Deleted {gone} of {before} customers" in done.stdout
    assert "No space left on device" in done.stderr
    assert f"Deleted {gone} of {before} customers" in shop.manage("crons", "log", "1").stdout


@pytest.mark.sqlite  # what it shows has nothing to do with the database
def test_log_folder_that_is_read_only_stops_the_cleanup_before_it_deletes(shop: Shop) -> None:
    before = shop.customers()

    done = over_the_log_folder(shop, f"ro none {shop.log_dir}")

    assert (done.returncode, shop.customers()) == (1, before)
    assert "Log file 'customer_cleanup_log.txt' cannot be opened: Read-only file system." in done.stderr


def over_the_log_folder(shop: Shop, mount: str) -> subprocess.CompletedProcess[str]:
    """Run the cleanup with another file system in the place of its log folder."""
    namespaces.need(namespaces.OWN_MOUNTS, "a disk that is full or read-only")
    command = f'mount -t tmpfs -o {mount} && exec "$@"'
    return shop.start(*namespaces.OWN_MOUNTS, "/bin/sh", "-c", command, "sh", SCRIPT)


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
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir("/")
        os.execve(command[0], [str(part) for part in command], {**shop.env, "TERM": "xterm"})
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
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen.decode()
