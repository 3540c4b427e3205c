"""Mending: texts in place of a moment that sort behind every moment to come, so that their rows are never looked at.

Only SQLite keeps such; elsewhere the column refuses them. Texts that sort before are due, and planned or begun anew.
"""

from __future__ import annotations

from datetime import datetime

from django.db import connections
from django.db.models import F

from crons.conf import conf
from crons.ledger.audit import kept, note
from crons.ledger.record import BATCH
from crons.ledger.transactions import database_now, reading, verb, writing
from crons.models import Attempt, Entry, Run
from crons.row_moments import IS_MOMENT
from crons.side_output import get_log

log = get_log("crons")
LONGEST_FOUND = 100
GARBLED = f"""
SELECT 'entry', id, CAST(wake_at AS TEXT) FROM crons_entry
WHERE wake_at > '' AND ({IS_MOMENT.format("wake_at")}) IS NOT TRUE
UNION ALL SELECT 'run', id, CAST(wake_at AS TEXT) FROM crons_run
WHERE state IN ('due', 'sent', 'waiting') AND wake_at > '' AND ({IS_MOMENT.format("wake_at")}) IS NOT TRUE
UNION ALL SELECT 'attempt', id, CAST(lease_until AS TEXT) FROM crons_attempt
WHERE lease_until > '' AND ({IS_MOMENT.format("lease_until")}) IS NOT TRUE
LIMIT %s
"""  # noqa: S608 (names of columns)


@verb
def mend_moments(at: datetime | None = None) -> int:
    """Have what can never be due be looked at now: plan the entry, begin the run, ask whether the attempt lives.

    Returns: how many rows it concerned. Cost: one statement on SQLite, none elsewhere.
    """
    if connections[conf.database].vendor != "sqlite":
        return 0
    with reading() as using, connections[using].cursor() as cursor:
        cursor.execute(GARBLED, [BATCH])
        found = cursor.fetchall()
    if not found:
        return 0
    now = at or database_now()
    with writing() as using:
        for kind, pk, text in found:
            column = "lease_until" if kind == "attempt" else "wake_at"
            before = {column: kept(text, LONGEST_FOUND)}
            if kind == "entry":
                Entry.objects.using(using).filter(pk=pk).update(wake_at=None, version=F("version") + 1)
            elif kind == "run":
                Run.objects.using(using).filter(pk=pk).update(wake_at=now)
            else:
                Attempt.objects.using(using).filter(pk=pk).update(lease_until=now)
            note("mend", kind, pk, "crons", now, using, before=before, reason="held no moment")
            log.warning("%s of %s %d held no moment, and was set anew", column, kind, pk)
    return len(found)
