"""The jobs that ask GraphQL, and the report: what is asked, what is logged, and what a failure leaves behind."""

import re
import subprocess
import sys
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command, load_command_class
from django.utils import timezone

from crm import cron, reports
from crm.api_client import ApiFailed
from crm.graph import trusted
from crm.logs import LogRefused
from crm.models import Product, StockMovement
from crm.token_files import JOBS_LIFE, JOBS_SCOPES
from crm.tokens import issue, revoke
from crons.attempts import Counts, Progress

from .conftest import NOW, attempt
from .graphql_server import order, page

PROJECT = Path(__file__).parents[2]
SCRIPT = PROJECT / "crm" / "cron_jobs" / "send_order_reminders.py"
RUN = attempt(key="run@2026-11-22T02:00Z")


@pytest.fixture(autouse=True)
def at_two(monkeypatch):
    """Sunday 22 November 2026, 02:00:01 UTC."""
    monkeypatch.setattr(timezone, "now", lambda: NOW + timedelta(seconds=1))


def log(log_dir, name):
    path = log_dir / name
    return path.read_text().splitlines() if path.exists() else []


# ── the reminders ─────────────────────────────────────────────────────────────────────────────────


def test_reminders_log_every_pending_order_of_all_pages(api, log_dir, capsys):
    api.answers = [page("orders", [order(7, "a@example.com"), order(8)], "c"), page("orders", [order(9)])]

    cron.send_order_reminders(RUN)

    assert log(log_dir, "order_reminders_log.txt") == [
        "2026-11-22 02:00:01 Order 7 a@example.com",
        "2026-11-22 02:00:01 Order 8 c8@example.com",
        "2026-11-22 02:00:01 Order 9 c9@example.com",
    ]
    assert capsys.readouterr().out == "Order reminders processed!\n"


def test_the_record_says_how_far_the_reminders_are_and_how_many_there_were(api, log_dir):
    api.answers = [page("orders", [order(7), order(8)], "c"), page("orders", [order(9)])]
    mine = attempt()

    cron.send_order_reminders(mine)

    assert mine.work.counts == Counts(examined=3, changed=3)
    assert mine.work.progress == Progress(3, None, "Asking for orders")


def test_window_of_the_reminders_ends_at_the_slot_however_late_it_runs(api, log_dir):
    """A slot caught up on Tuesday reminds of what was pending for it, not of Tuesday's orders."""
    api.answers = [page("orders", [])]

    cron.send_order_reminders(RUN)
    cron.send_order_reminders()

    late, direct = (each["variables"] for each in api.asked)
    assert late == {"since": "2026-11-15T02:00:00+00:00", "until": "2026-11-22T02:00:00+00:00", "after": None}
    assert direct == {"since": "2026-11-15T02:00:01+00:00", "until": "2026-11-22T02:00:01+00:00", "after": None}
    assert [each["documentId"] for each in api.asked] == [trusted.of("pending_orders").id] * 2
    assert "orderedAt: {gte: $since, lt: $until}" in trusted.of("pending_orders").text


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"data": {"orders": None}, "errors": [{"message": "down"}]}, r"^orders, page 2 \(after 1 rows\): .*down"),
        (page("orders", [order(8, status="PAID")]), r"^Expected a pending order .*'PAID'"),
        (page("orders", [order(8, customer=None)]), r"^Expected a pending order"),
        (page("orders", [order("8")]), r"^Expected a pending order"),
    ],
)
def test_half_of_the_orders_leaves_no_line(api, log_dir, capsys, second, message):
    """Nobody could tell it from a day with few orders."""
    api.answers = [page("orders", [order(7)], "c"), second]

    with pytest.raises(ApiFailed, match=message):
        cron.send_order_reminders(RUN)

    assert log(log_dir, "order_reminders_log.txt") == []
    assert capsys.readouterr().out == ""


def test_day_without_pending_orders_is_a_day_without_lines(api, log_dir, capsys):
    api.answers = [page("orders", [])]

    cron.send_order_reminders(RUN)

    assert log(log_dir, "order_reminders_log.txt") == []
    assert capsys.readouterr().out == "Order reminders processed!\n"


def test_address_cannot_forge_a_line(api, log_dir):
    api.answers = [page("orders", [order(7, "a@example.com\n2026-11-22 02:00:01 Order 8 \x1b[2Jb@example.com")])]

    cron.send_order_reminders(RUN)

    assert log(log_dir, "order_reminders_log.txt") == [
        "2026-11-22 02:00:01 Order 7 a@example.com 2026-11-22 02:00:01 Order 8  [2Jb@example.com"
    ]


def test_dry_run_of_the_reminders_prints_and_logs_nothing(api, log_dir, capsys):
    api.answers = [page("orders", [order(7)])]

    call_command("send_order_reminders", "--dry-run")

    assert capsys.readouterr().out == "Would log 1 reminders.\nOrder 7 c7@example.com\n"
    assert not log_dir.exists()


def test_dry_run_that_is_refused_is_an_error_of_the_command(api, log_dir):
    api.answers = [{"errors": [{"message": "It expired.", "extensions": {"code": "UNAUTHENTICATED"}}]}]

    with pytest.raises(CommandError, match=r"^orders, page 1 \(after 0 rows\): .* It expired\. \(UNAUTHENTICATED\)"):
        call_command("send_order_reminders", "--dry-run")


# ── the restock, against the real schema ──────────────────────────────────────────────────────────


@pytest.fixture
def shop(live_server, settings, monkeypatch, log_dir):
    """The real endpoint with a token for the jobs, and three products."""
    row, token = issue("jobs", JOBS_SCOPES, NOW + JOBS_LIFE, now=NOW)
    settings.CRM_GRAPHQL_URL = f"{live_server.url}/graphql"
    monkeypatch.setenv("CRM_TOKEN", token)
    for name, stock in (("Lamp", 3), ("Desk", 9), ("Chair", 10)):
        Product.objects.create(name=name, price=Decimal("9.90"), stock=stock)
    return row


def stocks():
    return dict(Product.objects.values_list("name", "stock"))


def test_restock_raises_what_is_low_and_logs_each_product(shop, log_dir, capsys):
    cron.update_low_stock(RUN)

    assert stocks() == {"Lamp": 13, "Desk": 19, "Chair": 10}
    assert log(log_dir, "low_stock_updates_log.txt") == [
        "2026-11-22 02:00:01 Lamp new stock 13",
        "2026-11-22 02:00:01 Desk new stock 19",
    ]
    assert capsys.readouterr().out.splitlines()[1:] == ["Lamp new stock 13", "Desk new stock 19"]


def test_restock_that_is_tried_again_raises_once_and_says_the_same(shop, log_dir):
    """The first attempt may have been killed before its log or after it: no attempt can know."""
    first, second = attempt(), attempt()
    cron.update_low_stock(first)
    Product.objects.update(stock=1)
    cron.update_low_stock(second)

    assert stocks() == {"Lamp": 1, "Desk": 1, "Chair": 1}
    assert (first.work.counts, second.work.counts) == (Counts(changed=2), Counts(changed=0))
    lines = log(log_dir, "low_stock_updates_log.txt")
    assert len(lines) == 4
    assert lines[:2] == lines[2:]


def test_restock_killed_before_its_log_is_logged_by_the_next_attempt(shop, log_dir, monkeypatch, capsys):
    """What was raised stands in the log in the end, with the stock that it was raised to."""
    with monkeypatch.context() as patch:
        patch.setattr("crm.logs._write", full_disk)
        with pytest.raises(LogRefused):
            cron.update_low_stock(RUN)
    assert "Lamp new stock 13" in capsys.readouterr().out
    assert log(log_dir, "low_stock_updates_log.txt") == []

    cron.update_low_stock(RUN)

    assert stocks() == {"Lamp": 13, "Desk": 19, "Chair": 10}
    assert len(log(log_dir, "low_stock_updates_log.txt")) == 2
    assert capsys.readouterr().out.startswith("This was done before, under the same key: ")


def full_disk(file, lines, filename):
    """Refuse as a full disk does, but let nothing through what only opens the file."""
    if lines:
        raise LogRefused(f"{filename} has no room")


def test_restock_called_directly_restocks_each_time(shop, log_dir):
    """As the real django-crontab calls it, without our stand-in."""
    cron.update_low_stock()
    Product.objects.update(stock=1)
    cron.update_low_stock()

    assert stocks() == {"Lamp": 11, "Desk": 11, "Chair": 11}
    assert len(log(log_dir, "low_stock_updates_log.txt")) == 5


def test_restock_whose_log_cannot_be_written_raises_nothing(shop, log_dir, settings, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    settings.CRM_LOG_DIR = tmp_path / "link"

    with pytest.raises(LogRefused, match="CRM_LOG_DIR"):
        cron.update_low_stock(RUN)

    assert not StockMovement.objects.exists()


def test_revoked_token_fails_the_job(shop, log_dir):
    revoke(shop.prefix, now=NOW)

    with pytest.raises(ApiFailed, match=rf"The service token {shop.prefix} was revoked .* \(UNAUTHENTICATED\)"):
        cron.update_low_stock(RUN)

    assert stocks() == {"Lamp": 3, "Desk": 9, "Chair": 10}
    assert log(log_dir, "low_stock_updates_log.txt") == []


def test_expired_token_fails_the_job(shop, log_dir, monkeypatch):
    monkeypatch.setattr(timezone, "now", lambda: NOW + JOBS_LIFE)

    with pytest.raises(ApiFailed, match=rf"The service token {shop.prefix} expired"):
        cron.update_low_stock(RUN)

    assert stocks() == {"Lamp": 3, "Desk": 9, "Chair": 10}


def test_token_without_the_scope_fails_the_job(shop, log_dir, monkeypatch):
    _, other = issue("other", ["orders:read"], NOW + JOBS_LIFE, now=NOW)
    monkeypatch.setenv("CRM_TOKEN", other)

    with pytest.raises(ApiFailed, match=r"\(FORBIDDEN\) Give the jobs a token with that scope"):
        cron.update_low_stock(RUN)

    assert stocks() == {"Lamp": 3, "Desk": 9, "Chair": 10}


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (None, "^Expected products and a message, but None came"),
        ({"products": [{"name": "Lamp"}], "message": "", "replayed": False, "errors": []}, "^Expected products"),
        (
            {
                "products": [],
                "message": "",
                "replayed": False,
                "errors": [{"code": "INVALID", "message": "The key has 300 characters."}],
            },
            r"^The stocks were not raised: The key has 300 characters\. \(INVALID\)",
        ),
    ],
)
def test_restock_takes_no_half_payload(api, log_dir, payload, message):
    api.answers = [{"data": {"updateLowStockProducts": payload}}]

    with pytest.raises(ApiFailed, match=message):
        cron.update_low_stock(RUN)

    assert log(log_dir, "low_stock_updates_log.txt") == []


def test_name_of_a_product_cannot_forge_a_line(api, log_dir, capsys):
    lamp = {"name": "Lamp\n2026-11-22 02:00:01 Desk new stock 99\r\u2028", "stock": 13}
    payload = {"products": [lamp], "message": "Raised 1.", "replayed": False, "errors": []}
    api.answers = [{"data": {"updateLowStockProducts": payload}}]

    cron.update_low_stock(RUN)

    assert log(log_dir, "low_stock_updates_log.txt") == [
        "2026-11-22 02:00:01 Lamp 2026-11-22 02:00:01 Desk new stock 99  new stock 13"
    ]
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_dry_run_of_the_restock_changes_nothing(api, log_dir, capsys):
    api.answers = [page("products", [{"name": "Lamp", "stock": 3}])]

    call_command("update_low_stock", "--dry-run")

    assert capsys.readouterr().out == "Would raise 1 products.\nLamp new stock 13\n"
    assert [each["variables"] for each in api.asked] == [{"below": 10, "after": None}]
    assert [each["documentId"] for each in api.asked] == [trusted.of("low_products").id]
    assert "mutation" not in trusted.of("low_products").text
    assert not log_dir.exists()


# ── the report ────────────────────────────────────────────────────────────────────────────────────


def test_report_logs_the_totals_up_to_its_slot(make_customer, log_dir, capsys, monkeypatch):
    asked = []

    def totals(until):
        asked.append(until)
        return reports.Totals(customers=3, orders=2, revenue=Decimal("1234.5"))

    monkeypatch.setattr(reports, "totals", totals)

    cron.generate_crm_report(RUN)

    assert asked == [NOW]
    assert log(log_dir, "crm_report_log.txt") == [
        "2026-11-22 02:00:01 - Report: 3 customers, 2 orders, 1234.50 revenue"
    ]
    assert capsys.readouterr().out == "Report: 3 customers, 2 orders, 1234.50 revenue\n"


def test_dry_run_of_the_report_prints_it_only(make_customer, log_dir, capsys):
    make_customer(NOW)

    call_command("crm_report", "--dry-run")

    assert capsys.readouterr().out == "Report: 1 customers, 1 orders, 0.00 revenue\n"
    assert not log_dir.exists()


# ── the commands and the script ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("clean_inactive_customers", "clean_inactive_customers"),
        ("send_order_reminders", "send_order_reminders"),
        ("update_low_stock", "update_low_stock"),
        ("crm_report", "generate_crm_report"),
    ],
)
def test_commands_enter_the_ledger(command, name):
    assert load_command_class("crm", command).entry == name


def run(script, *arguments, **environment):
    """Start *script* as cron would: from /, with next to nothing in the environment."""
    bare = ["env", "-i", *(f"{name}={value}" for name, value in environment.items())]
    return subprocess.run([*bare, script, *arguments], cwd="/", capture_output=True, text=True, timeout=60)


def project_with(script, folder):
    """Make a project whose manage.py shows who called it with what."""
    place = folder / "a project" / "crm" / "cron_jobs"
    place.mkdir(parents=True)
    copy = place / script.name
    copy.write_bytes(script.read_bytes())
    copy.chmod(0o755)
    (folder / "a project" / "manage.py").write_text("import sys; print('python3', sys.argv[1:]); sys.exit(3)")
    return copy


def test_script_takes_the_projects_interpreter_and_passes_the_exit_code_on(tmp_path):
    """Without PATH too, and through a symlink."""
    script = project_with(SCRIPT, tmp_path)
    (tmp_path / "linked").symlink_to(script)

    plain = run(tmp_path / "linked", "--dry-run")
    assert (plain.returncode, plain.stdout) == (3, "python3 ['send_order_reminders', '--dry-run']\n")

    own = script.parents[2] / ".venv" / "bin" / "python"
    own.parent.mkdir(parents=True)
    own.write_text("#!/bin/sh\necho own")
    own.chmod(0o755)
    assert run(script).stdout == "own\n"
    assert run(script, CRM_PYTHON=sys.executable).stdout.startswith("python3 ")


def test_script_says_what_is_missing(tmp_path):
    script = project_with(SCRIPT, tmp_path)

    without_python = run(script, CRM_PYTHON="/nowhere/python")
    (script.parents[2] / "manage.py").unlink()
    without_project = run(script)

    assert (without_python.returncode, without_python.stderr) == (
        127,
        "send_order_reminders.py: /nowhere/python cannot be started. Set CRM_PYTHON to the project's interpreter.\n",
    )
    assert (without_project.returncode, without_project.stderr) == (
        2,
        f"send_order_reminders.py: no manage.py in {script.parents[2]}. "
        "Keep the script in crm/cron_jobs of the project.\n",
    )


def test_script_is_executable_in_git():
    listed = subprocess.run(
        ["git", "ls-files", "--stage", SCRIPT], cwd=PROJECT, capture_output=True, text=True, check=False
    )

    assert SCRIPT.stat().st_mode & 0o111
    if listed.returncode == 0 and listed.stdout:  # not in an unpacked archive
        assert listed.stdout.startswith("100755 ")


def test_crontab_file_is_one_line_for_every_day_at_eight():
    assert SCRIPT.with_name("order_reminders_crontab.txt").read_text() == (
        "0 8 * * * /srv/crm/crm/cron_jobs/send_order_reminders.py --scheduled "
        ">> /srv/crm/var/log/order_reminders_cron.log 2>&1\n"
    )


def test_cronjobs_name_both_jobs_of_django_crontab(settings):
    assert settings.CRONJOBS == [
        ("*/5 * * * *", "crm.cron.log_crm_heartbeat"),
        ("0 */12 * * *", "crm.cron.update_low_stock"),
    ]


def test_every_job_writes_its_own_file_of_the_log_directory():
    """Rotated, and through no symlink: crm.logs alone opens files."""
    names = {value for name, value in vars(cron).items() if name.endswith("_LOG")}

    assert names == {
        "customer_cleanup_log.txt",
        "order_reminders_log.txt",
        "crm_heartbeat_log.txt",
        "low_stock_updates_log.txt",
        "crm_report_log.txt",
    }
    assert not re.search(r"\bopen\(", Path(cron.__file__).read_text())


def test_slot_of_the_report_is_a_monday():
    from crons.jobs import registry

    slot = registry.entries["generate_crm_report"].schedule.next_after(NOW, timezone.get_current_timezone())
    assert slot == datetime.fromisoformat("2026-11-23T06:00:00+00:00")


def test_heartbeat_waits_as_long_as_the_setting_says(settings, log_dir, monkeypatch):
    """It gave up after five seconds on a busy machine, and told people of a setting that did not count."""
    settings.CRM_GRAPHQL_URL = "http://127.0.0.1:9/graphql"
    settings.CRM_GRAPHQL_TIMEOUT = 17
    waits = []

    class Client:
        def __init__(self, url, token=None, timeout_seconds=None):
            waits.append((url, timeout_seconds))

        def ask(self, query):
            return {"hello": "Hello, GraphQL!"}

    monkeypatch.setattr(cron, "ApiClient", Client)

    cron.log_crm_heartbeat()

    assert waits == [("http://127.0.0.1:9/graphql", 17)]
    assert len(log(log_dir, "crm_heartbeat_log.txt")) == 1
