"""What comes next: the slots of an entry that have not come yet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from crons import ledger
from crons.exceptions import CronsError
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
    """Yield the next *count* slots of *entry*; none where its texts cannot be read."""
    if entry.retired_at is not None:
        return
    try:
        account = ledger.account_of(entry)
    except CronsError:
        return
    at = after
    for _ in range(count):
        at = account.schedule.next_after(at, account.tz)
        if at >= FAR_FUTURE:
            return
        paused = entry.paused_at is not None and (entry.paused_until is None or at <= entry.paused_until)
        yield UpcomingSlot(at, entry.name, entry.zone, paused, entry)
