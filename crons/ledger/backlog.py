"""What waits to be begun and should have been, of each entry its first run: one statement, whatever waits."""

# ruff: noqa: S608 (what is put into the texts stands in this file and in queries.py; values are parameters)

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connections
from django.db.models import BooleanField, IntegerField, QuerySet, TextField
from django.db.models.expressions import RawSQL

from crons.conf import conf
from crons.ledger.queries import EVER, WAKES, running_by_group
from crons.ledger.sql import along, parameter
from crons.models import Entry, Run

# The newest attempts that are looked through for a sign that an entry's runs are begun, one after the other.
ATTEMPTS_READ = 300
Visible = Callable[[QuerySet[Any]], QuerySet[Any]]


def first_late(late: datetime, count_to: int, limit: int, visible: Visible) -> list[Run]:
    """Find, of each entry of which runs should have begun before *late*, the first of these, with its entry.

    Left out are entries of which a run goes on, or was begun or ended since: where one after the other is run, they
    wait well. So are those that are paused, and those that *visible* takes away: what it leaves is counted to *limit*.
    What is sent again and again moves its moment on: that nobody takes it, or the broker nothing, shows by the count.
    Returns: runs whose *waiting* is how many wait in all, each count up to *count_to*, and whose *going* is JSON: how
    many runs of each group are going, where groups have limits.
    Cost: one statement.
    Index: crons_run_open, from one entry's first row to the next entry's, so that of a hundred thousand runs of one
    entry one is read; then in it the entry's oldest, and crons_run_sent. Where any waits, the keys of the newest
    attempts and of their runs.
    """
    using = conf.database
    try:
        seen, seen_values = _seen(visible, using)
    except EmptyResultSet:  # whoever asks may see no entry
        return []
    values = {"late": late, "count_to": count_to, "limit": limit, **EVER, **seen_values}

    def raw(sql: str, kind: Any) -> RawSQL:
        named = {name: parameter(value, using) for name, value in values.items()}
        return RawSQL(*_in_order(sql, named), output_field=kind)

    chosen = _chosen(seen, using)
    # An array, which PostgreSQL takes for a few keys, where it would take the answer of a recursion for many.
    among = f"IN ({chosen})" if connections[using].vendor == "sqlite" else f"= ANY(ARRAY({chosen}))"
    runs = Run.objects.using(using).filter(raw(f"crons_run.id {among}", BooleanField())).select_related("entry")
    late_runs, resent = _waiting_of("crons_run.entry_id", using)
    counts = [f"(SELECT COUNT(*) FROM (SELECT 1 {rows} LIMIT %(count_to)s) c)" for rows in (late_runs, resent)]
    runs = runs.annotate(waiting=raw(f"SELECT {' + '.join(counts)}", IntegerField()))
    if conf.groups:
        runs = runs.annotate(going=raw(running_by_group(using), TextField()))
    return list(runs.order_by("wake_at", "pk"))


def _chosen(seen: str, using: str) -> str:
    is_sqlite = connections[using].vendor == "sqlite"
    # The range is for PostgreSQL. With it, SQLite that has statistics skips through the index from its first entry
    # at each step: 7 s with a hundred thousand due.
    wakes = "" if is_sqlite else f"AND {WAKES}"
    following = f"""
        SELECT r.entry_id FROM crons_run r {along("crons_run_open", using)}
        WHERE r.wake_at IS NOT NULL {wakes} AND r.entry_id > {{}} ORDER BY r.entry_id LIMIT 1"""
    # Of a range of keys PostgreSQL expects a third of the table; SQLite's plan says of the other that it reads all.
    last = f"WHERE id > (SELECT MAX(id) FROM crons_attempt) - {ATTEMPTS_READ}" if is_sqlite else ""
    newest = f"(SELECT * FROM crons_attempt {last} ORDER BY id DESC LIMIT {ATTEMPTS_READ}) n"
    run_of = "crons_run s" if is_sqlite else "LATERAL (SELECT * FROM crons_run WHERE id = n.run_id OFFSET 0) s"
    served = f"""
        SELECT s.entry_id FROM {newest} CROSS JOIN {run_of}
        WHERE s.id = n.run_id AND COALESCE(n.ended_at, n.begun_at) >= %(late)s"""
    late_runs, resent = _waiting_of("w.id", using)
    return f"""
        WITH RECURSIVE w(id) AS (
            SELECT ({following.format(0)}) UNION ALL SELECT ({following.format("w.id")}) FROM w WHERE w.id IS NOT NULL
        ), f(run, entry) AS (
            SELECT COALESCE((SELECT r.id {late_runs} LIMIT 1), (SELECT MIN(r.id) {resent})), w.id
            FROM w JOIN crons_entry e ON e.id = w.id
            WHERE e.paused_at IS NULL AND {seen}
                AND NOT EXISTS (SELECT 1 FROM crons_run a WHERE a.active_key = w.id)
        )
        SELECT f.run FROM f WHERE f.run IS NOT NULL AND f.entry NOT IN ({served}) LIMIT %(limit)s"""


def _waiting_of(entry: str, using: str) -> tuple[str, str]:
    """Return SQL for the runs r of *entry* that should have begun, and for those that were sent and not begun."""
    late_runs = f"""
        FROM crons_run r {along("crons_run_open", using)} WHERE r.entry_id = {entry} AND r.wake_at IS NOT NULL
            AND r.wake_at < %(late)s AND r.state IN ('due', 'sent', 'waiting') ORDER BY r.wake_at, r.id"""
    resent = f"""
        FROM crons_run r {along("crons_run_sent", using)} WHERE r.entry_id = {entry} AND r.wake_at IS NOT NULL
            AND r.sends > 0 AND r.wake_at >= %(late)s
            AND (r.sends > 1 OR (r.state IN ('due', 'waiting') AND r.planned_at < %(late)s))"""
    return late_runs, resent


def _seen(visible: Visible, using: str) -> tuple[str, dict[str, Any]]:
    """Return SQL for: entry e is one that *visible* leaves, and its parameters. Raises: EmptyResultSet if none is."""
    rows = visible(Entry.objects.using(using))
    if not rows.query.where:
        return "TRUE", {}
    # By its key: the other way round all entries that one may see would be read first.
    rows = rows.filter(pk=RawSQL("e.id", ())).order_by().values("pk")
    sql, given = rows.query.get_compiler(using).as_sql()
    values = {f"seen{number}": value for number, value in enumerate(given)}
    names = iter(values)
    return f"EXISTS ({re.sub('%(%|s)', lambda m: '%%' if m[1] == '%' else f'%({next(names)})s', sql)})", values


def _in_order(sql: str, values: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """Return *sql* with its named parameters as others of Django's have theirs: in the order of the text."""
    given: list[Any] = []

    def take(found: re.Match[str]) -> str:
        if found[1] is None:
            return found[0]
        given.append(values[found[1]])
        return "%s"

    return re.sub(r"%%|%\((\w+)\)s", take, sql), given
