"""What a person sees at a terminal while a job runs, and what is left of it."""

from __future__ import annotations

import sys

import pytest

from tests.acceptance.conftest import PATIENCE_SECONDS, ROOT
from tests.acceptance.shop.conftest import Shop, at_terminal, make_pending_orders
from tests.crm import graphql_server


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
