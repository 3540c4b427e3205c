"""Mending: texts in place of a moment that sort after every moment to come, so that their rows would never fall due.

Only SQLite stores such texts; PostgreSQL refuses them. Rows whose text sorts before now are due, and found that way.
"""

from __future__ import annotations

from datetime import datetime

from django.db import connections
from django.db.models import F

from crons.columns import IS_MOMENT
from crons.conf import conf
from crons.ledger.transactions import BATCH, database_now, note, reading, storable, verb, writing
from crons.models import Attempt, Entry, Run
from crons.side_output import get_log

log = get_log("crons")
LONGEST_FOUND = 100
# So many of each kind are checked, those that sort last: the cost must not grow with the number of entries.
LAST = 1_000
_PLACES = (
    ("entry", "crons_entry", "wake_at", ""),
    *(("run", "crons_run", "wake_at", f"state = '{state}' AND ") for state in ("due", "sent", "waiting")),
    ("attempt", "crons_attempt", "lease_until", ""),
)
GARBLED = " UNION ALL ".join(
    f"SELECT '{kind}', id, CAST({column} AS TEXT) FROM (SELECT id, {column} FROM {table} WHERE {which}{column} > ''"  # noqa: S608 (names of columns)
    f" ORDER BY {column} DESC LIMIT {LAST}) WHERE ({IS_MOMENT.format(column)}) IS NOT TRUE"
    for kind, table, column, which in _PLACES
)


@verb
def mend_moments(at: datetime | None = None) -> int:
    """Make rows due now that never would be: the entry is planned, the run begun, the attempt checked.

    Returns: how many rows it concerned.
    Cost: one statement on SQLite, along the indexes and bounded; none elsewhere.
    """
    if connections[conf.database].vendor != "sqlite":
        return 0
    with reading() as using, connections[using].cursor() as cursor:
        cursor.execute(GARBLED, [])
        found = cursor.fetchmany(BATCH)
    if not found:
        return 0
    now = at or database_now()
    with writing() as using:
        for kind, pk, text in found:
            column = "lease_until" if kind == "attempt" else "wake_at"
            before = {column: storable(text, LONGEST_FOUND)}
            if kind == "entry":
                Entry.objects.using(using).filter(pk=pk).update(wake_at=None, version=F("version") + 1)
            elif kind == "run":
                Run.objects.using(using).filter(pk=pk).update(wake_at=now)
            else:
                Attempt.objects.using(using).filter(pk=pk).update(lease_until=now)
            note("mend", kind, pk, "crons", now, using, before=before, reason="held no moment")
            about = {"event": "row.mended", "kind": kind, "row": pk, "column": column}
            log.warning("%s of %s %d held no moment, and was set anew", column, kind, pk, extra=about)
    return len(found)
