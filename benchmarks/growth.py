"""The verbs of a pass, and what people ask, on a ledger of a given size: nothing of it may grow with the size."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import django

django.setup()

from django.core.management import call_command  # noqa: E402 (after setup)
from django.db import connection, transaction  # noqa: E402
from django.utils import timezone  # noqa: E402

from benchmarks.measure import median_seconds  # noqa: E402
from crons import ledger  # noqa: E402
from crons.doctor import rows as doctor  # noqa: E402
from crons.hosts.instances import Instance  # noqa: E402
from crons.jobs import registry  # noqa: E402
from crons.jobs.policies import Policy  # noqa: E402
from crons.models import Entry, Run  # noqa: E402
from crons.web import overview  # noqa: E402
from tests.crons import growing  # noqa: E402

ENTRIES = 1_000
ROOM = 10
ROUNDS = 9


def grown(due: int, done: int) -> dict[str, float]:
    """Measure each verb on a ledger of 1,000 entries with so many runs that are *due* and that are *done*."""
    now = timezone.now()
    fill(now, due, done)
    instance = Instance.start("bench")
    steps: dict[str, Callable[[], Any]] = {
        "settle": lambda: ledger.settle(now),
        "begin": lambda: ledger.begin(now, {"process": ROOM}, ["noop"], instance),
        "send": lambda: ledger.send(now, {"elsewhere": ROOM}),
        "history": lambda: call_command("crons", "history", stdout=io.StringIO()),
        "doctor": lambda: list(doctor.look(None)),
        "first page": lambda: overview.look(timedelta(days=1), now),
    }
    assert len(undone(steps["begin"])) == len(undone(steps["send"])) == ROOM
    return {name: median_seconds(lambda step=step: undone(step), ROUNDS) for name, step in steps.items()}


def undone(step: Callable[[], Any]) -> Any:
    """Take *step* and roll it back: the next round finds the same ledger."""
    with transaction.atomic():
        found = step()
        transaction.set_rollback(True)
    return found


def fill(now: Any, due: int, done: int) -> None:
    """Make the entries, half of them for another host's executor, and the runs; some are going."""
    call_command("migrate", verbosity=0)
    before = now - timedelta(minutes=1, seconds=now.second)
    policies = [Policy(catch_up="all").as_json(), Policy(catch_up="all", executor="elsewhere").as_json()]
    Entry.objects.bulk_create(
        Entry(
            name=f"entry_{number}", job="noop", schedule="* * * * *", zone="UTC", policy=policies[number % 2],
            first_seen_at=before, accounted_until=before, wake_at=before,
        )
        for number in range(ENTRIES)
    )  # fmt: skip
    while ledger.record(now, "bench").entries:
        pass
    growing.grow_done(done, now)
    growing.grow_due(due, now)
    # Who looks at the clock has just done so: nothing is late.
    going = ledger.begin(now, {"process": 20}, ["noop"], Instance.start("bench"))
    assert len(going) == 20
    growing.analyze()
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("VACUUM")
    assert Run.objects.count() == ENTRIES + due + done


if __name__ == "__main__":
    registry.clear()
    print(json.dumps(grown(*map(int, sys.argv[1:]))))
