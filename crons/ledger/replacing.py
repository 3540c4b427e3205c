"""Replacing: with catch_up="latest" a newer slot takes the place of older runs of its entry that nobody has begun.

So the queue is bounded by the number of entries, however long no place comes free.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from crons.columns import UNREAD
from crons.ledger.transactions import lock_free
from crons.ledger.verdict import end, write_ended
from crons.models import Run
from crons.schedules import FAR_FUTURE
from crons.signals import run_ended
from crons.verdicts import Kind, Reason, State, Verdict

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
    waiting = Run.objects.using(using).filter(
        entry__in=list(newest), state=State.DUE, kind=Kind.SLOT, sends=0, tries=0, asked_at=None
    )
    waiting = waiting.filter(wake_at__lte=FAR_FUTURE).order_by("wake_at", "pk")
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
        if run.slot_at is None or run.wake_at is None or UNREAD in (run.slot_at, run.wake_at) or run.slot_at >= newer:
            continue
        waits_since.setdefault(run.entry_id, run.wake_at)
        detail = f"it had not begun when the slot {newer:%Y-%m-%d %H:%M:%S} UTC fell due"
        end(run, Verdict.MISSED, now, reason=Reason.CATCH_UP, detail=detail)
        replaced.append(run)
    write_ended(replaced, using)
    return waits_since
