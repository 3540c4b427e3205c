"""How entries go: statements over the newest runs of each, whole, as those in queries.py."""

# ruff: noqa: S608 (what is put into the texts stands in this file; values are parameters)

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

from django.db import connections
from django.db.models import BooleanField
from django.db.models.expressions import RawSQL

from crons.columns import UNREAD
from crons.conf import conf
from crons.ledger.sql import along, fetch, moment, parameter

# So many runs of an entry are read to see how it goes.
NEWEST = 20


def healed(rule: str) -> list[int]:
    """Find the open incidents of *rule* whose entry has succeeded since they changed last, or is retired.

    Index: crons_run_entry_planned, the newest runs of each of those entries; and the key of the incident's own run,
    which may be an old slot that somebody has run again. When runs ended no index holds: asked for that alone, all that
    ever succeeded of an entry was read.
    """
    using = conf.database
    sql = f"""
        SELECT i.id FROM crons_incident i WHERE i.open_key IS NOT NULL AND i.rule = %(rule)s AND (
            EXISTS (SELECT 1 FROM crons_entry e WHERE e.id = i.entry_id AND e.retired_at IS NOT NULL)
            OR EXISTS (
                SELECT 1 FROM (
                    SELECT r.verdict, r.ended_at FROM crons_run r {along("crons_run_entry_planned", using)}
                    WHERE r.entry_id = i.entry_id ORDER BY r.planned_at DESC, r.id DESC LIMIT {NEWEST}) n
                WHERE n.verdict = 'succeeded' AND n.ended_at > i.changed_at)
            OR EXISTS (
                SELECT 1 FROM crons_run o WHERE o.id = i.run_id AND o.verdict = 'succeeded'
                    AND o.ended_at > i.changed_at))
        ORDER BY i.id"""
    return [pk for (pk,) in fetch(sql, {"rule": rule}, using)]


class NewestRun(NamedTuple):
    """What a rule needs of one of the newest runs of an entry."""

    entry_id: int
    run_id: int
    kind: str
    state: str
    verdict: str
    detail: str
    tries: int
    planned_at: datetime
    late_seconds: int | None
    outage: int | None


def newest_runs(entries: Collection[int]) -> dict[int, list[NewestRun]]:
    """Return the newest runs of each of *entries*, by their ids, the newest first; who has none is left out."""
    using = conf.database
    source = _newest("%(entries)s", NEWEST, using)
    columns = "r.entry_id, r.id, r.kind, r.state, r.verdict, r.detail, r.tries, COALESCE(r.planned_at, NULL)"
    sql = f"SELECT {columns}, r.late_seconds, r.outage FROM {source}"
    found: dict[int, list[NewestRun]] = {}
    for *before, planned, late_seconds, outage in fetch(sql, {"entries": list(entries)}, using):
        run = NewestRun._make([*before, moment(planned) or UNREAD, late_seconds, outage])
        found.setdefault(run.entry_id, []).append(run)
    return {entry: sorted(runs, key=_newest_first, reverse=True) for entry, runs in found.items()}


def are_newest(entries: Collection[int], of_each: int) -> RawSQL:
    """Return SQL for: the run is one of the newest *of_each* of one of *entries*."""
    using = conf.database
    sql = f"crons_run.id IN (SELECT r.id FROM {_newest('%s', of_each, using)})"
    return RawSQL(sql, (parameter(list(entries), using),), output_field=BooleanField())


def _newest(entries: str, of_each: int, using: str) -> str:
    """Return SQL for the newest runs r of each of the *entries*, which are a parameter.

    Index: crons_run_entry_planned, of each entry its first rows. CROSS JOIN keeps SQLite from another order.
    """
    newest = f"""
        SELECT n.id FROM crons_run n {along("crons_run_entry_planned", using)}
        WHERE n.entry_id = e.value ORDER BY n.planned_at DESC, n.id DESC LIMIT {of_each}"""
    if connections[using].vendor == "sqlite":
        return f"json_each({entries}) e CROSS JOIN crons_run r ON r.id IN (SELECT id FROM ({newest}))"
    return f"""unnest({entries}::bigint[]) e(value) CROSS JOIN LATERAL ({newest}) k
        CROSS JOIN LATERAL (SELECT * FROM crons_run WHERE id = k.id OFFSET 0) r"""


def _newest_first(run: NewestRun) -> tuple[datetime, int]:
    return run.planned_at, run.run_id
