"""The statements of record, begin, send, settle and expire, and of who asks what waits: whole, with their indexes.

What each of them costs depends on what it returns and on what runs now: not on how many runs are due, nor on how
many are over. `tests/crons/test_queries.py` holds their plans on both databases, with statistics and without.

A partial index holds open rows only; a statement uses it where it says the index's condition. SQLite chooses by
guesses until somebody calls ANALYZE, and by averages afterwards, in which a million runs that are over count as much
as the ten that are due: INDEXED BY has it take the one that is meant.
"""

# ruff: noqa: S608 (what is put into the texts stands in this file; values are parameters)

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connections

from crons.jobs import OURS
from crons.ledger.sql import along, among, fetch, for_update, json_text, moment
from crons.schedules import FAR_FUTURE, FAR_PAST


@dataclass(frozen=True)
class Wanted:
    """Which of the runs that have come due are wanted.

    *jobs*: None for any; *executors* have room, *full_groups* have none; of the *passed* entries none is wanted.
    *arrived*: a message has brought the run here, so it is not too early, whenever it would be sent again.
    *sending*: to be sent to be begun elsewhere, each in its turn, those among them that were sent before.
    """

    now: datetime
    executors: Collection[str]
    jobs: Collection[str] | None
    full_groups: Collection[str] = ()
    passed: Collection[int] = ()
    arrived: bool = False
    sending: bool = False


@dataclass(frozen=True)
class Place:
    """A place in a queue: what comes after it has not been looked at."""

    wake_at: Any = FAR_PAST
    run: int = 0


def queue(
    state: str, wanted: Wanted, after: Place, limit: int, using: str, *, asked: bool | None = None
) -> list[Place]:
    """Find the next runs in *state* that are *wanted*, oldest first; *asked*: which somebody asked for, or did not.

    Whoever has to wait is passed over here: within a limited number of rows it would keep others out for ever.
    Index: crons_run_queue, (state, wake_at, id) of open runs, read in its order until there are enough. For each run
    its entry is looked up by key, and what is in its way along crons_run_active_key and crons_run_sent: a LIMIT with an
    OFFSET keeps PostgreSQL from joining all entries instead, of whose policies it cannot tell how many fit.
    """
    sql = f"""
        SELECT r.id, COALESCE(r.wake_at, NULL) FROM crons_run r {along("crons_run_queue", using)}
        WHERE r.state = %(state)s AND r.wake_at IS NOT NULL AND r.wake_at <= %(now)s
            AND (r.wake_at, r.id) > (%(after_at)s, %(after_run)s)
            AND ((%(asked)s AND r.asked_at IS NOT NULL) OR (%(unasked)s AND r.asked_at IS NULL))
            AND EXISTS (
                SELECT 1 FROM crons_entry e WHERE e.id = r.entry_id AND {_wanted(using)}
                LIMIT 1 OFFSET 0)
            AND NOT EXISTS (SELECT 1 FROM crons_run a WHERE a.active_key = r.entry_id LIMIT 1 OFFSET 0)
        ORDER BY r.wake_at, r.id LIMIT %(limit)s"""
    place = {"after_at": after.wake_at, "after_run": after.run, "limit": limit}
    which = {"state": state, "asked": asked is not False, "unasked": asked is not True}
    return [Place(at, pk) for pk, at in fetch(sql, {**_wanted_values(wanted), **which, **place}, using)]


def lock_wanted(runs: Collection[int], wanted: Wanted, using: str, *, wait: bool = False) -> list[int]:
    """Lock those of *runs* that are still wanted, with their entries; others' locks are passed over, or waited for.

    Asked anew: since `queue` has looked, another may have begun the run or paused its entry.
    Index: the keys of the runs, then of their entries. All in one CASE: PostgreSQL takes "due" for few runs, and a
    job's name for few entries, and would begin with reading the whole queue, or all entries.
    """
    sql = f"""
        SELECT r.id FROM crons_run r CROSS JOIN crons_entry e
        WHERE {among("r.id", "runs", using)} AND e.id = r.entry_id AND CASE
            WHEN NOT CASE r.state
                WHEN 'due' THEN %(arrived)s OR r.wake_at <= %(now)s
                WHEN 'sent' THEN %(arrived)s OR (%(sending)s AND r.wake_at <= %(now)s)
                WHEN 'waiting' THEN r.wake_at <= %(now)s
                ELSE FALSE END THEN FALSE
            ELSE {_wanted(using)} END
        {for_update(using, "r", "e", skip_locked=not wait)}"""
    values = {**_wanted_values(wanted), "runs": list(runs), "arrived": wanted.arrived}
    return [pk for (pk,) in fetch(sql, values, using)]


def sent_of(entries: Collection[int], using: str) -> list[tuple[int, int]]:
    """Find what of *entries* is sent and not begun: entry and run.

    Index: crons_run_sent, of open runs that were sent. By their state PostgreSQL would look through the whole queue.
    """
    sql = f"""
        SELECT o.entry_id, o.id, o.state FROM crons_run o {along("crons_run_sent", using)}
        WHERE {among("o.entry_id", "entries", using)} AND o.sends > 0 AND o.wake_at IS NOT NULL"""
    return [(entry, pk) for entry, pk, state in fetch(sql, {"entries": list(entries)}, using) if state == "sent"]


def overtaken(runs: Collection[int], using: str) -> set[int]:
    """Find those of *runs* of whose entry a newer slot has succeeded; who asks for one slot wants that one.

    Index: the keys of the runs, then crons_run_succeeded, (entry, slot_at) of what has succeeded. Without the order
    PostgreSQL, until it has statistics, reads all successes of an entry along crons_run_entry_succeeded.
    """
    sql = f"""
        SELECT r.id FROM crons_run r
        WHERE {among("r.id", "runs", using)} AND r.asked_at IS NULL AND EXISTS (
            SELECT 1 FROM crons_run s {along("crons_run_succeeded", using)}
            WHERE s.entry_id = r.entry_id AND s.verdict = 'succeeded' AND s.slot_at > r.slot_at
            ORDER BY s.slot_at DESC LIMIT 1 OFFSET 0)"""
    return {pk for (pk,) in fetch(sql, {"runs": list(runs)}, using)} if runs else set()


def succeeded_before(runs: Collection[int], using: str) -> dict[int, datetime | None]:
    """Find, for each of *runs*, the last slot before it that succeeded; UNREAD where that is no moment.

    Index: the keys of the runs, then crons_run_succeeded: an entry that has failed for a year is not read back to its
    last success.
    """
    sql = f"""
        SELECT r.id, (
            SELECT COALESCE(s.slot_at, NULL) FROM crons_run s {along("crons_run_succeeded", using)}
            WHERE s.entry_id = r.entry_id AND s.verdict = 'succeeded'
                AND s.slot_at < COALESCE(r.slot_at, r.planned_at)
            ORDER BY s.slot_at DESC LIMIT 1)
        FROM crons_run r WHERE {among("r.id", "runs", using)}"""
    return {pk: moment(slot_at) for pk, slot_at in fetch(sql, {"runs": list(runs)}, using)} if runs else {}


def groups_running(using: str) -> Counter[str]:
    """Count the runs of each group that are going.

    Index: crons_run_running, then the keys of the entries.
    """
    sql = f"""
        SELECT {_rule("group", using)} FROM crons_run r {along("crons_run_running", using)}
        CROSS JOIN {_entry_of("r.entry_id", using)}
        WHERE r.state = 'running' AND e.id = r.entry_id"""
    return Counter(group for (group,) in fetch(sql, {}, using))


def running_by_group(using: str) -> str:
    """Return SQL for the same as one JSON object, for who asks for something else beside."""
    sql = f"""
        SELECT {_rule("group", using)} AS name, COUNT(*) AS many
        FROM crons_run r {along("crons_run_running", using)} CROSS JOIN {_entry_of("r.entry_id", using)}
        WHERE r.state = 'running' AND e.id = r.entry_id GROUP BY 1"""
    if connections[using].vendor == "sqlite":
        return f"SELECT json_group_object(name, many) FROM ({sql}) g"
    return f"SELECT json_object_agg(name, many)::text FROM ({sql}) g"


def groups_sent(now: datetime, using: str) -> Counter[str]:
    """Count the runs of each group that were sent once and still have time to be begun.

    Index: crons_run_queue, or crons_run_sent where PostgreSQL's statistics say so; then the keys of the entries.
    """
    sql = f"""
        SELECT {_rule("group", using)} FROM crons_run r {along("crons_run_queue", using)}
        CROSS JOIN {_entry_of("r.entry_id", using)}
        WHERE r.state = 'sent' AND r.wake_at IS NOT NULL AND r.wake_at > %(now)s AND r.sends = 1
            AND e.id = r.entry_id"""
    return Counter(group for (group,) in fetch(sql, {"now": now}, using))


def too_late(now: datetime, limit: int, using: str, *, lock: bool = False) -> list[int]:
    """Find runs whose last moment to start has passed; a retry, or what somebody asked for, has none once sent.

    Index: crons_run_start_before, (state, start_before) of open runs that have one.
    """
    sql = f"""
        SELECT r.id FROM crons_run r {along("crons_run_start_before", using)}
        WHERE r.state IN ('due', 'sent') AND r.start_before < %(now)s
            AND r.start_before IS NOT NULL AND r.wake_at IS NOT NULL
            AND (r.state = 'due' OR (r.tries = 0 AND r.asked_at IS NULL))
        LIMIT %(limit)s {_lock(lock, using, "r")}"""
    return [pk for (pk,) in fetch(sql, {"now": now, "limit": limit}, using)]


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
        FROM crons_run a {along("crons_run_running", using)}
        CROSS JOIN {_entry_of("a.active_key", using)}
        CROSS JOIN crons_run r {along("crons_run_open", using)}
        WHERE a.state = 'running' AND a.asked_at IS NULL AND e.id = a.active_key AND {catch_up} <> 'all'
            AND r.entry_id = e.id AND r.wake_at IS NOT NULL AND {WAKES} AND CASE r.state
                WHEN 'due' THEN r.wake_at <= %(now)s
                WHEN 'sent' THEN r.tries = 0 AND r.asked_at IS NULL
                ELSE FALSE END
        LIMIT %(limit)s {_lock(lock, using, "r")}"""
    return {pk: (way, attempt) for pk, way, attempt in fetch(sql, {"now": now, "limit": limit, **EVER}, using)}


def after_accounts(entries: Collection[int], limit: int, using: str) -> list[tuple[int, Any, Any]]:
    """Find the slots and ranges that are recorded after the account of one of *entries*: entry, first, last.

    Index: the keys of the entries, then for each (entry, slot_at) of the runs and (entry, last_at) of the ranges.
    """
    sql = f"""
        SELECT e.id, COALESCE(r.slot_at, NULL), COALESCE(r.slot_at, NULL)
        FROM crons_entry e CROSS JOIN {_of_each("crons_run", "r", "r.slot_at > e.accounted_until", using)}
            AND {among("e.id", "entries", using)}
        UNION ALL SELECT e.id, COALESCE(g.first_at, NULL), COALESCE(g.last_at, NULL)
        FROM crons_entry e CROSS JOIN {_of_each("crons_range", "g", "g.last_at > e.accounted_until", using)}
            AND {among("e.id", "entries", using)}
        ORDER BY 1 LIMIT %(limit)s"""
    found = fetch(sql, {"entries": list(entries), "limit": limit}, using)
    return [(entry, moment(first), moment(last)) for entry, first, last in found]


def replaceable(entries: Collection[int], limit: int, using: str) -> list[tuple[int, int, Any, Any]]:
    """Lock the runs of *entries* that wait to begin for the first time, but for those that somebody else holds.

    Returns: run, entry, slot, since when it may begin; UNREAD where that is no moment.
    Index: crons_run_open, entry by entry. CASE and the range: because of state = 'due' both databases read the whole
    queue, and PostgreSQL without statistics reads the whole table where the entries are many.
    """
    sql = f"""
        SELECT r.id, r.entry_id, COALESCE(r.slot_at, NULL), COALESCE(r.wake_at, NULL)
        FROM crons_run r {along("crons_run_open", using)}
        WHERE {among("r.entry_id", "entries", using)} AND r.wake_at IS NOT NULL AND {WAKES}
            AND CASE WHEN r.state = 'due' THEN r.kind = 'slot' AND r.sends = 0 AND r.tries = 0 AND r.asked_at IS NULL
                ELSE FALSE END
        LIMIT %(limit)s {_lock(True, using, "r")}"""
    found = fetch(sql, {"entries": list(entries), "limit": limit, **EVER}, using)
    return [(pk, entry, moment(slot_at), moment(wake_at)) for pk, entry, slot_at, wake_at in found]


def leases_here(boot_id: str, mine: str, using: str) -> list[tuple[int, str, int, datetime | None]]:
    """Find what is said to run on this machine, and not in the process *mine*: attempt, instance, pid, lease.

    Index: crons_attempt_lease, of attempts that have a lease.
    """
    sql = f"""
        SELECT a.id, a.instance, a.pid, COALESCE(a.lease_until, NULL)
        FROM crons_attempt a {along("crons_attempt_lease", using)}
        WHERE {_HAS_LEASE} AND a.boot_id = %(boot_id)s AND a.instance <> %(mine)s"""
    found = fetch(sql, {"boot_id": boot_id, "mine": mine, **EVER}, using)
    return [(pk, instance, pid, moment(lease)) for pk, instance, pid, lease in found]


def leases_of(instance: str, using: str) -> set[int]:
    """Find the attempts that the process *instance* has begun and that have not ended.

    Index: crons_attempt_lease, of attempts that have a lease.
    """
    sql = f"""
        SELECT a.id FROM crons_attempt a {along("crons_attempt_lease", using)}
        WHERE {_HAS_LEASE} AND a.instance = %(instance)s"""
    return {pk for (pk,) in fetch(sql, {"instance": instance, **EVER}, using)}


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
        SELECT a.id FROM crons_attempt a {along("crons_attempt_lease", using)}
        JOIN crons_run r ON r.id = a.run_id
        WHERE {_HAS_LEASE}
            AND ({among("a.id", "over", using)} OR (a.boot_id <> %(boot_id)s AND a.lease_until < %(now)s))
            AND NOT ({among("a.id", "silent", using)} AND a.lease_until >= %(now)s)
        LIMIT %(limit)s {_lock(lock, using, "a", "r")}"""
    values = {"over": list(over), "silent": list(silent), "boot_id": boot_id, "now": now, "limit": limit}
    return [pk for (pk,) in fetch(sql, {**values, **EVER}, using)]


# Of IS NOT NULL PostgreSQL thinks, until it has statistics, that it holds for all rows; of a range, for few.
_HAS_LEASE = "a.lease_until IS NOT NULL AND a.lease_until BETWEEN %(past)s AND %(future)s"
WAKES = "r.wake_at BETWEEN %(past)s AND %(future)s"
EVER = {"past": FAR_PAST, "future": FAR_FUTURE}


def _wanted(using: str) -> str:
    """Return SQL for: run r and its entry e are as a Wanted says.

    Of an entry whose runs may not overlap one is under way at a time, and no slot overtakes one that was sent and
    came back.
    """
    return f"""
        (e.paused_at IS NULL OR e.paused_until <= %(now)s OR r.kind = 'manual' OR r.asked_at >= e.paused_at)
        AND (%(any_job)s OR {among("e.job", "jobs", using)})
        AND {among(_rule("executor", using), "executors", using)}
        AND NOT {among(_rule("group", using), "full_groups", using)}
        AND NOT {among("e.id", "passed", using)}
        AND (NOT %(sending)s OR {_rule("overlap", using)} = 'allow' OR NOT EXISTS (
            SELECT 1 FROM crons_run o {along("crons_run_sent", using)}
            WHERE o.entry_id = r.entry_id AND o.sends > 0 AND o.wake_at IS NOT NULL AND o.id <> r.id AND CASE o.state
                WHEN 'sent' THEN r.state <> 'sent' OR o.id < r.id
                WHEN 'due' THEN r.state <> 'sent' AND r.slot_at IS NOT NULL AND r.asked_at IS NULL
                    AND NOT (r.state = 'due' AND r.sends > 0 AND r.id < o.id)
                ELSE FALSE END
            LIMIT 1 OFFSET 0))"""


def _wanted_values(wanted: Wanted) -> dict[str, Any]:
    return {
        "now": wanted.now,
        "any_job": wanted.jobs is None,
        "jobs": list(wanted.jobs or ()),
        "executors": list(wanted.executors),
        "full_groups": list(wanted.full_groups),
        "passed": list(wanted.passed),
        "sending": wanted.sending,
    }


def _entry_of(key: str, using: str) -> str:
    """Return SQL for the entry e with that *key*, which is looked up for each row of the tables before it.

    SQLite joins in the order of CROSS JOIN; PostgreSQL in its own, but for a subquery with an OFFSET.
    """
    if connections[using].vendor == "sqlite":
        return "crons_entry e"
    return f"LATERAL (SELECT * FROM crons_entry WHERE id = {key} OFFSET 0) e"


def _of_each(table: str, name: str, condition: str, using: str) -> str:
    """Return SQL for the rows of *table* of each entry e, up to and with the WHERE.

    PostgreSQL without statistics would rather read the whole table once than an index for a thousand entries.
    """
    source = f"{table} {name} WHERE {name}.entry_id = e.id AND {condition}"
    if connections[using].vendor == "sqlite":
        return source
    return f"LATERAL (SELECT * FROM {source} OFFSET 0) {name} WHERE TRUE"


def _lock(lock: bool, using: str, *tables: str) -> str:
    return for_update(using, *tables, skip_locked=True) if lock else ""


def _rule(name: str, using: str) -> str:
    """Return SQL for a rule of entry e; a row that does not name it lives by the default."""
    return f"COALESCE({json_text('e.policy', name, using)}, '{getattr(OURS, name)}')"
