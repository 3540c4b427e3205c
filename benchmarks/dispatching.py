"""1,000 no-op jobs due at one second, until the last has finished; against a reference that records and forks."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import time

import django

django.setup()

from benchmarks.rows import fill  # noqa: E402 (after setup)
from crons import job, ledger  # noqa: E402
from crons.ledger import deployment  # noqa: E402
from crons.models import Run  # noqa: E402
from crons.triggers.session import Session  # noqa: E402


@job(name="noop")
def noop() -> None:
    """Do nothing."""


def ours(count: int) -> dict[str, float]:
    """Record, begin, fork, run and finish *count* no-ops."""
    with Session("bench", "bench") as session:
        fill(count, due=True)
        deployment.require()
        started = time.perf_counter()
        session.dispatcher.turn()
        while True:
            agenda = ledger.agenda()
            if agenda.may_begin and session.free():
                session.dispatcher.begin(agenda.now)
            if not agenda.may_begin and not session.dispatcher.running():
                break
            session.work(1.0)
        took = time.perf_counter() - started
        assert Run.objects.filter(verdict="succeeded").count() == count
    return {"seconds": took}


def reference(count: int) -> dict[str, float]:
    """Record *count* rows in one statement, then two at a time: begin in one commit, fork, wait, finish in one."""
    path = os.environ["DATABASE_URL"].removeprefix("sqlite:///") + ".reference"
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE run (id integer primary key, state text, begun real, ended real)")
    started = time.perf_counter()
    database.execute(
        "INSERT INTO run SELECT value, 'due', null, null FROM json_each(?)", [json.dumps(list(range(count)))]
    )
    waiting, going = list(range(count)), {}
    while waiting or going:
        while waiting and len(going) < 2:
            pk = waiting.pop()
            database.execute("UPDATE run SET state = 'running', begun = ? WHERE id = ?", [time.time(), pk])
            pid = os.fork()
            if pid == 0:
                os._exit(0)
            going[pid] = pk
        pid, _ = os.wait()
        database.execute("UPDATE run SET state = 'done', ended = ? WHERE id = ?", [time.time(), going.pop(pid)])
    return {"seconds": time.perf_counter() - started}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](int(sys.argv[2]))))
