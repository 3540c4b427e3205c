"""Entries for measuring, and the two ways to look at them."""

from __future__ import annotations

import json
import os
import resource
import statistics
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import django

django.setup()

from django.core.management import call_command  # noqa: E402 (after setup)
from django.db import connection, transaction  # noqa: E402
from django.utils import timezone  # noqa: E402

from benchmarks.measure import median_seconds, seconds  # noqa: E402
from crons import ledger  # noqa: E402
from crons.attempts import Finished  # noqa: E402
from crons.dispatch import Dispatcher  # noqa: E402
from crons.hosts.instances import Instance  # noqa: E402
from crons.jobs import registry  # noqa: E402
from crons.jobs.policies import Policy  # noqa: E402
from crons.ledger import rows  # noqa: E402
from crons.models import Entry, Run  # noqa: E402
from crons.verdicts import Ending, Outcome  # noqa: E402


def fill(count: int, *, due: bool, job: str = "noop") -> datetime:
    """Make *count* hourly entries, due or not, and return the moment that counts as now."""
    call_command("migrate", verbosity=0)
    Entry.objects.all().delete()
    now = timezone.now()
    before = now - timedelta(hours=1)
    wake_at = before if due else now + timedelta(hours=1)
    accounted = before if due else now
    policy = Policy().as_json()
    made = [
        Entry(
            name=f"entry_{number}",
            job=job,
            schedule=f"{number % 60} * * * *",
            zone="UTC",
            policy=policy,
            first_seen_at=accounted,
            accounted_until=accounted,
            wake_at=wake_at,
        )
        for number in range(count)
    ]
    for start in range(0, count, 5_000):
        rows.insert(made[start : start + 5_000], "default")
    return now


def idle(count: int) -> dict[str, float]:
    """Measure a pass with nothing due against the bare indexed query, and the memory that passes take."""
    now = fill(count, due=False)
    dispatcher = Dispatcher("bench", Instance.start("bench"), {})
    bare = lambda: list(Entry.objects.filter(wake_at__lte=now).values_list("id")[:1])  # noqa: E731 (one line, measured)
    for _ in range(50):
        dispatcher.turn(now)
        bare()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    several = range(200)
    turn = median_seconds(lambda: [dispatcher.turn(now) for _ in several]) / len(several)
    query = median_seconds(lambda: [bare() for _ in several]) / len(several)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    return {"turn": turn, "query": query, "grown_kib": grown}


def record_all(count: int) -> dict[str, float]:
    """Measure recording *count* due slots, planning and cursor included, against one INSERT of as many rows."""
    now = fill(count, due=True)

    def all_due() -> None:
        while ledger.record(now, "bench").entries:
            pass

    record = seconds(all_due)
    assert Run.objects.count() == count
    return {"record": record, "insert": _one_statement(list(Run.objects.all()))}


def _one_statement(made: list[Run]) -> float:
    """Time one INSERT of rows like *made* into their own table with its indexes: what any design must pay."""
    captured: list[tuple[str, list[str]]] = []
    with connection.execute_wrapper(_keep(captured)), transaction.atomic():
        Run.objects.all().delete()
        captured.clear()
        rows.insert(made, "default")
        transaction.set_rollback(True)
    [(statement, parameters)] = captured

    def insert() -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)

    times = []
    for _ in range(5):
        Run.objects.all().delete()
        times.append(seconds(insert))
    return statistics.median(times)


def _keep(captured: list[tuple[str, list[str]]]) -> Callable[..., Any]:
    def keep(execute: Callable[..., Any], sql: str, params: list[str], many: bool, context: Any) -> Any:
        captured.append((sql, params))
        return execute(sql, params, many, context)

    return keep


def race(count: int, racers: int) -> dict[str, float]:
    """Measure how long *racers* processes take together to record *count* due slots."""
    now = fill(count, due=True)

    def record() -> None:
        while ledger.agenda(now).must_record:
            ledger.record(now, "bench")

    took = _together(racers, record)
    assert Run.objects.count() == count
    return {"seconds": took}


def begin(count: int, racers: int) -> dict[str, float]:
    """Measure how long *racers* processes take together to begin and finish *count* due runs, ten at a time."""
    now = fill(count, due=True)
    while ledger.record(now, "bench").entries:
        pass

    def begin_and_finish() -> None:
        instance = Instance.start("bench")
        while begun := ledger.begin(now, {"process": 10}, ["noop"], instance) or ledger.agenda(now).may_begin:
            if begun is not True:
                ledger.finish([Finished(each.attempt, Ending(Outcome.SUCCEEDED)) for each in begun], now)

    took = _together(racers, begin_and_finish)
    assert Run.objects.filter(verdict="succeeded", tries=1).count() == count
    return {"seconds": took}


def _together(racers: int, function: Callable[[], None]) -> float:
    """Run *function* in *racers* processes that start at one moment; return until the last has ended."""
    connection.close()
    ready_read, ready_write = os.pipe()
    go_read, go_write = os.pipe()
    children = []
    for _ in range(racers):
        pid = os.fork()
        if pid == 0:
            os.close(go_write)
            os.write(ready_write, b"r")
            os.read(go_read, 1)  # returns when the parent closes its end
            function()
            os._exit(0)
        children.append(pid)
    got = 0
    while got < racers:
        got += len(os.read(ready_read, racers))
    return seconds(lambda: (os.close(go_write), [os.waitpid(pid, 0) for pid in children]))


if __name__ == "__main__":
    registry.clear()
    function, *arguments = sys.argv[1:]
    print(json.dumps(globals()[function](*map(int, arguments))))
