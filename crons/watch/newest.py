"""The newest success of each entry, in one statement for all: what rules over an entry's own history start from."""

# ruff: noqa: S608 (what is put into the texts stands in this file and in ledger/sql.py; values are parameters)

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from django.db import connections

from crons.conf import conf
from crons.exceptions import CronsError
from crons.jobs import Policy
from crons.ledger.sql import along, fetch, known, moment
from crons.watch.usual import MORE, SUCCEEDED

# A run that took too long is a problem until the next one, and for a day at most: a yearly job is not slow for a year.
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Newest:
    """An entry that may be told of, and its newest success: None where there is none, or its attempt was pruned.

    *examined*: what that one reported; *succeeded_at*: when it ended.
    """

    entry_id: int
    policy: Policy
    seen_at: datetime
    run_id: int | None
    examined: int | None
    paused_at: datetime | None
    succeeded_at: datetime | None
    begun_at: datetime | None
    ended_at: datetime | None

    @property
    def took(self) -> timedelta:
        """How long that success took; nothing where that is not known."""
        return timedelta(0) if self.begun_at is None or self.ended_at is None else self.ended_at - self.begun_at


def newest_of_all(now: datetime) -> list[Newest]:
    """List the entries that are not retired and of which something may be told.

    That is: its policy says what to tell of, or its newest success took a minute or longer in the last day, or examined
    nothing.
    Cost: one statement. It reads each entry's row, one run of each along crons_run_entry_succeeded, and that one's
    attempt and report by their keys; what it returns is a small part of it.
    """
    using = conf.database
    return list(_read(fetch(_statement(using), {"after": now - DAY, "seconds": MORE.total_seconds()}, using)))


def _read(rows: list[tuple[Any, ...]]) -> Iterator[Newest]:
    for entry_id, policy, overrides, run_id, examined, seen, paused, succeeded, begun, ended in rows:
        seen_at, rules = known(seen), _policy(policy, overrides)
        if seen_at is not None and rules is not None:
            moments = (moment(paused), known(succeeded), known(begun), known(ended))
            yield Newest(entry_id, rules, seen_at, run_id, examined, *moments)


# Most entries of a site share a handful of policies.
@lru_cache(maxsize=1_000)
def _policy(policy: str, overrides: str) -> Policy | None:
    """Return the rules of a row; None where they cannot be read: it is parked, which is told."""
    try:
        return Policy.from_json({**json.loads(policy), **json.loads(overrides)})
    except (CronsError, TypeError, ValueError, RecursionError):
        return None


def _statement(using: str) -> str:
    is_sqlite = connections[using].vendor == "sqlite"
    newest = f"""
        SELECT n.id FROM crons_run n {along(SUCCEEDED, using)}
        WHERE n.entry_id = e.id AND n.verdict = 'succeeded' ORDER BY n.planned_at DESC, n.id DESC LIMIT 1"""
    if is_sqlite:
        policy, overrides = "e.policy", "e.overrides"
        took = "(julianday(a.ended_at) - julianday(a.begun_at)) * 86400.0 > %(seconds)s - 1"
        joined = f"""
            LEFT JOIN crons_run r ON r.id = ({newest})
            LEFT JOIN crons_attempt a ON a.id = r.current_attempt
            LEFT JOIN crons_workreport w ON w.attempt_id = a.id"""
    else:
        policy, overrides = "e.policy::text", "e.overrides::text"
        took = "a.ended_at - a.begun_at > make_interval(secs => %(seconds)s - 1)"
        # With an OFFSET, PostgreSQL looks each up by its key, and does not join whole tables instead.
        joined = f"""
            LEFT JOIN LATERAL (SELECT * FROM crons_run WHERE id = ({newest}) OFFSET 0) r ON TRUE
            LEFT JOIN LATERAL (SELECT * FROM crons_attempt WHERE id = r.current_attempt OFFSET 0) a ON TRUE
            LEFT JOIN LATERAL (SELECT * FROM crons_workreport WHERE attempt_id = a.id OFFSET 0) w ON TRUE"""
    says = " OR ".join(
        f"{column} LIKE '%%\"{name}\"%%'" for column in (policy, overrides) for name in ("expected", "max_silence")
    )
    moments = ("e.first_seen_at", "e.paused_at", "r.ended_at", "a.begun_at", "a.ended_at")
    return f"""
        SELECT e.id, {policy}, {overrides}, r.id, w.examined, {", ".join(f"COALESCE({each}, NULL)" for each in moments)}
        FROM crons_entry e {joined}
        WHERE e.retired_at IS NULL AND ({says} OR w.examined = 0 OR (a.ended_at >= %(after)s AND {took}))"""
