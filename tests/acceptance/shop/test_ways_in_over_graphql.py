"""The jobs that ask GraphQL: their slots once, every page, and a refused token is a failure."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import PATIENCE_SECONDS
from tests.acceptance.shop.conftest import (
    FAR_SCHEDULE,
    PENDING,
    REMINDERS,
    REMINDERS_SCRIPT,
    RESTOCK,
    Shop,
    lines_of_django_crontab,
    make_pending_orders,
)


def test_reminders_run_their_slot_from_the_crontab_line_once(shop: Shop, orders: Any, tmp_path: Path) -> None:
    """From /, through a symlink, with what the line gives and nothing else."""
    (tmp_path / "linked.py").symlink_to(REMINDERS_SCRIPT)
    shop.reschedule_to_this_minute(REMINDERS)

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


def test_restock_of_django_crontabs_line_runs_its_slot_once(web: Shop) -> None:
    """Over GraphQL, with the token that `service_token jobs` left in its file."""
    command = lines_of_django_crontab(web)[1].split(None, 5)[5]
    web.reschedule_to_this_minute(RESTOCK)
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
