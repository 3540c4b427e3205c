"""The statements of begin, send, settle and expire, whole, and the index that serves each.

What each of them costs depends on what it returns and on what runs now: not on how many runs are due, nor on how
many are over. `tests/crons/test_queries.py` holds their plans on both databases, with statistics and without.

A partial index holds open rows only; a statement uses it where it says the index's condition. SQLite chooses by
guesses until somebody calls ANALYZE, and by averages afterwards, in which a million runs that are over count as much
as the ten that are due: INDEXED BY has it take the one that is meant.
"""

# ruff: noqa: S608 (what is put into the texts stands in this file; values are parameters)

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import connections

from crons.jobs import OURS
from crons.ledger.rows import for_update, json_text, moment
from crons.schedules import FAR_FUTURE, FAR_PAST


def too_late(now: datetime, limit: int, using: str, *, lock: bool = False) -> list[int]:
    """Find runs whose last moment to start has passed; a retry, or what somebody asked for, has none once sent.

    Index: crons_run_start_before, (state, start_before) of open runs that have one.
    """
    sql = f"""
        SELECT r.id FROM crons_run r {_along("crons_run_start_before", using)}
        WHERE r.state IN ('due', 'sent') AND r.start_before < %(now)s
            AND r.start_before IS NOT NULL AND r.wake_at IS NOT NULL
            AND (r.state = 'due' OR (r.tries = 0 AND r.asked_at IS NULL))
        LIMIT %(limit)s {_lock(lock, using, "r")}"""
    return [pk for (pk,) in _rows(sql, {"now": now, "limit": limit}, using)]


def overlapping(now: datetime, limit: int, using: str, *, lock: bool = False) -> dict[int, tuple[int, int | None]]:
    """Find runs that fell due while another of their entry goes on: by id, that run and its attempt.

    With catch_up="all" every slot matters: they wait for their turn. What somebody asked for besides the schedule
    may hold its slots up, but must not use them up.
    Index: crons_run_running, then the entry's key, then crons_run_open: in this order, or the ten thousand slots
    that wait behind a run with catch_up="all" are read to be left alone. CASE, because of state = 'due' PostgreSQL
    would read the whole queue.
    """
    catch_up = _rule("catch_up", using)
    sql = f"""
        SELECT r.id, a.id, a.current_attempt
        FROM crons_run a {_along("crons_run_running", using)}
        CROSS JOIN {_entry_of("a.active_key", using)}
        CROSS JOIN crons_run r {_along("crons_run_open", using)}
        WHERE a.state = 'running' AND a.asked_at IS NULL AND e.id = a.active_key AND {catch_up} <> 'all'
            AND r.entry_id = e.id AND r.wake_at IS NOT NULL AND CASE r.state
                WHEN 'due' THEN r.wake_at <= %(now)s
                WHEN 'sent' THEN r.tries = 0 AND r.asked_at IS NULL
                ELSE FALSE END
        LIMIT %(limit)s {_lock(lock, using, "r")}"""
    return {pk: (way, attempt) for pk, way, attempt in _rows(sql, {"now": now, "limit": limit}, using)}


def leases_here(boot_id: str, mine: str, using: str) -> list[tuple[int, str, int, datetime | None]]:
    """Find what is said to run on this machine, and not in the process *mine*: attempt, instance, pid, lease.

    Index: crons_attempt_lease, of attempts that have a lease.
    """
    sql = f"""
        SELECT a.id, a.instance, a.pid, COALESCE(a.lease_until, NULL)
        FROM crons_attempt a {_along("crons_attempt_lease", using)}
        WHERE {_HAS_LEASE} AND a.boot_id = %(boot_id)s AND a.instance <> %(mine)s"""
    found = _rows(sql, {"boot_id": boot_id, "mine": mine, **_EVER}, using)
    return [(pk, instance, pid, moment(lease)) for pk, instance, pid, lease in found]


def lost(
    over: Collection[int],
    silent: Collection[int],
    boot_id: str,
    now: datetime,
    limit: int,
    using: str,
    *,
    lock: bool = False,
) -> list[int]:
    """Find the attempts called *over*, and those of other machines whose lease has ended.

    Of *silent* ones only those whose lease has still ended: what was renewed since the look lives.
    Index: crons_attempt_lease, of attempts that have a lease.
    """
    sql = f"""
        SELECT a.id FROM crons_attempt a {_along("crons_attempt_lease", using)}
        JOIN crons_run r ON r.id = a.run_id
        WHERE {_HAS_LEASE}
            AND ({_among("a.id", "over", using)} OR (a.boot_id <> %(boot_id)s AND a.lease_until < %(now)s))
            AND NOT ({_among("a.id", "silent", using)} AND a.lease_until >= %(now)s)
        LIMIT %(limit)s {_lock(lock, using, "a", "r")}"""
    values = {"over": list(over), "silent": list(silent), "boot_id": boot_id, "now": now, "limit": limit}
    return [pk for (pk,) in _rows(sql, {**values, **_EVER}, using)]


# Of IS NOT NULL PostgreSQL thinks, until it has statistics, that it holds for all rows; of a range, for few.
_HAS_LEASE = "a.lease_until IS NOT NULL AND a.lease_until BETWEEN %(past)s AND %(future)s"
_EVER = {"past": FAR_PAST, "future": FAR_FUTURE}


def _rows(sql: str, values: Mapping[str, Any], using: str) -> Sequence[tuple[Any, ...]]:
    connection = connections[using]
    with connection.cursor() as cursor:
        cursor.execute(sql, {name: _value(value, connection) for name, value in values.items()})
        return list(cursor.fetchall())


def _value(value: Any, connection: Any) -> Any:
    if value == FAR_PAST and connection.vendor == "sqlite":
        return -1e300  # sorts before all texts and numbers that somebody may have written by hand
    if isinstance(value, datetime):
        return connection.ops.adapt_datetimefield_value(value)
    return json.dumps(value) if isinstance(value, list) and connection.vendor == "sqlite" else value


def _among(column: str, name: str, using: str) -> str:
    """Return SQL for: *column* is one of the list that is the parameter *name*."""
    if connections[using].vendor == "sqlite":
        return f"{column} IN (SELECT value FROM json_each(%({name})s))"
    return f"{column} = ANY(%({name})s)"


def _along(index: str, using: str) -> str:
    return f"INDEXED BY {index}" if connections[using].vendor == "sqlite" else ""


def _entry_of(key: str, using: str) -> str:
    """Return SQL for the entry e with that *key*, which is looked up for each row of the tables before it.

    SQLite joins in the order of CROSS JOIN; PostgreSQL in its own, but for a subquery with an OFFSET.
    """
    if connections[using].vendor == "sqlite":
        return "crons_entry e"
    return f"LATERAL (SELECT * FROM crons_entry WHERE id = {key} OFFSET 0) e"


def _lock(lock: bool, using: str, *tables: str) -> str:
    return for_update(using, *tables, skip_locked=True) if lock else ""


def _rule(name: str, using: str) -> str:
    """Return SQL for a rule of entry e; a row that does not name it lives by the default."""
    return f"COALESCE({json_text('e.policy', name, using)}, '{getattr(OURS, name)}')"
