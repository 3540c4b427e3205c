"""What the ledger's statements read of a hundred thousand runs: rows along the index that is meant, and few of them.

Their plans are asked for, not their times: on a busy machine a time says nothing. A planner that knows nothing of
the rows and one that knows only averages choose differently, so each is asked.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from crons import ledger
from crons.attempts import Unstarted
from crons.jobs import Policy
from crons.ledger import existing, queries
from crons.models import Attempt, Entry, Run

from .conftest import NOON
from .filling import plan
from .growing import shrink

pytestmark = pytest.mark.django_db

ENTRIES = 10_000
RUNS = 100_000
# Of a hundred runs so many are over; of the rest one of each of a few kinds, and due ones.
DONE = 40
IS_SQLITE = "sqlite" in connection.settings_dict["ENGINE"]
# To lock forty of ten thousand entries, PostgreSQL without statistics may read all: it takes them for 500.
FEW = "run|attempt"
SLOT_OF_ENTRY = r"SEARCH r .*\(entry_id=\? AND slot_at>\?\)" if IS_SQLITE else r"\bcrons_run_once_per_slot\b"
KEY = "INTEGER PRIMARY KEY" if IS_SQLITE else "crons_run_pkey"


@pytest.fixture(scope="module", params=["without statistics", "with statistics"])
def backlog(request: pytest.FixtureRequest, django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """A hundred thousand runs of ten thousand entries: forty in a hundred are over, the others wait to begin."""
    with django_db_blocker.unblock(), transaction.atomic():
        shrink()
        _fill()
        if request.param == "with statistics":
            with connection.cursor() as cursor:
                cursor.execute("ANALYZE")
        yield
        transaction.set_rollback(True)
    with django_db_blocker.unblock():
        shrink()


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """By the name of the function in `queries`, the steps that the database takes for each statement it is asked."""
    seen: dict[str, list[str]] = {}
    real = queries.fetch

    def explained(sql: str, values: Any, using: str) -> Any:
        prefix = "EXPLAIN QUERY PLAN " if IS_SQLITE else "EXPLAIN "
        steps = [str(row[-1]) for row in real(prefix + sql, values, using)]
        seen.setdefault(sys._getframe(1).f_code.co_name, []).extend(steps)
        return real(sql, values, using)

    monkeypatch.setattr(queries, "fetch", explained)
    return seen


def test_settle_starts_from_what_is_too_late_and_from_what_runs(backlog, plans, instance):
    """Each pass asks it: it read every due run before, 56 ms of a hundred thousand."""
    late, overlapped = Run.objects.filter(state="due", entry__in=_free()).order_by("pk")[:2]
    Run.objects.filter(pk=late.pk).update(start_before=NOON - timedelta(minutes=1))
    Entry.objects.filter(pk=overlapped.entry_id).update(policy=Policy().as_json())
    _run(Run.objects.filter(entry=overlapped.entry_id, state="due").last(), instance.name, instance.boot_id)

    with CaptureQueriesContext(connection) as captured:
        ledger.settle(NOON)

    late.refresh_from_db()
    overlapped.refresh_from_db()
    assert (late.verdict, overlapped.verdict) == ("missed", "skipped")
    assert_along(plans["too_late"], "crons_run_start_before")
    assert_along(plans["overlapping"], "crons_run_running", "crons_run_open")
    assert not big_reads(captured)


@pytest.mark.parametrize("many", [3, 1_000])
def test_record_replaces_what_waits_entry_by_entry(backlog, plans, many):
    """It read all that was due of everybody: of a few entries always, of many as long as there were no statistics."""
    policy = Policy(catch_up="latest").as_json()
    waiting = Entry.objects.filter(runs__state="due").distinct().order_by("pk").values("pk")[:many]
    changed = Entry.objects.filter(pk__in=list(waiting.values_list("pk", flat=True)))
    changed.update(policy=policy, wake_at=NOON + timedelta(minutes=1))

    with CaptureQueriesContext(connection) as captured:
        done = ledger.record(NOON + timedelta(minutes=1), "serve")

    assert len(done.runs) == many
    ended = Run.objects.filter(verdict="missed", reason="catch_up")
    assert ended.count() == min(existing.MOST_REPLACED, many * RUNS // ENTRIES)
    assert_along(plans["replaceable"], "crons_run_open")
    # What it finds is sorted, which is nothing in the ordinary case.
    assert any(re.search(SLOT_OF_ENTRY, step) for step in plans["after_accounts"])
    assert not [step for step in plans["after_accounts"] if _reads_all(step, "run")]
    assert not big_reads(captured)


def test_expire_reads_what_has_a_lease(backlog, plans):
    """Of a million attempts that are over it reads none."""
    run = Run.objects.filter(state="due").last()
    attempt = _run(run, "gone", "elsewhere", NOON - timedelta(minutes=10))

    with CaptureQueriesContext(connection) as captured:
        lost = ledger.expire(NOON)

    assert lost == [attempt.pk]
    assert_along(plans["leases_here"], "crons_attempt_lease")
    assert_along(plans["lost"], "crons_attempt_lease")
    assert not big_reads(captured)


def test_release_reads_what_has_a_lease(backlog, plans, instance):
    """Each pass asks which attempts this process has begun: of those that are over it reads none."""
    attempt = _run(Run.objects.filter(state="due").last(), instance.name, instance.boot_id)

    with CaptureQueriesContext(connection) as captured:
        released = ledger.release_unstarted(instance.name, [], Unstarted(), NOON)

    assert released == [attempt.pk]
    assert_along(plans["leases_of"], "crons_attempt_lease")
    assert not big_reads(captured)


def test_begin_reads_what_it_begins(backlog, plans, instance, settings):
    """PostgreSQL sorted all that was due, and SQLite too once it had statistics: 134 ms of a hundred thousand."""
    settings.CRONS = {"GROUPS": {"few": 2}}
    for number, waiting in enumerate(Run.objects.filter(state="due").order_by("pk")[:40]):
        asked_at = NOON - timedelta(hours=1) if number % 2 else None
        Run.objects.filter(pk=waiting.pk).update(state="waiting", tries=1, asked_at=asked_at)

    with CaptureQueriesContext(connection) as captured:
        begun = ledger.begin(NOON, {"process": 8}, _jobs(), instance)

    assert len(begun) == 8
    assert_along(plans["queue"], "crons_run_queue")
    assert_along(plans["lock_wanted"], KEY, tables=FEW)
    assert_along(plans["overtaken"], KEY, "crons_run_succeeded")
    assert_along(plans["succeeded_before"], KEY, "crons_run_succeeded")
    assert_along(plans["groups_running"], "crons_run_running")
    assert not big_reads(captured)


def test_begin_passes_over_who_has_to_wait_along_the_same_indexes(backlog, plans, instance):
    """Everything is paused but the last: the queue is read once from end to end, and no table."""
    Entry.objects.exclude(pk=ENTRIES).update(paused_at=NOON)

    begun = ledger.begin(NOON, {"process": 8, "far": 8}, _jobs(), instance)

    assert [each.entry for each in begun] == [f"job{ENTRIES}"]
    assert_along(plans["queue"], "crons_run_queue")


def test_send_reads_what_it_sends(backlog, plans, settings):
    """What goes to others is one in ten here, and what was sent or came back of an entry decides what is next."""
    settings.CRONS = {"GROUPS": {"few": 2}}
    far = Run.objects.filter(state="due", entry__policy__executor="far").order_by("wake_at", "pk")
    for run, state in zip(far[:20], ["sent", "due"] * 10, strict=True):
        Run.objects.filter(pk=run.pk).update(state=state, sends=1)

    with CaptureQueriesContext(connection) as captured:
        sent = ledger.send(NOON, {"far": 8})

    assert len(sent) == 8
    assert_along(plans["queue"], "crons_run_queue", "crons_run_sent")
    assert_along(plans["lock_wanted"], KEY, "crons_run_sent", tables=FEW)
    assert_along(plans["sent_of"], "crons_run_sent")
    # Both hold little of what is sent; by its statistics PostgreSQL takes one or the other.
    assert_along(plans["groups_sent"], "crons_run_(?:queue|sent)")
    assert not big_reads(captured)


def assert_along(steps: list[str], *indexes: str, tables: str = "run|attempt|entry") -> None:
    """Hold that *steps* read along *indexes*, none of *tables* whole, and no more rows than they need to sort them."""
    told = "\n".join(step[:200] for step in steps)  # of ten thousand jobs each name stands in it
    assert told
    for index in indexes:
        assert any(re.search(rf"\b{index}\b", step) for step in steps), told
    assert not _reading_all(steps, tables), told


def big_reads(captured: CaptureQueriesContext) -> list[str]:
    """Name what of the statements *captured*, those that write among them, reads all runs or attempts."""
    found = []
    for query in captured.captured_queries:
        sql = query["sql"].strip()
        if sql.startswith(("SELECT", "UPDATE", "INSERT", "DELETE")) and "crons_" in sql:
            found += [f"{step[:200]}\n    in {sql[:500]}" for step in plan(sql) if _reads_all(step, "run|attempt")]
    return found


def _reading_all(steps: list[str], tables: str) -> list[str]:
    return [step for step in steps if _reads_all(step, tables) or re.search(r"TEMP B-TREE|\bSort\b", step)]


def _reads_all(step: str, tables: str) -> bool:
    if re.search(rf"Seq Scan on crons_({tables})\b", step):
        return True
    # An index of open rows, read from its beginning: these are few.
    return bool(re.search(rf"^SCAN ([a-z]|crons_({tables}))\b", step)) and "USING INDEX crons_" not in step


def _jobs() -> list[str]:
    return list(Entry.objects.values_list("job", flat=True))


def _free() -> Any:
    return Entry.objects.exclude(runs__state="running").values("pk")


def _run(run: Run, instance: str, boot_id: str, lease_until: datetime = NOON + timedelta(minutes=1)) -> Attempt:
    """Have *run* be running, in a process that may not be there."""
    attempt = Attempt.objects.create(
        run=run, number=1, token=f"{run.pk:032x}", executor="process", instance=instance, host="web1", pid=1,
        boot_id=boot_id, begun_at=NOON - timedelta(hours=1), lease_until=lease_until,
    )  # fmt: skip
    state = {"state": "running", "active_key": run.entry_id, "current_attempt": attempt.pk, "tries": 1}
    Run.objects.filter(pk=run.pk).update(**state, wake_at=None)
    return attempt


def _fill() -> None:
    """Write the rows in a statement for each table: by the ORM they take a minute."""
    policies = [Policy(catch_up="all", executor=executor).as_json() for executor in ("process", "far")]
    near, far = (_json(json.dumps(policy)) for policy in policies)
    _insert("crons_entry", ENTRIES, {
        "id": "n", "name": "'job' || n", "job": "'job' || n", "source": "'code'", "source_ref": "''",
        "args": _json("{}"),
        "schedule": "'* * * * *'", "zone": "'UTC'", "zone_hash": "''", "overrides": _json("{}"), "tags": _json("[]"),
        "policy": f"CASE WHEN n % 10 = 0 THEN {far} ELSE {near} END",
        "description": "''", "owner": "''", "declared_by": "''", "paused_by": "''", "pause_reason": "''",
        "pause_scope": "''", "parked_reason": "''", "version": "0",
        **dict.fromkeys(("first_seen_at", "accounted_until"), _at("0")), "wake_at": _at("90 * 86400"),
    })  # fmt: skip
    is_done = f"n % 100 < {DONE}"
    slot_at = _at("-(n / 1000) * 60")
    _insert("crons_run", RUNS, {
        "id": "n", "entry_id": f"n % {ENTRIES} + 1", "kind": "'slot'", "effect_key": "'k'", "requested_by": "''",
        "slot_at": slot_at, "planned_at": slot_at, "recorded_at": slot_at, "trigger": "'serve'", "reason": "''",
        "state": f"CASE WHEN {is_done} THEN 'done' ELSE 'due' END", "detail": "''",
        "verdict": f"CASE WHEN {is_done} THEN 'succeeded' ELSE '' END", "tries": "0", "sends": "0",
        "wake_at": f"CASE WHEN {is_done} THEN NULL ELSE {slot_at} END",
        "start_before": f"CASE WHEN n % 2 = 0 THEN {_at('86400')} END",
        "ended_at": f"CASE WHEN {is_done} THEN {slot_at} END",
    })  # fmt: skip
    _insert("crons_attempt", RUNS * DONE // 100, {
        "id": "n", "run_id": f"(n / {DONE}) * 100 + n % {DONE}", "number": "n", "executor": "'process'",
        "token": _token(), "instance": "'i'", "host": "'web1'", "pid": "1", "boot_id": "'b'", "begun_at": _at("-n"),
        "ended_at": _at("-n"), "cancel_reason": "''", "outcome": "'succeeded'", "late_outcome": "''", "error": "''",
    }, where="n >= 1")  # fmt: skip


def _insert(table: str, count: int, columns: dict[str, str], where: str = "n > 0") -> None:
    if IS_SQLITE:
        numbers = f"WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count})"
        source = "numbers"
    else:
        numbers, source = "", f"generate_series(1, {count}) AS numbers(n)"
    names = ", ".join(f'"{name}"' for name in columns)
    sql = f"INSERT INTO {table} ({names}) {numbers} SELECT {', '.join(columns.values())} FROM {source} WHERE {where}"
    with connection.cursor() as cursor:
        cursor.execute(sql)
        if not IS_SQLITE:
            cursor.execute(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), {count + 1})")


def _at(seconds: str) -> str:
    """Return SQL for so many *seconds* after noon."""
    if IS_SQLITE:
        return f"strftime('%Y-%m-%d %H:%M:%S', '{NOON:%Y-%m-%d %H:%M:%S}', ({seconds}) || ' seconds')"
    return f"TIMESTAMPTZ '{NOON.isoformat()}' + ({seconds}) * INTERVAL '1 second'"


def _token() -> str:
    return "printf('%032x', n)" if IS_SQLITE else "lpad(to_hex(n), 32, '0')::uuid"


def _json(text: str) -> str:
    return f"'{text}'" if IS_SQLITE else f"'{text}'::jsonb"
