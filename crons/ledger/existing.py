"""What is in the rows already when slots are recorded: slots that have a row, and runs that a newer slot replaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from django.db import connections

from crons.columns import UNREAD
from crons.ledger import rows
from crons.ledger.transactions import lock_free
from crons.ledger.verdict import end, write_ended
from crons.models import Run
from crons.presentation import utc
from crons.signals import run_ended
from crons.verdicts import Kind, Reason, State, Verdict

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
# More rows than this are not read in one transaction.
TAKEN_READ = 10_000
NONE_UNREAD = 1 << 63


def slots_after_accounts(ids: Sequence[int], using: str) -> tuple[dict[int, list[tuple[datetime, datetime]]], int]:
    """Return, by entry, the slots and ranges recorded after its account, and from which entry on not all was read.

    There are none unless an account was set back, by hand or because a clock had been ahead. No slot gets a second
    verdict.
    """
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


# An entry may have a long queue from a time when its job said catch_up="all": that ends over several passes.
MOST_REPLACED = 2_000


def end_replaced(newest: Mapping[int, datetime], now: datetime, using: str) -> dict[int, datetime]:
    """End, as missed, the runs that wait to begin of slots older than *newest* of their entries.

    For use inside a transaction that has the entries locked. What was sent stays, because a worker may be about to
    begin it; so do retries, and what a person asked for.
    Args: *newest* by entry: the slot that is being recorded.
    Returns: by entry, since when the oldest of them was in the queue. The newer run takes that place: at the end of
    the queue an entry whose slots come faster than its turn would never begin.
    Cost: one statement, along the index of open runs; two where any are replaced.
    """
    if not newest:
        return {}
    # Not sorted: for the order of the queue both databases read along it, and so what is due of all other entries. Of
    # many entries at once they do that too as long as they have no statistics.
    waiting = Run.objects.using(using).filter(
        entry__in=list(newest), state=State.DUE, kind=Kind.SLOT, wake_at__isnull=False, sends=0, tries=0, asked_at=None
    )
    if run_ended.has_listeners():
        waiting = waiting.select_related("entry")  # without anybody who reads it, half of the time for nothing
    # A run that somebody else holds is left to the next slot. Waiting for it could be a deadlock: whoever begins a run
    # by its name locks the run first, and then waits for its entry, which is locked here.
    found = lock_free(waiting, using, "self")
    replaced: list[Run] = []
    waits_since: dict[int, datetime] = {}
    for run in found[:MOST_REPLACED]:
        newer = newest[run.entry_id]
        # A garbled row is left to `begin`, which says what is wrong with it.
        if (
            run.state != State.DUE
            or run.slot_at is None
            or run.wake_at is None
            or UNREAD in (run.slot_at, run.wake_at)
            or run.slot_at >= newer
        ):
            continue
        waits_since[run.entry_id] = min(run.wake_at, waits_since.get(run.entry_id, run.wake_at))
        detail = f"it had not begun when the slot {utc(newer)} fell due"
        end(run, Verdict.MISSED, now, reason=Reason.CATCH_UP, detail=detail)
        replaced.append(run)
    write_ended(replaced, using)
    return waits_since
