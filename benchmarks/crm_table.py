"""`python -m benchmarks crm`: makes the big shop on each database, a copy for each call, and prints the table."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

from benchmarks.measure import ROOT, child
from tests.postgres import Server

LIMIT, LONGEST_SECONDS = 1.3, 0.5
WHATS = (
    "cleanup, delete", "cleanup, anonymise", "totals of the report", "low stock", "reminders planned",
    "digests planned", "digests, nothing to plan", "orders archived", "customers imported", "sessions expired",
)  # fmt: skip
HOWS = ("ours", "hand")
NAIVE = ("cleanup, delete", "totals of the report", "low stock", "reminders planned", "sessions expired")
CRM = {
    "DJANGO_SETTINGS_MODULE": "crm.settings", "CRM_ENV_FILE": os.devnull, "CRM_DEBUG": "0",
    "CRM_SECRET_KEY": "benchmark-" * 6,
}  # fmt: skip
Copies = Callable[[], Any]


def main(arguments: Sequence[int] = (), databases: Sequence[str] = ("SQLite", "PostgreSQL")) -> int:
    """Measure, print and write build/crm.json; give 1 where a target is missed.

    Args: *arguments* are how many customers, and in how many rounds.
    """
    customers, rounds = (*arguments, *(1_000_000, 3)[len(arguments) :])
    rows = []
    for database in databases:
        with {"SQLite": _sqlite, "PostgreSQL": _postgres}[database](customers) as copy:
            print(f"\n{database}, {customers:,} customers; processor time, medians of {rounds}\n")
            print(
                "| job | rows | ours | by hand | ratio | naive | longest transaction | memory | |\n" + "|---" * 9 + "|"
            )
            for what in WHATS:
                rows.append({"database": database, "what": what, **_measured(what, copy, rounds)})
                print(_line(rows[-1]), flush=True)
    (ROOT / "build").mkdir(exist_ok=True)
    (ROOT / "build" / "crm.json").write_text(json.dumps(rows, indent=2) + "\n")
    return int(not all(row["met"] for row in rows))


def _measured(what: str, copy: Copies, rounds: int) -> dict[str, Any]:
    found: dict[str, list[dict[str, Any]]] = {how: [] for how in HOWS}
    for _ in range(rounds):
        for how in HOWS:  # in turns, so that what else the machine does meets both
            with copy() as url:
                found[how].append(child("crm_jobs", "measure", what, how, DATABASE_URL=url, **CRM))
    counts = {each["count"] for rounds_of in found.values() for each in rounds_of}
    assert len(counts) == 1, f"{what}: not the same effects: {counts}"
    ours, hand = (median(each["cpu"] for each in found[how]) for how in HOWS)
    naive = None
    if what in NAIVE:
        with copy() as url:
            few = child("crm_jobs", "measure", what, "naive", DATABASE_URL=url, **CRM)
        naive = few["cpu"] / few["count"] * max(counts)
    longest = min(each["longest"] for each in found["ours"])
    return {
        "count": max(counts), "ours": ours, "hand": hand, "ratio": ours / hand, "naive": naive, "longest": longest,
        "grown_mib": median(each["grown_mib"] for each in found["ours"]),
        "met": ours <= LIMIT * hand and longest <= LONGEST_SECONDS,
    }  # fmt: skip


def _line(row: dict[str, Any]) -> str:
    naive = f"{row['naive'] * 1000:,.0f} ms" if row["naive"] is not None else "–"
    return (
        f"| {row['what']} | {row['count']:,} | {row['ours'] * 1000:,.0f} ms | {row['hand'] * 1000:,.0f} ms | "
        f"{row['ratio']:.2f} | {naive} | {row['longest'] * 1000:,.0f} ms | +{row['grown_mib']:.0f} MiB | "
        f"{'met' if row['met'] else 'not met'} |"
    )


@contextmanager
def _sqlite(customers: int) -> Iterator[Copies]:
    with tempfile.TemporaryDirectory(prefix="crons-bench-") as folder:
        whole, used = Path(folder) / "whole.sqlite3", Path(folder) / "used.sqlite3"
        child("crm_jobs", "fill", str(customers), DATABASE_URL=f"sqlite:///{whole}", **CRM)

        @contextmanager
        def copy() -> Iterator[str]:
            for each in Path(folder).glob("used*"):
                each.unlink()
            shutil.copyfile(whole, used)
            yield f"sqlite:///{used}"

        yield copy


@contextmanager
def _postgres(customers: int) -> Iterator[Copies]:
    with tempfile.TemporaryDirectory(prefix="crons-bench-") as folder:
        server = Server(Path(folder) / "postgres")
        try:
            with psycopg.connect(
                server.url("postgres").replace("postgres://", "postgresql://"), autocommit=True
            ) as admin:
                admin.execute("CREATE DATABASE whole")
                child("crm_jobs", "fill", str(customers), DATABASE_URL=server.url("whole"), **CRM)

                @contextmanager
                def copy() -> Iterator[str]:
                    admin.execute("CREATE DATABASE used TEMPLATE whole STRATEGY file_copy")
                    yield server.url("used")
                    admin.execute("DROP DATABASE used WITH (FORCE)")

                yield copy
        finally:
            server.stop()
