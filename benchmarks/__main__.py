"""make bench: measure, print the table, write JSON. `python -m benchmarks A C` measures only those.

`python -m benchmarks G` shows what the backlog and the history cost, on SQLite and on PostgreSQL.
`python -m benchmarks ways` fires one job in every way and prints the tables of docs/ways.md.
`python -m benchmarks graphql-peers` compares F's page with other ways of doing GraphQL in Django.
`python -m benchmarks crm [CUSTOMERS [ROUNDS]]` measures the CRM's jobs on a shop of a million customers.
`python -m benchmarks pages` measures each page and verb on a million runs.
`python -m benchmarks plans` looks at what each reads of ten million, and fails where one reads too much.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from benchmarks import crm_table, page_table, ways
from benchmarks.measure import ROOT, Figure, child, postgres_url, seconds, sqlite_url

ROUNDS = 5
CRM = {
    "DJANGO_SETTINGS_MODULE": "crm.settings",
    "CRM_ENV_FILE": os.devnull,
    "CRM_DEBUG": "0",
    "CRM_SECRET_KEY": "benchmark-" * 6,
    "CRM_COST_PER_MINUTE": "100000000",  # counted as ever, and never spent
}


def fired_line() -> Iterator[Figure]:
    """A: one `crons tick` with 20 due jobs against one start of manage.py of the same project."""
    with sqlite_url() as url:
        env = {**os.environ, "DATABASE_URL": url, "CRM_DEBUG": "1", "CRM_ENV_FILE": os.devnull}
        env.pop("DJANGO_SETTINGS_MODULE", None)
        env["DJANGO_SETTINGS_MODULE"] = "benchmarks.twenty"

        def manage(*arguments: str) -> None:
            command = [sys.executable, str(ROOT / "manage.py"), *arguments]
            subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)

        manage("migrate")
        manage("crons", "sync")
        start, tick = [], []
        for _ in range(ROUNDS):
            start.append(seconds(lambda: manage("version")))
            manage("shell", "-c", MAKE_DUE)
            tick.append(seconds(lambda: manage("crons", "tick")))
        yield Figure(
            "A",
            "crons tick, 20 due jobs",
            median(tick),
            median(start),
            "s",
            1.15,
            "manage.py start",
        )


MAKE_DUE = """
from datetime import timedelta
from django.utils import timezone
from crons.models import Entry, Range, Run
Run.objects.all().delete()
Range.objects.all().delete()
Entry.objects.exclude(job="noop").update(retired_at=timezone.now(), wake_at=timezone.now() + timedelta(days=1))
Entry.objects.filter(job="noop").update(accounted_until=timezone.now() - timedelta(hours=1), wake_at=None)
"""


def idle_pass() -> Iterator[Figure]:
    """C: a pass with nothing due, at 100 and at 100,000 entries."""
    found = {}
    for count in (100, 100_000):
        with sqlite_url() as url:
            found[count] = child("rows", "idle", str(count), DATABASE_URL=url)
    few, many = found[100], found[100_000]
    yield Figure(
        "C", "pass, nothing due, 100,000 entries", many["turn"], many["query"], "s", 3.0, "bare query by Django"
    )
    yield Figure(
        "C", "pass, nothing due, 100,000 entries", many["turn"], few["turn"], "s", 1.5, "the same, 100 entries"
    )


def recording() -> Iterator[Figure]:
    """C: 10,000 slots due at once, by one process and by eight."""
    alone, insert, racing = [], [], []
    for _ in range(ROUNDS):
        with sqlite_url() as url:
            done = child("rows", "record_all", "10000", DATABASE_URL=url)
            alone.append(done["record"])
            insert.append(done["insert"])
        with sqlite_url() as url:
            racing.append(child("rows", "race", "10000", "8", DATABASE_URL=url)["seconds"])
    one = median(alone)
    yield Figure("C", "10,000 slots recorded", one, median(insert), "s", 5.0, "one INSERT of as many rows")
    yield Figure("C", "10,000 slots, 8 racers", median(racing), one, "s", 1.7, "one process")


def beginning() -> Iterator[Figure]:
    """C: 1,000 due runs begun and finished without running anything, by one process and by eight."""
    found: dict[int, list[float]] = {1: [], 8: []}
    for _ in range(ROUNDS):
        for racers, times in found.items():
            with sqlite_url() as url:
                times.append(child("rows", "begin", "1000", str(racers), DATABASE_URL=url)["seconds"])
    one, eight = median(found[1]), median(found[8])
    yield Figure("C", "1,000 begun and finished, 8 racers", eight, one, "s", 1.7, "one process")


def dispatching() -> Iterator[Figure]:
    """D: 1,000 no-op jobs due at one second."""
    took, reference = [], []
    for _ in range(ROUNDS):
        with sqlite_url() as url:
            took.append(child("dispatching", "ours", "1000", DATABASE_URL=url, BENCH_MAX_RUNNING="16")["seconds"])
        with sqlite_url() as url:
            reference.append(child("dispatching", "reference", "1000", DATABASE_URL=url)["seconds"])
    limit = median(reference)
    yield Figure("D", "1,000 no-op jobs, fork each", median(took), limit, "s", 1.7, "record and fork, bare")


def graphql_page() -> Iterator[Figure]:
    """F: a page of 50 customers with five orders each over GraphQL."""
    with sqlite_url() as url:
        found = child("graphql_page", DATABASE_URL=url, **CRM)
    yield Figure("F", "GraphQL, 50 customers, 5 orders each", found["graphql"], found["by hand"], "s", 3.0, "a view")
    statements, by_hand = found["graphql statements"], found["by hand statements"]
    assert statements == by_hand + 2, "the page, its token's row and its cost's; more would grow with the rows"


def graphql_refusals() -> Iterator[Figure]:
    """F: the dearest of all hostile documents, in processor time; none is answered at length."""
    with sqlite_url() as url:
        found = child("graphql_refusals", DATABASE_URL=url, **CRM)
    assert all(each["bytes"] < 2_000 for each in found.values()), found
    dearest = max(each["seconds"] for each in found.values())
    yield Figure("F", f"GraphQL, dearest of {len(found)} refusals", dearest, 0.005, "s", 1.0, "5 ms of processor time")


# Due and done runs: the first is what the others are measured against.
LEDGERS = ((2_000, 10_000), (100_000, 10_000), (2_000, 1_000_000))
TWICE = 2.0


def growth() -> Iterator[Figure]:
    """G: what is asked of a ledger with a backlog, and of one with a history, against a small one."""
    for database, lend in (("SQLite", sqlite_url), ("PostgreSQL", postgres_url)):
        found = []
        for due, done in LEDGERS:
            with lend() as url:
                found.append(child("growth", str(due), str(done), DATABASE_URL=url))
        small, backlog, history = found
        for what, reference in small.items():
            for name, grown in (("100,000 due", backlog), ("1,000,000 done", history)):
                against = "2,000 due, 10,000 done"
                yield Figure("G", f"{what}, {name}, {database}", grown[what], reference, "s", TWICE, against)


ALL = {
    "A": [fired_line],
    "C": [idle_pass, recording, beginning],
    "D": [dispatching],
    "F": [graphql_page, graphql_refusals],
    "G": [growth],
}


def main() -> None:
    """Measure what is asked for, all by default."""
    if sys.argv[1:] == ["ways"]:
        ways.main()
        return
    if sys.argv[1:2] == ["crm"]:
        sys.exit(crm_table.main([int(each) for each in sys.argv[2:]]))
    if sys.argv[1:] in (["pages"], ["plans"]):
        sys.exit(page_table.main(sys.argv[1]))
    if sys.argv[1:] == ["graphql-peers"]:
        from benchmarks import graphql_peers  # needs Django, which the others need only in their children

        graphql_peers.compare()
        return
    wanted = [name.upper() for name in sys.argv[1:]] or list(ALL)
    machine = f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores"
    print(f"{machine}, {platform.system()}; medians of {ROUNDS}; SQLite, synchronous=FULL, unless said")
    print(f"{'':1} {'what':<38} {'measured':>10}  {'against':<26} {'measured':>10} {'ratio':>7} {'target':>7}")
    figures = []
    for name in wanted:
        for benchmark in ALL[name]:
            for figure in benchmark():
                figures.append(figure)
                print(_line(figure), flush=True)
    target = Path(ROOT / "build")
    target.mkdir(exist_ok=True)
    rows = [{**vars(figure), "ratio": figure.ratio, "met": figure.is_met} for figure in figures]
    (target / "bench.json").write_text(json.dumps({"machine": machine, "figures": rows}, indent=2) + "\n")


def _line(figure: Figure) -> str:
    mark = "met" if figure.is_met else "NOT MET"
    value, reference = (f"{number * 1000:.2f} ms" for number in (figure.value, figure.reference))
    return (
        f"{figure.target} {figure.what:<38} {value:>10}  {figure.against:<26} {reference:>10} "
        f"{figure.ratio:>6.2f}× ≤ {figure.limit:.2f}  {mark}"
    )


if __name__ == "__main__":
    main()
