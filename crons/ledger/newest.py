"""How entries go: statements over the newest runs of each, whole, as those in queries.py."""

# ruff: noqa: S608 (what is put into the texts stands in this file; values are parameters)

from __future__ import annotations

from django.db import connections

from crons.ledger.sql import along

# So many runs of an entry are read to see how it goes.
NEWEST = 20


def healed(rule: str, using: str) -> list[int]:
    """Find the open incidents of *rule* whose entry has succeeded since they changed last, or is retired.

    Index: crons_run_entry_planned, the newest runs of each of those entries; and the key of the incident's own run,
    which may be an old slot that somebody has run again. When runs ended no index holds: asked for that alone, all that
    ever succeeded of an entry was read.
    """
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
    with connections[using].cursor() as cursor:
        cursor.execute(sql, {"rule": rule})
        return [pk for (pk,) in cursor.fetchall()]
