"""What is in the rows already when slots are recorded: slots that have a row, runs that a newer slot replaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from crons.columns import UNREAD
from crons.events import is_end_heard
from crons.hosts.instances import host
from crons.ledger import queries, rows
from crons.ledger.ending.verdict import ENDED, announce, end
from crons.models import Entry, Heartbeat, Run
from crons.presentation import utc
from crons.verdicts import Reason, Verdict

# So many rows at most are read in one transaction.
TAKEN_READ = 10_000
# So many triggers that came second are named; of the others only the number is kept.
NAMED_SECOND = 3
NONE_UNREAD = 1 << 63


def slots_after_accounts(ids: Sequence[int], using: str) -> tuple[dict[int, list[tuple[datetime, datetime]]], int]:
    """Return, by entry, the slots and ranges recorded after its account, and from which entry on not all was read.

    There are none unless an account was set back, by hand or because a clock had been ahead. No slot gets a second
    verdict.
    """
    taken: dict[int, list[tuple[datetime, datetime]]] = {}
    if not ids:
        return taken, NONE_UNREAD
    found = queries.after_accounts(ids, TAKEN_READ + 1, using)
    for entry_id, first_at, last_at in found:
        # What somebody has garbled says of no slot that it is taken.
        if first_at is not None and last_at is not None and UNREAD not in (first_at, last_at):
            taken.setdefault(entry_id, []).append((first_at, last_at))
    return taken, found[-1][0] if len(found) > TAKEN_READ else NONE_UNREAD


def set_back(accounted_until: datetime) -> str:
    """Say why an entry is not planned whose account was set back to *accounted_until*."""
    return (
        f"slots after {utc(accounted_until)} are recorded already: accounted_until was set back by hand. "
        "Set it to the last recorded slot, then: manage.py crons sync"
    )


def add_second(run: Run, trigger: str, now: datetime) -> None:
    """Add to *run*, in memory, that *trigger* came to its slot at *now*, on this host, and found it recorded."""
    kept = run.came_second or {}
    # Whatever somebody has written there by hand must keep no trigger from its work.
    named, counted = kept.get("first"), kept.get("count")
    first = named[:NAMED_SECOND] if isinstance(named, list) else []
    count = max(counted, len(first)) if type(counted) is int else len(first)
    if len(first) < NAMED_SECOND:
        first.append({"who": f"{trigger} on {host()}", "at": now.isoformat()})
    run.came_second = {"count": count + 1, "first": first}


# An entry may have a long queue from a time when its job said catch_up="all": that ends over several passes.
MOST_REPLACED = 2_000


def end_replaced(newest: Mapping[int, datetime], now: datetime, using: str) -> dict[int, datetime]:
    """End, as missed, the runs that wait to begin of slots older than *newest* of their entries.

    For use inside a transaction that has the entries locked. What was sent stays, because a worker may be about to
    begin it; so do retries, and what a person asked for.
    Args: *newest* by entry: the slot that is being recorded.
    Returns: by entry, since when the oldest of them was in the queue. The newer run takes that place: at the end of
    the queue an entry whose slots come faster than its turn would never begin.
    Cost: one statement; two where any are replaced, and a third where somebody listens.
    """
    # A run that somebody else holds is left to the next slot. Waiting for it could be a deadlock: whoever begins a run
    # by its name locks the run first, and then waits for its entry, which is locked here.
    found = queries.replaceable(newest, MOST_REPLACED, using) if newest else []
    replaced: list[Run] = []
    waits_since: dict[int, datetime] = {}
    for pk, entry_id, slot_at, wake_at in found:
        newer = newest[entry_id]
        # A garbled row is left to `begin`, which says what is wrong with it.
        if slot_at is None or UNREAD in (slot_at, wake_at) or slot_at >= newer:
            continue
        # One that waited for its window has no place yet.
        waits_since[entry_id] = min(wake_at, now, waits_since.get(entry_id, wake_at))
        run = Run(pk=pk, entry_id=entry_id)
        detail = f"it had not begun when the slot {utc(newer)} fell due"
        end(run, Verdict.MISSED, now, reason=Reason.CATCH_UP, detail=detail)
        replaced.append(run)
    rows.update(replaced, ENDED, using)
    # Without anybody who reads them, loading the rows took half of the time for nothing.
    if replaced and is_end_heard():
        whole = Run.objects.using(using).select_related("entry").filter(pk__in=[run.pk for run in replaced])
        for run in whole:
            announce(run, using)
    return waits_since


def park_unread(left: Mapping[str, str], now: datetime, using: str) -> list[str]:
    """Park those of *left*, entries and their zones, that no living scheduler of another host reads; return which.

    For use inside a transaction. They stay due: whoever has the zone plans them, and so ends that.
    """
    others = Heartbeat.objects.using(using).filter(expected_by__gte=now).exclude(host=host())
    lacks = [set(each or []) for each in others.values_list("lacks", flat=True)]
    parked = [name for name, zone in left.items() if all(zone in each for each in lacks)]
    for name in parked:
        reason = (
            f"the zone {left[name]!r} is not in the time zone data of {host()}, nor of another host whose scheduler "
            "runs: install tzdata, and start again"
        )
        Entry.objects.using(using).filter(name=name).update(parked_reason=reason)
    return parked
