"""How long an entry's runs usually take, and when one last succeeded: read from its own rows, for many entries at once.

What is read does not grow with the history: of each entry its newest `NEWEST` successes at most.
"""

# ruff: noqa: S608 (what is put into the texts stands in this file and in ledger/sql.py; values are parameters)

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from django.db import connections

from crons.conf import conf
from crons.ledger.sql import along, fetch, known

NEWEST = 60
# From fewer successes nothing is said to be long: the second run of a job is often its first real one.
ENOUGH = 5
FACTOR, MORE = 2, timedelta(minutes=1)
ENTRIES_READ = 100
# Of one entry in order. Along an index of all its runs, a year of failures was read to find no success in it.
SUCCEEDED = "crons_run_entry_succeeded"


Amount = TypeVar("Amount", timedelta, float)


@dataclass(frozen=True)
class Percentiles(Generic[Amount]):
    """What the last successes of an entry took of something: half of them at most *p50*, 95 of 100 at most *p95*.

    *count*: of so many, `NEWEST` at most.
    """

    p50: Amount
    p95: Amount
    count: int

    @classmethod
    def of(cls, values: Iterable[Amount]) -> Percentiles[Amount]:
        """Make it of one value or more. Percentiles are nearest ranks: each is a value that was."""
        in_order = sorted(values)
        return cls(in_order[_rank(len(in_order), 50)], in_order[_rank(len(in_order), 95)], len(in_order))

    @property
    def limit(self) -> Amount | None:
        """What takes more than this is far beyond the usual; None where too little is known to say so.

        That is twice the p95; of a length at least a minute more than it, for seconds are nothing to wonder at.
        """
        if self.count < ENOUGH:
            return None
        if isinstance(self.p95, timedelta):
            return max(FACTOR * self.p95, self.p95 + MORE)
        return FACTOR * self.p95

    def is_beyond(self, value: Amount) -> bool:
        """Answer whether *value* is more than the limit."""
        return self.limit is not None and value > self.limit


# How long they took.
Usual = Percentiles[timedelta]


@dataclass(frozen=True)
class Success:
    """An attempt that succeeded. *examined*: what it reported, where that was asked for."""

    run_id: int
    attempt_id: int
    begun_at: datetime
    ended_at: datetime
    examined: int | None = None

    @property
    def took(self) -> timedelta:
        """How long it took."""
        return self.ended_at - self.begun_at


def usual_of(entry_ids: Iterable[int]) -> dict[int, Usual]:
    """Return how long the runs of these entries usually take, by their ids; who has never succeeded is left out.

    Cost: one statement for each hundred entries, which reads at most `NEWEST` runs of each and their attempts.
    """
    found = successes_of(entry_ids)
    return {entry_id: Usual.of([each.took for each in newest]) for entry_id, newest in found.items()}


def usual_besides(run_id: int, entry_id: int) -> Usual | None:
    """Return how long the entry's other runs usually take: what one run is held against. Cost: one statement."""
    others = [each.took for each in successes_of([entry_id]).get(entry_id, []) if each.run_id != run_id]
    return Usual.of(others) if others else None


def last_success_of(entry_ids: Iterable[int]) -> dict[int, datetime]:
    """Return when the newest run that succeeded of each of these entries ended, by their ids; of some there is none.

    The newest is that of the last moment, a slot's or a request's: that last year's was made up for today is no news.
    Cost: one statement for each ten thousand entries, which reads one run of each.
    """
    found: dict[int, datetime] = {}
    for entry_id, ended in rows_of(_last_success, entry_ids, 10_000):
        if (ended_at := known(ended)) is not None:
            found[entry_id] = ended_at
    return found


def successes_of(entry_ids: Iterable[int], newest: int = NEWEST, *, work: bool = False) -> dict[int, list[Success]]:
    """Return the newest successes of each of these entries, the last to end first; who has none is left out.

    Args: *work*: with what they examined.

    Cost: one statement for each hundred entries.
    """
    found: dict[int, list[Success]] = defaultdict(list)
    statement = _works if work else _successes
    for entry_id, run_id, attempt_id, begun, ended, examined in rows_of(
        statement, entry_ids, ENTRIES_READ, newest=newest
    ):
        begun_at, ended_at = known(begun), known(ended)
        if begun_at and ended_at:
            # A clock that was set back meanwhile makes no length less than nothing.
            found[entry_id].append(Success(run_id, attempt_id, begun_at, max(begun_at, ended_at), examined))
    return {entry_id: sorted(each, key=_ended, reverse=True) for entry_id, each in found.items()}


def rows_of(statement: Callable[[str], str], entry_ids: Iterable[int], at_once: int, **values: Any) -> Iterator[Any]:
    """Yield the rows of a *statement* about the entries with these ids, asked for so many *at_once*."""
    using = conf.database
    ids = list(dict.fromkeys(entry_ids))
    for start in range(0, len(ids), at_once):
        yield from fetch(statement(using), {**values, "entries": ids[start : start + at_once]}, using)


def given(using: str) -> str:
    """Write the source of the ids that `rows_of` asks with: e, with the column value."""
    if connections[using].vendor == "sqlite":
        return "json_each(%(entries)s) e"
    return "unnest(%(entries)s::bigint[]) e(value)"


def _ended(success: Success) -> tuple[datetime, int]:
    return success.ended_at, success.run_id


def _rank(count: int, percent: int) -> int:
    return -(-count * percent // 100) - 1


def _works(using: str) -> str:
    return _successes(using, "(SELECT w.examined FROM crons_workreport w WHERE w.attempt_id = a.id)")


def _successes(using: str, examined: str = "NULL") -> str:
    """Write the statement: for each entry its newest successes along the index, then their attempts by their keys.

    CROSS JOIN keeps SQLite from another order; LATERAL with an OFFSET does it on PostgreSQL.
    """
    newest = f"""
        SELECT n.id, n.current_attempt FROM crons_run n {along(SUCCEEDED, using)}
        WHERE n.entry_id = e.value AND n.verdict = 'succeeded' ORDER BY n.planned_at DESC, n.id DESC LIMIT %(newest)s"""
    columns = f"e.value, r.id, a.id, COALESCE(a.begun_at, NULL), COALESCE(a.ended_at, NULL), {examined}"
    if connections[using].vendor == "sqlite":
        return f"""
            SELECT {columns} FROM {given(using)}
            CROSS JOIN crons_run r ON r.id IN (SELECT id FROM ({newest}))
            CROSS JOIN crons_attempt a ON a.id = r.current_attempt AND a.ended_at IS NOT NULL"""
    return f"""
        SELECT {columns} FROM {given(using)}
        CROSS JOIN LATERAL ({newest}) r
        CROSS JOIN LATERAL (
            SELECT id, begun_at, ended_at FROM crons_attempt
            WHERE id = r.current_attempt AND ended_at IS NOT NULL OFFSET 0
        ) a"""


def _last_success(using: str) -> str:
    return f"""
        SELECT e.value, (
            SELECT COALESCE(r.ended_at, NULL) FROM crons_run r {along(SUCCEEDED, using)}
            WHERE r.entry_id = e.value AND r.verdict = 'succeeded' ORDER BY r.planned_at DESC, r.id DESC LIMIT 1)
        FROM {given(using)}"""
