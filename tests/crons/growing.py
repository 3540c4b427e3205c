"""A ledger that grows by hundreds of thousands of rows in seconds: INSERT … SELECT, from one recorded run per entry.

What `record` wrote is the pattern of all other rows, so that columns that come later are filled as they should be.
For tests of plans and for `benchmarks/growth.py`; `filling.py` makes fewer rows, with output.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from django.db import connection
from django.db.models import Model

from crons.ledger import rows
from crons.models import Attempt, Range, Run

# One run in so many has failed.
EVERY = 50
# Between two slots of an entry.
STEP_SECONDS = 60
SERIES = "WITH RECURSIVE series(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM series WHERE n < {last})"
PATTERNS = "(SELECT r.*, row_number() OVER (ORDER BY r.id) - 1 AS place FROM crons_run r WHERE r.id IN ({ids}))"


def grow_due(count: int, now: datetime) -> None:
    """Add *count* runs that could begin *now*, shared out among the entries that have a due run.

    Cost: 1 to 2 s for 100,000 rows.
    """
    _add_runs(count, now, {"wake_at": "{slot}"}, after_minute=30)


def grow_done(count: int, now: datetime) -> None:
    """Add *count* runs that are over, with an attempt of one second each; one in 50 has failed. Cost: as above."""
    bad = f"n %% {EVERY} = 0"
    first = _add_runs(
        count,
        now,
        {
            "state": "'done'",
            "verdict": f"CASE WHEN {bad} THEN 'failed' ELSE 'succeeded' END",
            "detail": f"CASE WHEN {bad} THEN 'ValueError: no rows' ELSE '' END",
            "tries": "1",
            "current_attempt": "{id}",
            "wake_at": "NULL",
            "ended_at": "{slot}",
        },
    )
    token = "lower(hex(randomblob(16)))" if connection.vendor == "sqlite" else "gen_random_uuid()"
    pattern = Attempt(
        number=1, executor="process", instance="i", host="web1", pid=1, boot_id="b", begun_at=now, token="0" * 32
    )
    given = {"id": "r.id", "run_id": "r.id", "token": token, "begun_at": "r.planned_at", "ended_at": _moment("1", "r")}
    given |= {"outcome": "r.verdict", "error": "CASE WHEN r.verdict = 'failed' THEN 'Traceback' ELSE '' END"}
    _insert(Attempt, given, pattern, "crons_run r", f"r.id >= {first} AND r.state = 'done'")


def grow_ranges(count: int, now: datetime) -> None:
    """Add *count* ranges of two missed slots each, shared out among the entries that have a due run."""
    entries = sorted(set(Run.objects.filter(state="due").values_list("entry_id", flat=True)))
    made = []
    for number in range(count):
        last_at = now - timedelta(seconds=2 * STEP_SECONDS * (number // len(entries) + 1))
        made.append(
            Range(
                entry_id=entries[number % len(entries)], first_at=last_at - timedelta(seconds=STEP_SECONDS),
                last_at=last_at, count=2, verdict="missed", reason="catch_up", trigger="serve", recorded_at=now,
            )
        )  # fmt: skip
    rows.insert(made, "default")


def analyze() -> None:
    """Give the database's planner statistics."""
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def shrink() -> None:
    """Make the tables as new ones again: PostgreSQL plans by the size of files and by what ANALYZE counted in them.

    Neither is rolled back with a test's rows: where it counted none in a big file, it is sure of one row at most. For
    use when these tables hold nothing. In a transaction it also keeps autovacuum out until the end.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE crons_entry, crons_auditevent CASCADE")
            # TRUNCATE leaves what ANALYZE wrote of their columns.
            locked = "SELECT relation FROM pg_locks WHERE pid = pg_backend_pid() AND mode = 'AccessExclusiveLock'"
            cursor.execute(f"DELETE FROM pg_statistic WHERE starelid IN ({locked})")


def _add_runs(count: int, now: datetime, given: Mapping[str, str], after_minute: int = 0) -> int:
    """Add runs, the oldest first, and return the id of the first of them."""
    patterns = list(Run.objects.filter(state="due").order_by("entry_id", "pk").values_list("pk", "entry_id"))
    ids = sorted({entry: pk for pk, entry in reversed(patterns)}.values())
    first = (Run.objects.order_by("-pk").values_list("pk", flat=True).first() or 0) + 1
    newest = int(now.replace(second=0, microsecond=0).timestamp()) - STEP_SECONDS + after_minute
    back = f"(({count - 1} - n) / {len(ids)}) * {STEP_SECONDS}"
    names = {"id": f"n + {first}", "slot": _moment(f"{newest} - {back}")}
    columns = {"id": "{id}", "slot_at": "{slot}", "planned_at": "{slot}", "recorded_at": "{slot}", **given}
    columns = {name: written.format(**names) for name, written in columns.items()}
    among = PATTERNS.format(ids=", ".join(map(str, ids)))
    source = f"series JOIN {among} p ON p.place = n %% {len(ids)}"
    others = {field.column: f"p.{field.column}" for field in Run._meta.concrete_fields}
    unique = {"request_key": "NULL", "active_key": "NULL"}
    _insert(Run, others | unique | columns, None, source, "TRUE", SERIES.format(last=count - 1))
    return first


def _insert(
    model: type[Model], given: Mapping[str, str], pattern: Model | None, source: str, where: str, series: str = ""
) -> None:
    """Insert rows: each column as *given* in SQL, else as *pattern* has it."""
    columns, written, values = [], [], []
    for field in model._meta.concrete_fields:
        columns.append(field.column)
        if field.column in given:
            written.append(given[field.column])
        else:
            written.append("%s")
            value = field.get_db_prep_save(getattr(pattern, field.attname), connection)
            values.append(value)
    table = model._meta.db_table
    sql = f"INSERT INTO {table} ({', '.join(columns)}) {series} SELECT {', '.join(written)} FROM {source} WHERE {where}"
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        if connection.vendor == "postgresql":  # ids were given, which its sequence has not seen
            cursor.execute(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) FROM {table}))")


def _moment(seconds: str, after: str = "") -> str:
    """Write SQL for a moment: so many *seconds* of Unix time, or *seconds* after the row's own slot."""
    if connection.vendor == "sqlite":
        if after:
            return f"strftime('%%Y-%%m-%%d %%H:%%M:%%S', {after}.planned_at, '+{seconds} seconds')"
        return f"strftime('%%Y-%%m-%%d %%H:%%M:%%S', {seconds}, 'unixepoch')"
    return f"{after}.planned_at + interval '{seconds} seconds'" if after else f"to_timestamp({seconds})"
