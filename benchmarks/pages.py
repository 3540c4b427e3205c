"""Each page of crons.web, and the verbs that people type, on a ledger of a given size: time, statements, plans.

`python -m benchmarks pages` and `python -m benchmarks plans` start this file for each database. It makes the ledger
where there is none; with 0 rounds it looks at plans only.
"""

from __future__ import annotations

import io
import json
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import django

django.setup()

from django.contrib.auth.models import Permission, User  # noqa: E402 (after setup)
from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.test import Client  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402
from django.utils import timezone  # noqa: E402

from benchmarks import aged  # noqa: E402
from benchmarks.pages_rights import NARROWED  # noqa: E402
from crons.models import Entry, Incident, Run  # noqa: E402

# A verb is measured so often only: it is started anew each time it is typed.
OF_VERBS = 5
# More rows read of a big table by one step of a plan, or more steps of SQLite's machine for a statement, grow with the
# history. The timeline reads 15 entries' runs of a week, of each 10,081 at most; `doctor` 100 runs of each entry.
MOST_ROWS, MOST_STEPS = 160_000, 8_000_000
BIG = ("crons_run", "crons_attempt", "crons_outputchunk", "crons_range", "crons_auditevent", "crons_workreport")
VERBS = {
    "history": ("history",),
    "history of one": ("history", "job_000001"),
    "history, failures": ("history", "--verdict", "failed"),
    "show": ("show", "job_000001"),
    "list": ("list",),
    "health": ("health",),
    "doctor": ("doctor",),
}


def addresses() -> dict[str, tuple[str, str]]:
    """Name each page, who asks, and where."""
    name = Entry.objects.get(pk=aged.BUSY + 6).name
    run = Run.objects.filter(entry=aged.BUSY + 4, verdict="failed").order_by("-planned_at")[0].pk
    names = list(Entry.objects.order_by("-name").values_list("name", flat=True)[50:51])
    incident = Incident.objects.filter(open_key__isnull=False).order_by("-pk")[0].pk
    found = {
        "first page": "/crons/",
        "first page, 7 days": "/crons/?days=7",
        "jobs": "/crons/jobs",
        "jobs, next slot first": "/crons/jobs?sort=next",
        "jobs, last page": f"/crons/jobs?after={names[0]}" if names else "/crons/jobs?sort=-name",
        "jobs, from the end": "/crons/jobs?sort=-name",
        "jobs, search": "/crons/jobs?q=number%2077",
        "jobs, search in vain": "/crons/jobs?q=nowhere",
        "jobs, failed last": "/crons/jobs?verdict=failed",
        "jobs, lost last": "/crons/jobs?verdict=lost",
        "jobs of an owner": "/crons/jobs?owner=team7",
        "jobs with a tag": "/crons/jobs?tag=tag7",
        "jobs, paused": "/crons/jobs?state=paused",
        "jobs, running": "/crons/jobs?state=running",
        "a job": f"/crons/jobs/{name}",
        "a job with most runs": "/crons/jobs/job_000001",
        "a job that always fails": "/crons/jobs/job_000002",
        "a job that never ran": "/crons/jobs/job_000003",
        "a run, much output": f"/crons/runs/{run}",
        "its output": f"/crons/runs/{run}/output",
        "its output, searched": f"/crons/runs/{run}/output?find=row%2029",
        "timeline, 24 h": "/crons/timeline",
        "timeline, 7 days": "/crons/timeline?span=7d",
        "timeline of an owner": "/crons/timeline?owner=team7&span=7d",
        "incidents": "/crons/incidents",
        "why": f"/crons/why?entry={name}",
        "health": "/crons/health",
        "metrics": "/crons/metrics",
        "admin: runs": "/admin/crons/run/",
        "admin: runs, failed": "/admin/crons/run/?ended=failed",
        "admin: entries": "/admin/crons/entry/",
        "admin: attempts": "/admin/crons/attempt/",
        "admin: ranges": "/admin/crons/range/",
        "admin: an incident": f"/admin/crons/incident/{incident}/change/",
    }
    pages = {what: ("ann", address) for what, address in found.items()}
    for what in ("first page", "jobs", "timeline, 7 days", "incidents"):
        pages[f"{what}, of a team"] = ("team", found[what])
    pages["first page, of who sees what never ran"] = ("idle", found["first page"])
    return pages


def people() -> dict[str, Client]:
    """Make one who sees all, and those who do not."""
    User.objects.all().delete()
    User.objects.create_superuser("ann")
    for name in NARROWED:
        one = User.objects.create_user(name, is_staff=True)
        one.user_permissions.set(Permission.objects.filter(content_type__app_label="crons"))
    clients = {name: Client() for name in ("ann", *NARROWED)}
    for name, client in clients.items():
        client.force_login(User.objects.get(username=name), backend="django.contrib.auth.backends.ModelBackend")
    return clients


class Processor:
    """Processor time of this process and of the database's that serves it, where it has one."""

    def __init__(self) -> None:
        self._served_by = None
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid()")
                self._served_by = Path(f"/proc/{cursor.fetchone()[0]}/schedstat")

    def seconds(self) -> float:
        """Return how much of it has been used."""
        served = int(self._served_by.read_text().split()[0]) / 1e9 if self._served_by else 0.0
        return time.process_time() + served


def measured(ask: Callable[[], Any], rounds: int) -> dict[str, float]:
    """Ask once for nothing, then *rounds* times: medians and 95ths of processor time and of time on the wall."""
    processor = Processor()
    ask()
    worked, waited = [], []
    for _ in range(rounds):
        begun, started = processor.seconds(), time.perf_counter()
        ask()
        waited.append(time.perf_counter() - started)
        worked.append(processor.seconds() - begun)
    return {
        "cpu_p50": _rank(worked, 50), "cpu_p95": _rank(worked, 95),
        "wall_p50": _rank(waited, 50), "wall_p95": _rank(waited, 95),
    }  # fmt: skip


def _rank(values: list[float], percent: int) -> float:
    return sorted(values)[-(-len(values) * percent // 100) - 1]


def page(client: Client, address: str) -> None:
    """Ask for a page, which answers with 200, or, of health, says what is wrong."""
    response = client.get(address)
    assert response.status_code == (503 if address == "/crons/health" else 200), (address, response.status_code)


def verb(*arguments: str) -> None:
    """Ask what somebody types; `health` ends with 1 where something is wrong."""
    try:
        call_command("crons", *arguments, stdout=io.StringIO(), stderr=io.StringIO())
    except SystemExit as ended:
        if ended.code != 1:
            raise


def too_much(queries: list[dict[str, str]]) -> Iterator[str]:
    """Name each statement that reads more of a big table than a page may."""
    for query in queries:
        sql = query["sql"].strip()
        if not re.match("SELECT|WITH", sql) or "crons_" not in sql:
            continue
        work, why = (_steps if connection.vendor == "sqlite" else _rows)(sql)
        if why:
            yield f"{why} ({work:,}): {sql[:3_000]}"


def _steps(sql: str) -> tuple[int, str]:
    """Run *sql* on SQLite, count the steps of its machine, and look for a big table that is read whole."""
    counted = 0

    def count() -> int:
        nonlocal counted
        counted += 1
        return 0

    raw = connection.connection
    raw.set_progress_handler(count, 1_000)
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql.replace("%", "%%"), ())
            cursor.fetchall()
    finally:
        raw.set_progress_handler(None, 0)
    if counted * 1_000 <= MOST_STEPS:
        return counted * 1_000, ""
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN QUERY PLAN " + sql.replace("%", "%%"), ())
        return counted * 1_000, f"too many steps, by {[str(row[-1]) for row in cursor.fetchall()]}"


def _rows(sql: str) -> tuple[int, str]:
    """Run *sql* on PostgreSQL, and return the most rows that a step of its plan reads of a big table, or sorts."""
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON, TIMING OFF) " + sql.replace("%", "%%"), ())
        [(plan,)] = cursor.fetchall()
    plan = plan if isinstance(plan, list) else json.loads(plan)
    most, why = 0, ""
    for node in _nodes(plan[0]["Plan"]):
        loops = node["Actual Loops"]
        read = int((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * loops)
        is_big = node.get("Relation Name") in BIG
        if is_big and node["Node Type"] in ("Seq Scan", "Parallel Seq Scan") and read > 1_000:
            why = f"reads {node['Relation Name']} whole"
        if (is_big or "Sort" in node["Node Type"]) and read > most:
            most = read
    return most, why or ("reads too many rows" if most > MOST_ROWS else "")


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for each in plan.get("Plans", []):
        yield from _nodes(each)


def main(entries: int, runs: int, rounds: int) -> dict[str, Any]:
    """Make the ledger and look at each page and verb."""
    logging.disable(logging.ERROR)  # of each answer of health that something is wrong
    if "crons_run" not in connection.introspection.table_names():
        call_command("migrate", verbosity=0)
        aged.grow(entries, runs, timezone.now())
        aged.analyze()
    clients = people()
    found: dict[str, Any] = {}
    if rounds:
        found["the login page"] = _look(lambda: page(Client(), "/admin/login/"), rounds)
    for what, (who, address) in addresses().items():
        found[what] = _look(partial(page, clients[who], address), rounds)
    for what, arguments in VERBS.items():
        found[f"crons {what}"] = _look(partial(verb, *arguments), min(rounds, OF_VERBS))
    return found


def _look(ask: Callable[[], Any], rounds: int) -> dict[str, Any]:
    with CaptureQueriesContext(connection) as captured:
        ask()
    of_crons = sum("crons_" in each["sql"] for each in captured)
    found: dict[str, Any] = {"statements": of_crons, "wrong": list(too_much(captured.captured_queries))}
    return found | (measured(ask, rounds) if rounds else {})


if __name__ == "__main__":
    print(json.dumps(main(*map(int, sys.argv[1:]))))
