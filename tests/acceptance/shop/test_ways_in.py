"""Every way into the user's jobs: one entry each, one run per firing, an exit code that is true."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from crons.contrib.django_crontab.source import CronjobsSource
from crons.sources.base import Binding
from crons.sources.crontab_files import CrontabFilesSource
from tests.acceptance.conftest import PATIENCE_SECONDS, ROOT
from tests.acceptance.shop.conftest import (
    CLEANUP,
    FAR_SCHEDULE,
    HEARTBEAT,
    NEAR_SCHEDULE,
    REMINDERS,
    REMINDERS_SCRIPT,
    REPORT,
    RESTOCK,
    SCRIPT,
    Shop,
    at_terminal,
    lines_of_django_crontab,
    make_pending_orders,
)


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
    # Each time the work is done it says so.
    assert len(shop.log("customer_cleanup_log.txt")) == 3
    assert len(shop.log("crm_heartbeat_log.txt")) == 1


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


@pytest.mark.sqlite  # what it shows has nothing to do with the database
def test_each_job_is_one_entry(shop: Shop) -> None:
    """Code, CRONJOBS and the crontab files name the same ones; CRON_CLASSES and crons bring one each."""
    assert shop.site.sql("SELECT name, source FROM crons_entry ORDER BY name") == [
        ("archive_old_records", "code"),
        (CLEANUP, "code"),
        ("crons.prune", "code"),
        ("deliver_webhooks", "code"),
        ("expire_sessions_and_tokens", "cron_classes"),
        (REPORT, "code"),
        ("import_customers", "code"),
        (HEARTBEAT, "code"),
        ("mail_order_reminders", "code"),
        ("make_reports", "code"),
        ("score_customers", "code"),
        ("send_digests", "code"),
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
class Triggers:
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
        ended = [(command, process, process.communicate(timeout=PATIENCE_SECONDS)) for command, process in self.opened]
        return [(command, said[1]) for command, process, said in ended if process.returncode != 0]


def test_all_triggers_of_all_jobs_at_once_run_each_slot_once(web: Shop) -> None:
    """Scripts, crontab lines, commands, `crons run`, `tick` and a scheduler: one attempt per job, no failure."""
    jobs = (CLEANUP, HEARTBEAT, REMINDERS, RESTOCK, REPORT)
    pending = make_pending_orders(web)
    crontab = [line.split(None, 5)[5] for line in lines_of_django_crontab(web)]
    web.reschedule_to_this_minute(*jobs)
    manage = (sys.executable, ROOT / "manage.py")
    triggers = Triggers(web)

    with triggers.stack:
        serve = triggers.open(*manage, "crons", "serve")
        for script in (SCRIPT, REMINDERS_SCRIPT):
            triggers.open(script, "--scheduled", "--wait")
        for line in crontab:
            triggers.open("/bin/sh", "-c", line)
        for command in (CLEANUP, REMINDERS, RESTOCK, "crm_report"):
            triggers.open(*manage, command, "--scheduled", "--wait")
        triggers.open(*manage, "crons", "run", HEARTBEAT, "--scheduled", "--wait")
        triggers.open(*manage, "crons", "tick")
        for entry in jobs:
            web.site.wait_for_row(
                "SELECT 1 FROM crons_run r JOIN crons_entry e ON e.id = r.entry_id "
                f"WHERE e.name = '{entry}' AND r.verdict <> ''",
                serve,
            )
        # The others may have done it all before the scheduler is there; killed then, it could not say goodbye.
        web.site.wait_for_row("SELECT 1 FROM crons_heartbeat WHERE kind = 'serve'", serve)
        serve.send_signal(signal.SIGTERM)
        failed = triggers.endings()

    assert failed == []
    assert web.site.sql(
        "SELECT e.name, r.verdict, r.tries FROM crons_run r JOIN crons_entry e ON e.id = r.entry_id ORDER BY e.name"
    ) == [(entry, "succeeded", 1) for entry in sorted(jobs)]
    assert len(web.log("customer_cleanup_log.txt")) == len(web.log("crm_heartbeat_log.txt")) == 1
    assert len(web.log("crm_report_log.txt")) == 1
    assert [line[20:] for line in web.log("order_reminders_log.txt")] == pending
    [(raised,)] = web.site.sql("SELECT count(*) FROM crm_stockmovement WHERE reason = 'restock'")
    assert len(web.log("low_stock_updates_log.txt")) == raised > 0


@pytest.mark.django_db  # some of Django's own checks ask the database
def test_disagreeing_line_of_cronjobs_is_a_warning_that_shows_both(settings: Any) -> None:
    """Which of them was meant, only a person knows."""
    settings.CRONJOBS = [("*/10 * * * *", "crm.cron.log_crm_heartbeat")]

    with pytest.raises(SystemCheckError) as refusal:
        call_command("check", fail_level="WARNING")

    assert "'*/5 * * * *' in crm" in str(refusal.value)
    assert "'*/10 * * * *' in CRONJOBS[0]" in str(refusal.value)


@pytest.mark.django_db  # some of Django's own checks ask the database
def test_disagreeing_crontab_file_is_a_warning_that_shows_both(settings: Any, tmp_path: Path) -> None:
    """Likewise."""
    line = tmp_path / "line.txt"
    line.write_text("0 3 * * 0 /srv/crm/crm/cron_jobs/clean_inactive_customers.sh --scheduled\n")
    settings.CRONS = {**settings.CRONS, "CRONTAB_FILES": [line]}

    with pytest.raises(SystemCheckError) as refusal:
        call_command("check", fail_level="WARNING")

    assert "'0 2 * * SUN' in crm" in str(refusal.value)
    assert "'0 3 * * 0' in line.txt:1" in str(refusal.value)
