"""What is recorded after an entry's account, where there should be nothing: the account was set back.

By hand, or because a clock had been ahead. Whatever has a row keeps it: no slot gets a second verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db import connections

from crons.columns import UNREAD
from crons.ledger import rows

# COALESCE: what is no column itself SQLite's driver leaves unread, and `rows.moment` reads it.
TAKEN = """
SELECT r.entry_id, COALESCE(r.slot_at, NULL), COALESCE(r.slot_at, NULL)
FROM crons_run r JOIN crons_entry e ON e.id = r.entry_id
WHERE r.entry_id IN ({ids}) AND r.slot_at > e.accounted_until
UNION ALL SELECT g.entry_id, COALESCE(g.first_at, NULL), COALESCE(g.last_at, NULL)
FROM crons_range g JOIN crons_entry e ON e.id = g.entry_id
WHERE g.entry_id IN ({ids}) AND g.last_at > e.accounted_until
ORDER BY 1 LIMIT {limit}
"""
# Of accounts that were set back: more rows than this are not read in one transaction.
TAKEN_READ = 10_000
NONE_UNREAD = 1 << 63


def slots_after_accounts(ids: Sequence[int], using: str) -> tuple[dict[int, list[tuple[datetime, datetime]]], int]:
    """Return, by entry, the slots and ranges recorded after its account, and from which entry on not all was read."""
    taken: dict[int, list[tuple[datetime, datetime]]] = {}
    if not ids:
        return taken, NONE_UNREAD
    with connections[using].cursor() as cursor:
        # Written out: these are ids that the database gave, and a thousand parameters are too many for some.
        cursor.execute(TAKEN.format(ids=", ".join(map(str, ids)), limit=TAKEN_READ + 1))
        found = cursor.fetchall()
    for entry_id, first, last in found:
        first_at, last_at = rows.moment(first), rows.moment(last)
        # What somebody has garbled says of no slot that it is taken.
        if first_at is not None and last_at is not None and UNREAD not in (first_at, last_at):
            taken.setdefault(entry_id, []).append((first_at, last_at))
    return taken, found[-1][0] if len(found) > TAKEN_READ else NONE_UNREAD
