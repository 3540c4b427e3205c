"""A ledger with so many rows that a database's planner means what it says, and a look at what it plans."""

from __future__ import annotations

import re
import uuid
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext

from crons import models
from crons.ledger import rows

# Never read from end to end, whatever the page: they grow with every slot.
BIG = ("crons_run", "crons_attempt", "crons_outputchunk", "crons_range")
EVERY = 50  # one run in so many does not end well


def fill(entries: list[models.Entry], count: int, now: datetime, *, range_hours: int = 1) -> None:
    """Write *count* runs of *entries*, ten minutes apart back from *now*, an attempt and a chunk each; then ANALYZE.

    Of ranges a tenth as many, *range_hours* apart: where a query takes one in ten of them, PostgreSQL may as well read
    the whole table.
    """
    first_attempt = (models.Attempt.objects.order_by("-pk").values_list("pk", flat=True).first() or 0) + 1
    runs = [_run(entries[n % len(entries)], n, now, first_attempt) for n in range(count)]
    using = "default"
    for start in range(0, count, 5_000):
        rows.insert(runs[start : start + 5_000], using)
    keys = list(models.Run.objects.order_by("pk").values_list("pk", "planned_at", "verdict")[:count])
    for start in range(0, count, 5_000):
        part = keys[start : start + 5_000]
        rows.insert([_attempt(pk, at, verdict) for pk, at, verdict in part], using)
    attempts = list(models.Attempt.objects.order_by("pk").values_list("pk", flat=True)[:count])
    for start in range(0, count, 5_000):
        part = attempts[start : start + 5_000]
        rows.insert([models.OutputChunk(attempt_id=pk, seq=0, stream="stdout", text="done\n") for pk in part], using)
    ranges = [_range(entries[n % len(entries)], n * range_hours, now) for n in range(count // 10)]
    rows.insert(ranges, using)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def plan(sql: str) -> list[str]:
    """Return the steps that the database would take for *sql*."""
    with connection.cursor() as cursor:
        cursor.execute(
            ("EXPLAIN QUERY PLAN " if connection.vendor == "sqlite" else "EXPLAIN ") + sql.replace("%", "%%")
        )
        return [str(row[-1]) for row in cursor.fetchall()]


def full_scans(captured: CaptureQueriesContext) -> list[str]:
    """Name what of the statements *captured* the database would do by reading a big table from end to end."""
    found = []
    for query in captured.captured_queries:
        sql = query["sql"].strip()
        if not sql.startswith("SELECT") or "crons_" not in sql or _ends_early(sql):
            continue
        steps = plan(sql)
        # Each of all entries, and then all rows of each, is a full scan by another name.
        by_entry = any(re.search(r"SCAN crons_entry", step) for step in steps)
        found += [f"{step}\n    in {sql}" for step in steps if _is_full_scan(step) or (by_entry and _is_all_of(step))]
    return found


def _ends_early(sql: str) -> bool:
    """Answer whether *sql* takes the newest rows as they come: all of them, or those that nearly all are."""
    taken = re.sub(r""" WHERE "\w+"\."(outcome|verdict)" = 'succeeded'""", "", sql)
    return " WHERE " not in taken and bool(re.search(r'ORDER BY "\w+"\."id" DESC\s+LIMIT \d+', taken))


def _is_all_of(step: str) -> bool:
    return bool(re.search(r"SEARCH crons_(run|range) USING .*\(entry_id=\?\)$", step))


def _is_full_scan(step: str) -> bool:
    if connection.vendor == "sqlite":
        # A scan along an index, with a limit, ends early; one of the table itself does not.
        found = re.search(r"SCAN (\w+)(?!.* USING)", step)
        return bool(found) and found[1] in BIG
    found = re.search(r"Seq Scan on (\w+)", step)
    return bool(found) and found[1] in BIG


def _run(entry: models.Entry, n: int, now: datetime, first_attempt: int) -> models.Run:
    at = now - timedelta(minutes=10 * (n + 1))
    verdict = "failed" if n % EVERY == 0 else "succeeded"
    return models.Run(
        entry_id=entry.pk, slot_at=at, planned_at=at, state="done", verdict=verdict, trigger="serve",
        recorded_at=now, ended_at=at, tries=1, current_attempt=first_attempt + n,
        detail="ValueError: no rows" if verdict == "failed" else "",
    )  # fmt: skip


def _attempt(run: int, at: datetime, outcome: str) -> models.Attempt:
    return models.Attempt(
        run_id=run, number=1, token=uuid.uuid4(), executor="process", instance="i", host="web1", pid=1, boot_id="b",
        begun_at=at, ended_at=at, outcome=outcome, error="Traceback" if outcome == "failed" else "",
    )  # fmt: skip


def _range(entry: models.Entry, n: int, now: datetime) -> models.Range:
    at = now - timedelta(hours=n + 1)
    fixed: dict[str, Any] = {"count": 1, "verdict": "missed", "reason": "catch_up", "trigger": "serve"}
    return models.Range(entry_id=entry.pk, first_at=at, last_at=at, recorded_at=at, **fixed)
