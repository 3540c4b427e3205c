"""The ways in: the jobs, the commands, the shell script, the crontab line."""

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.utils import timezone

from crm.api_client import ApiFailed
from crm.customers import CleanupRefused
from crm.graph import trusted
from crm.logs import LogRefused
from crm.models import Customer, CustomerTombstone, Order, OrderItem, Product
from crons import GiveUp
from crons.attempts import Counts, Progress
from crons.triggers.by_name import Ran

from .conftest import CUT, NOW, attempt

PROJECT = Path(__file__).parents[2]
SCRIPT = PROJECT / "crm" / "cron_jobs" / "clean_inactive_customers.sh"


@pytest.fixture
def cron(log_dir):
    """The jobs, with a log directory of their own."""
    from crm import cron

    return cron


@pytest.fixture
def at_two(monkeypatch):
    """Sunday 22 November 2026, 02:00:01 UTC."""
    monkeypatch.setattr(timezone, "now", lambda: NOW + timedelta(seconds=1))


@pytest.fixture
def ledger(monkeypatch):
    """What was handed to the ledger: the entry's name, and what was asked for besides."""
    calls = []

    def run_entry(name, say, *, by, echo, **asked):
        calls.append((name, {key: value for key, value in asked.items() if value}))
        return Ran(0)

    monkeypatch.setattr("crons.management.entry_command.run_entry", run_entry)
    monkeypatch.delenv("CRONS_ATTEMPT", raising=False)
    return calls


# ── the cleanup job and its command ───────────────────────────────────────────────────────────────


def test_cleanup_logs_one_line_with_time_and_count(cron, log_dir, make_customer, at_two):
    make_customer(CUT - timedelta(days=1))

    cron.clean_inactive_customers()
    cron.clean_inactive_customers()

    assert (log_dir / "customer_cleanup_log.txt").read_text() == (
        "2026-11-22 02:00:01 Deleted 1 inactive customers\n2026-11-22 02:00:01 Deleted 0 inactive customers\n"
    )


def test_cleanup_that_runs_late_judges_as_of_its_slot(cron, make_customer, at_two):
    """A slot caught up on Tuesday must not take those who were safe on Sunday."""
    make_customer(CUT)
    late, later = attempt(key="clean_inactive_customers@2026-11-22T02:00Z"), attempt(NOW + timedelta(days=2))

    assert cron.clean_inactive_customers(late).deleted == 0
    assert cron.clean_inactive_customers(later).deleted == 1
    assert late.work.counts == Counts(examined=1, changed=0, skipped={"ordered within the year": 1})
    assert later.work.counts == Counts(examined=1, changed=1)
    assert later.work.progress == Progress(1, 1, "Deleting")
    assert CustomerTombstone.objects.get().run_key == "k"


def test_cleanup_above_its_caps_is_not_tried_again(cron, make_customer, settings, at_two):
    """A person has to look; the retries would refuse as well. Called by hand it refuses in its own words."""
    settings.CRM_CLEANUP_MAX_COUNT = 1
    for _ in range(2):
        make_customer(CUT - timedelta(days=1))

    with pytest.raises(GiveUp, match=r"\(CRM_CLEANUP_MAX_COUNT\)\."):
        cron.clean_inactive_customers(attempt())
    with pytest.raises(CleanupRefused):
        cron.clean_inactive_customers()

    assert Customer.objects.count() == 2


def test_log_that_cannot_be_written_fails_the_cleanup_before_it_deletes(cron, settings, tmp_path, make_customer):
    (tmp_path / "real").mkdir()
    settings.CRM_LOG_DIR = tmp_path / "link"
    settings.CRM_LOG_DIR.symlink_to(tmp_path / "real")

    make_customer(CUT - timedelta(days=1))

    with pytest.raises(LogRefused, match="CRM_LOG_DIR"):
        cron.clean_inactive_customers()

    assert Customer.objects.count() == 1


def test_deleted_customers_are_told_of_though_the_disk_is_full(cron, make_customer, log_dir, monkeypatch, capsys):
    """They are gone; and the run's next attempt logs how many, though it finds none to delete."""
    make_customer(CUT - timedelta(days=1))
    context = attempt()
    with monkeypatch.context() as patch:
        patch.setattr("crm.logs._write", full_disk)
        with pytest.raises(LogRefused):
            cron.clean_inactive_customers(context)
    assert capsys.readouterr().out.startswith("Deleted 1 of 1 customers: ")

    assert cron.clean_inactive_customers(context).deleted == 0

    [line] = (log_dir / "customer_cleanup_log.txt").read_text().splitlines()
    assert line[19:] == " Deleted 1 inactive customers"


def full_disk(file, lines, filename):
    """Refuse as a full disk does, but let nothing through what only opens the file."""
    if lines:
        raise LogRefused(f"{filename} has no room")


def test_command_enters_the_ledger_and_does_nothing_itself(ledger, make_customer, log_dir):
    make_customer(CUT - timedelta(days=1))

    call_command("clean_inactive_customers")
    call_command("clean_inactive_customers", "--scheduled", "--wait")

    assert ledger == [
        ("clean_inactive_customers", {}),
        ("clean_inactive_customers", {"scheduled": True, "wait": True}),
    ]
    assert Customer.objects.count() == 1
    assert not log_dir.exists()


def test_force_is_an_argument_of_the_run(ledger, cron, make_customer, settings, log_dir):
    """Where a person looks later, it says so: an environment leaves no trace."""
    settings.CRM_CLEANUP_MAX_COUNT = 0
    make_customer(CUT - timedelta(days=1))

    call_command("clean_inactive_customers", "--force", "--wait")

    assert ledger == [("clean_inactive_customers", {"args": {"force": True}, "wait": True})]
    with pytest.raises(GiveUp):
        cron.clean_inactive_customers(attempt(), force=False)
    assert cron.clean_inactive_customers(attempt(), force=True).deleted == 1


def test_cleanup_says_its_counts_by_reason(cron, make_customer, log_dir, at_two, capsys):
    make_customer(CUT - timedelta(days=1))
    make_customer(CUT + timedelta(days=1))

    cron.clean_inactive_customers()

    assert capsys.readouterr().out == (
        "Deleted 1 of 2 customers: no order since 2025-11-22 02:00:01 +0000.\nKept 1: ordered within the year.\n"
    )


def test_dry_run_prints_the_same_counts_and_leaves_no_trace(ledger, make_customer, log_dir, at_two, capsys):
    make_customer(CUT - timedelta(days=1))

    call_command("clean_inactive_customers", "--dry-run")

    assert capsys.readouterr().out == ("Would delete 1 of 1 customers: no order since 2025-11-22 02:00:01 +0000.\n")
    assert (ledger, Customer.objects.count(), log_dir.exists()) == ([], 1, False)


def test_refused_cleanup_deletes_and_logs_nothing(cron, make_customer, settings, log_dir):
    settings.CRM_CLEANUP_MAX_COUNT = 0
    make_customer(CUT - timedelta(days=1))

    with pytest.raises(CleanupRefused, match=r"^1 of 1 customers would be deleted"):
        cron.clean_inactive_customers()
    with pytest.raises(CommandError, match=r"^1 of 1 customers would be deleted"):
        call_command("clean_inactive_customers", "--dry-run")

    assert (log_dir / "customer_cleanup_log.txt").read_text() == ""
    cron.clean_inactive_customers(force=True)
    assert Customer.objects.count() == 0


# ── the script and its crontab line ───────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A database file with one inactive customer, and the bare environment that reaches it."""
    root = tmp_path_factory.mktemp("shop")
    environment = {
        "PATH": "/usr/bin:/bin",
        "CRM_PYTHON": sys.executable,
        "CRM_SECRET_KEY": "only-for-tests-" * 5,
        "CRM_ENV_FILE": os.devnull,
        "CRM_LOG_DIR": str(root / "log"),
        "DATABASE_URL": f"sqlite:///{root / 'shop.sqlite3'}",
    }
    insert = "from crm.models import Customer as C; from datetime import datetime as d, UTC; "
    insert += "C.objects.create(name='A', email='a@example.com', created_at=d(2020, 1, 1, tzinfo=UTC))"
    for arguments in (["migrate", "-v0"], ["shell", "-v0", "-c", insert], ["crons", "sync"]):
        subprocess.run([sys.executable, PROJECT / "manage.py", *arguments], env=environment, check=True)
    return SimpleNamespace(root=root, environment=environment, log=root / "log" / "customer_cleanup_log.txt")


def start(script, shop, *arguments, **changes):
    """Run *script* as cron would: from / and with nothing in the environment but what *shop* needs."""
    environment = {name: value for name, value in (shop.environment | changes).items() if value is not None}
    bare = ["env", "-i", *(f"{name}={value}" for name, value in environment.items())]
    return subprocess.run([*bare, script, *arguments], cwd="/", capture_output=True, text=True, timeout=60)


def test_script_works_in_a_bare_environment_from_anywhere(shop):
    link = shop.root / "linked.sh"
    link.symlink_to(SCRIPT)

    dry = start(SCRIPT, shop, "--dry-run")
    first = start(link, shop)
    second = start(SCRIPT, shop)

    assert (dry.returncode, dry.stderr) == (0, "")
    assert dry.stdout.startswith("Would delete 1 of 1 customers: ")
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout.startswith("Deleted 1 of 1 customers: ")
    assert second.stdout.startswith("Deleted 0 of 0 customers: ")
    lines = shop.log.read_text().splitlines()
    assert [line[20:] for line in lines] == ["Deleted 1 inactive customers", "Deleted 0 inactive customers"]


def test_script_passes_the_exit_code_on(shop):
    failed = start(SCRIPT, shop, DATABASE_URL="mysql://x/y")
    misused = start(SCRIPT, shop, "--frobnicate")

    assert (failed.returncode, misused.returncode) == (1, 2)
    assert "DATABASE_URL starts with 'mysql'." in failed.stderr


def test_script_says_when_there_is_no_interpreter(shop):
    result = start(SCRIPT, shop, CRM_PYTHON="/nowhere/python")

    assert result.returncode == 127
    assert result.stderr == (
        "clean_inactive_customers.sh: /nowhere/python cannot be started. Set CRM_PYTHON to the project's interpreter.\n"
    )


def test_script_takes_the_interpreter_beside_manage_py_else_python3(shop, tmp_path):
    project = tmp_path / "a project"
    (project / "crm" / "cron_jobs").mkdir(parents=True)
    (project / "manage.py").write_text("import sys; print('python3', sys.argv[1:])")
    script = Path(shutil.copy(SCRIPT, project / "crm" / "cron_jobs"))

    assert start(script, shop, "--dry-run", CRM_PYTHON=None).stdout == (
        "python3 ['clean_inactive_customers', '--dry-run']\n"
    )

    own = project / ".venv" / "bin" / "python"
    own.parent.mkdir(parents=True)
    own.write_text("#!/bin/sh\necho own")
    own.chmod(0o755)
    assert start(script, shop, CRM_PYTHON=None).stdout == "own\n"


def test_script_is_executable_in_git():
    listed = subprocess.run(
        ["git", "ls-files", "--stage", SCRIPT], cwd=PROJECT, capture_output=True, text=True, check=False
    )

    assert os.access(SCRIPT, os.X_OK)
    if listed.returncode == 0:  # not in an unpacked archive
        assert listed.stdout.startswith("100755 ")


def test_crontab_file_is_one_line_for_sundays_at_two():
    text = SCRIPT.with_name("customer_cleanup_crontab.txt").read_text()

    assert text == (
        "0 2 * * 0 /srv/crm/crm/cron_jobs/clean_inactive_customers.sh --scheduled "
        ">> /srv/crm/var/log/customer_cleanup_cron.log 2>&1\n"
    )


# ── the heartbeat ─────────────────────────────────────────────────────────────────────────────────


def test_heartbeat_logs_a_line_in_local_time(cron, log_dir, settings, at_two):
    with timezone.override("Africa/Nairobi"):
        cron.log_crm_heartbeat()

    assert (log_dir / "crm_heartbeat_log.txt").read_text() == "22/11/2026-05:00:01 CRM is alive\n"


def test_heartbeat_without_hello_fails_and_logs_nothing(cron, log_dir, monkeypatch):
    """A line is a proof of life: a dead API must not leave one."""
    monkeypatch.setattr(trusted, "of", lambda name: trusted.Trusted(name, "{ goodbye }", ""))

    with pytest.raises(ApiFailed, match=r"^GraphQL did not say hello but: .*goodbye"):
        cron.log_crm_heartbeat()

    assert not log_dir.exists()


def test_heartbeat_asks_over_http_where_a_url_is_set_without_a_token(cron, log_dir, graphql, settings, monkeypatch):
    """hello is for anyone: the heartbeat must not stop when a token expires."""
    monkeypatch.setenv("CRM_TOKEN", "crm_12345678_secret")
    settings.CRM_GRAPHQL_URL = graphql.url

    cron.log_crm_heartbeat()

    assert graphql.asked == [{"documentId": trusted.of("hello").id}]
    assert "Authorization" not in graphql.headers[0]
    assert (log_dir / "crm_heartbeat_log.txt").read_text().endswith(" CRM is alive\n")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((500, "application/json", b"{}"), "answered HTTP 500"),
        ((200, "text/html", b"<html>"), "answered HTTP 200, text/html: <html>"),
        ({"data": {"hello": "x"}, "errors": [{"message": "partly"}]}, "partly"),
        ({"data": None}, "Expected HTTP 200 with data"),
        ({"data": {"hello": None}}, "GraphQL did not say hello but: {'hello': None}"),
        ([], "Expected GraphQL's JSON"),
    ],
)
def test_heartbeat_takes_no_half_answer(cron, log_dir, graphql, settings, answer, message):
    settings.CRM_GRAPHQL_URL, graphql.answers = graphql.url, [answer]

    with pytest.raises(ApiFailed, match=message):
        cron.log_crm_heartbeat()

    assert not log_dir.exists()


# ── demo data and the first account ───────────────────────────────────────────────────────────────


def all_rows():
    return [list(model.objects.order_by("pk").values_list()) for model in (Customer, Product, Order, OrderItem)]


def renumbered(rows):
    """Leave out the numbers that the database gave: sequences go on after a delete."""
    return [[tuple(map(str, row[1:])) for row in table] for table in rows[:2]]


def test_demo_data_is_the_same_for_the_same_seed_and_moment(db, capsys):
    arguments = ["demo_data", "--customers=40", "--now=2026-11-22T02:00:00+00:00"]

    call_command(*arguments)
    first = all_rows()
    for model in (OrderItem, Order, Product, Customer):
        model.objects.all().delete()
    call_command(*arguments)
    second = all_rows()

    assert renumbered(first) == renumbered(second)
    assert [row[2:] for row in first[2]] != []
    assert [(row[2], row[3], row[4]) for row in first[2]] == [(row[2], row[3], row[4]) for row in second[2]]
    assert [row[3:] for row in first[3]] == [row[3:] for row in second[3]]


def test_demo_shop_has_customers_of_every_fate(db):
    from crm.customers import delete_inactive

    call_command("demo_data", "--now=2026-11-22T02:00:00+00:00")

    cleanup = delete_inactive(now=NOW, dry_run=True)
    assert (Customer.objects.count(), Product.objects.count()) == (1000, 50)
    assert 100 < cleanup.deleted < 300
    assert set(cleanup.skipped) == {
        "signed up within the year",
        "ordered within the year",
        "has an open order",
    }
    assert not Order.objects.filter(ordered_at__gt=NOW).exists()
    assert not Order.objects.filter(ordered_at__lt=datetime(2023, 11, 22, tzinfo=UTC)).exists()


def test_demo_data_leaves_an_existing_shop_alone(make_customer, capsys):
    make_customer()

    call_command("demo_data")

    assert capsys.readouterr().out == "Customers are already there: nothing was written.\n"
    assert Customer.objects.count() == 1


def test_first_admin_gets_a_random_password_shown_once(db, capsys):
    call_command("ensure_admin")
    password = capsys.readouterr().out.strip().rpartition(" ")[2]
    call_command("ensure_admin")

    assert User.objects.get(is_superuser=True).check_password(password)
    assert len(password) == 20
    assert capsys.readouterr().out == "A superuser exists: admin. A new password: manage.py changepassword admin\n"


def test_admin_who_is_no_superuser_is_not_raised_to_one(db):
    User.objects.create_user("admin")

    with pytest.raises(CommandError, match=r"manage\.py createsuperuser --username NAME"):
        call_command("ensure_admin")
