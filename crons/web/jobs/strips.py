"""The last slots of many entries as strips of marks: what ran and how it ended, what was missed, what was skipped.

Two statements, for a page of entries with a million runs as for one with ten: of each entry its newest rows are read
along crons_run_entry_planned and crons_range_entry_last, and none beyond.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import connections

from crons.columns import UNREAD
from crons.conf import conf
from crons.ledger.sql import along, moment, parameter
from crons.verdicts import State
from crons.web.jobs.marks import Mark as Mark
from crons.web.jobs.marks import newest

SHOWN = 60
RUNS = """
    SELECT r.entry_id, r.id, COALESCE(r.planned_at, NULL), r.state, r.verdict, r.reason, r.kind,
        COALESCE(a.begun_at, NULL), COALESCE(a.ended_at, NULL)
    FROM crons_run r {along} LEFT JOIN crons_attempt a ON a.id = r.current_attempt
    WHERE r.entry_id = {entry} {before} ORDER BY r.planned_at DESC, r.id DESC LIMIT {limit}"""
RANGES = """
    SELECT g.entry_id, COALESCE(g.first_at, NULL), COALESCE(g.last_at, NULL), g.count, g.verdict, g.reason
    FROM crons_range g {along} WHERE g.entry_id = {entry} {before} ORDER BY g.last_at DESC, g.id DESC LIMIT {limit}"""


def strips_of(zones: Mapping[int, str], shown: int = SHOWN, before: datetime | None = None) -> dict[int, list[Mark]]:
    """Return the newest *shown* marks of each entry, the oldest first, by its id; *zones* has the zone of each.

    Args: *before* leaves out what is as late or later.
    Cost: two statements.
    """
    marks: dict[int, list[Mark]] = defaultdict(list)
    for row in _newest(RUNS, "crons_run_entry_planned", "r.planned_at", zones, shown, before):
        _add(marks, row[0], _of_run(row, zones[row[0]]))
    for row in _newest(RANGES, "crons_range_entry_last", "g.last_at", zones, shown, before):
        _add(marks, row[0], _of_range(row, zones[row[0]]))
    return {pk: newest(found, shown)[::-1] for pk, found in marks.items()}


def _add(marks: dict[int, list[Mark]], entry: int, mark: Mark | None) -> None:
    if mark is not None:
        marks[entry].append(mark)


def _of_run(row: Sequence[Any], zone: str) -> Mark | None:
    _, pk, planned, state, verdict, reason, kind, begun, ended = row
    at, begun_at, ended_at = moment(planned), moment(begun), moment(ended)
    if at is None or at == UNREAD:
        return None
    took = ended_at - begun_at if begun_at and ended_at and UNREAD not in (begun_at, ended_at) else None
    is_over = state == State.DONE
    return Mark(at, zone, verdict if is_over else state, reason if is_over else "", pk, kind, took, is_over=is_over)


def _of_range(row: Sequence[Any], zone: str) -> Mark | None:
    _, first, last, count, verdict, reason = row
    first_at, last_at = moment(first), moment(last)
    if first_at is None or last_at is None or UNREAD in (first_at, last_at):
        return None
    return Mark(last_at, zone, verdict, reason, first_at=first_at, count=count)


def _newest(
    sql: str, index: str, column: str, entries: Iterable[int], limit: int, before: datetime | None
) -> Sequence[tuple[Any, ...]]:
    """Read the newest *limit* rows of each of *entries* in one statement; *index* orders them by *column*."""
    using = conf.database
    given: dict[str, Any] = {f"e{pk}": pk for pk in entries}
    if not given:
        return []
    within = {"limit": limit, "before": f"AND {column} < %(before)s" if before else ""}
    if connections[using].vendor == "sqlite":
        # It has no LATERAL, and takes 500 parts in a compound at most; a LIMIT needs a SELECT of its own around it.
        parts = [sql.format(along=along(index, using), entry=f"%({name})s", **within) for name in given]
        statement = " UNION ALL ".join(f"SELECT * FROM ({part})" for part in parts)  # noqa: S608 (what stands above)
    else:
        part = sql.format(along="", entry="e.id", **within)
        statement = f"SELECT n.* FROM unnest(%(ids)s::bigint[]) AS e(id) CROSS JOIN LATERAL ({part}) n"  # noqa: S608
        given = {"ids": list(given.values())}
    if before:
        given["before"] = parameter(before, using)
    with connections[using].cursor() as cursor:
        cursor.execute(statement, given)
        return list(cursor.fetchall())
