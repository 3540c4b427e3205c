"""The CRM's jobs on a big shop, each beside the same effects in hand-written SQL, and beside a naive twin.

Each call has a copy of the shop, and says what it took of the processor, PostgreSQL's part too, how much its peak of
memory rose, and how long its longest transaction that wrote anything was.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import django

django.setup()

from django.conf import settings  # noqa: E402 (after setup)
from django.contrib.sessions.models import Session  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection, transaction  # noqa: E402

from benchmarks import crm_by_hand  # noqa: E402
from benchmarks.pages import Processor  # noqa: E402
from crm import customers, demo_big, expiry, reports, stock  # noqa: E402
from crm.archives import nightly  # noqa: E402
from crm.archives.moving import Moving  # noqa: E402
from crm.digests import digests, reminding  # noqa: E402
from crm.digests.models import Recipient, Report  # noqa: E402
from crm.imports import running  # noqa: E402

NOW = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
RECIPIENTS, SESSIONS, IMPORTED = 20_000, 200_000, 100_000


def fill(count: int) -> dict[str, Any]:
    """Make the shop, and what some jobs work on besides it."""
    call_command("migrate", verbosity=0)
    demo_big.write(demo_big.begun(count, NOW), lambda *_: None)
    share = count / 1_000_000
    Recipient.objects.bulk_create(
        (
            Recipient(name=f"Reader {number}", email=f"reader{number}@example.com", created_at=NOW - timedelta(days=9))
            for number in range(int(RECIPIENTS * share))
        ),
        batch_size=500,
    )
    data = {"shop": {"orders": 1, "new_customers": 1}, "automation": {"verdicts": []}}
    day = NOW.replace(hour=0)
    Report.objects.create(
        kind="daily", period="2026-11-21", since=day - timedelta(days=1), until=day, data=data, created_at=NOW
    )
    Session.objects.bulk_create(
        (
            Session(
                session_key=f"s{number:031}", session_data="x" * 200, expire_date=NOW + timedelta(days=number % 20 - 18)
            )
            for number in range(int(SESSIONS * share))
        ),
        batch_size=500,
    )
    text = (
        f"Person {number},person{number}@import.example,+4930{number:07}\n" for number in range(int(IMPORTED * share))
    )
    running.keep(_pieces("name,email,phone\n", text), "many.csv", by="bench", now=NOW)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    return {}


def _pieces(header: str, lines: Iterator[str]) -> Iterator[bytes]:
    piece = [header]
    for line in lines:
        piece.append(line)
        if len(piece) == 2_000:
            yield "".join(piece).encode()
            piece = []
    yield "".join(piece).encode()


def _archive_orders() -> int:
    settings.CRM_ARCHIVE_ORDERS_DAYS = 900
    [done] = nightly.archive_old(Moving(NOW, key="bench"), names=["orders"], force=True, budget=None)
    return done.moved


def _cleanup(policy: str) -> int:
    settings.CRM_CLEANUP_POLICY = policy
    return customers.delete_inactive(now=NOW, force=True, key="bench").deleted


def _reminders() -> int:
    settings.CRM_REMIND_MOST = 3
    reminding.plan(NOW, now=NOW, key="bench")
    return _count("crm_mail")


def _totals() -> int:
    return reports.totals(NOW).orders


def _import() -> int:
    return running.work(1, now=lambda: NOW, run=None, on_progress=lambda done, of: None).made


OURS: dict[str, Callable[[], int]] = {
    "cleanup, delete": lambda: _cleanup("delete"),
    "cleanup, anonymise": lambda: _cleanup("anonymise"),
    "totals of the report": _totals,
    "low stock": lambda: len(stock.update_low_stock(key="bench", now=NOW).products),
    "reminders planned": _reminders,
    "digests planned": lambda: len(digests.plan(NOW + timedelta(hours=8), now=NOW, key="bench")),
    "digests, nothing to plan": lambda: len(digests.plan(NOW + timedelta(hours=8), now=NOW, key="bench")),
    "orders archived": _archive_orders,
    "customers imported": _import,
    "sessions expired": lambda: expiry.delete_expired(now=NOW, budget=timedelta(hours=1)).sessions,
}
PREPARED: dict[str, Callable[[], object]] = {"digests, nothing to plan": OURS["digests planned"]}


def _count(table: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT COUNT(*) FROM {table}")
        return int(cursor.fetchone()[0])


@contextmanager
def _longest() -> Iterator[list[float]]:
    """Note how long each outermost transaction, and each statement outside of one, took that wrote something."""
    took: list[float] = []
    begun: list[float] = []
    wrote: list[bool] = []
    enter, leave = transaction.Atomic.__enter__, transaction.Atomic.__exit__

    def entered(self: transaction.Atomic) -> None:
        if not connection.in_atomic_block:
            begun[:], wrote[:] = [time.perf_counter()], []
        enter(self)

    def left(self: transaction.Atomic, *exception: Any) -> None:
        leave(self, *exception)
        if not connection.in_atomic_block and wrote:
            took.append(time.perf_counter() - begun[0])

    def wrapper(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        started = time.perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            if not sql.lstrip().startswith(("SELECT", "BEGIN")):
                wrote.append(True)
                if not connection.in_atomic_block:
                    took.append(time.perf_counter() - started)

    atomic = transaction.Atomic
    with (
        patch.object(atomic, "__enter__", entered),
        patch.object(atomic, "__exit__", left),
        connection.execute_wrapper(wrapper),
    ):
        yield took


def measure(what: str, how: str) -> dict[str, Any]:
    """Do *what* once: "ours", "hand" or "naive"; the last with a part of the rows, and said for all."""
    prepare = PREPARED.get(what)
    if prepare:
        prepare()
    works = {"ours": OURS, "hand": crm_by_hand.HAND, "naive": crm_by_hand.NAIVE}[how]
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    processor = Processor()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory(prefix="crons-bench-") as folder, _longest() as took:
        settings.CRM_ARCHIVE_DIR = Path(folder)
        before, started = processor.seconds(), time.perf_counter()
        count = works[what]()
        used, wall = processor.seconds() - before, time.perf_counter() - started
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    return {"count": count, "cpu": used, "wall": wall, "grown_mib": grown / 1024, "longest": max(took, default=0.0)}


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "crm.settings")
    function, *arguments = sys.argv[1:]
    print(json.dumps(fill(int(arguments[0])) if function == "fill" else measure(*arguments)))
