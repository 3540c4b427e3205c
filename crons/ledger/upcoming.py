"""What comes next: the slots of an entry that have not come yet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from crons.exceptions import CronsError
from crons.ledger.entries import account_of
from crons.models import Entry
from crons.schedules import FAR_FUTURE


@dataclass(frozen=True)
class UpcomingSlot:
    """A slot that has not come yet; *row* is its entry, for whoever links to it."""

    at: datetime
    entry: str
    zone: str
    paused: bool
    row: Entry = field(compare=False, repr=False)


def slots_of(entry: Entry, after: datetime, count: int) -> Iterator[UpcomingSlot]:
    """Yield the next *count* slots of *entry*; none where nothing plans it."""
    if entry.retired_at is not None or entry.parked_reason:
        return
    try:
        account = account_of(entry)
    except CronsError:
        return
    # Nothing plans what is accounted for already, as it is after a clock had been ahead.
    at = max(after, entry.accounted_until)
    for _ in range(count):
        at = account.schedule.next_after(at, account.tz)
        if at >= FAR_FUTURE:
            return
        paused = entry.paused_at is not None and (entry.paused_until is None or at <= entry.paused_until)
        yield UpcomingSlot(at, entry.name, entry.zone, paused, entry)
