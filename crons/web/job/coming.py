"""The slots of one entry that come next, and what the clock changes between them do to them, in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise

from crons import ledger
from crons.models import Entry
from crons.presentation import length, local
from crons.schedules.zones import Change, changes, reading

SHOWN = 20
# Between slots that are further apart nobody asks for the clock changes: the offsets tell of them.
FAR_APART = timedelta(days=40)


@dataclass(frozen=True)
class Coming:
    """A slot to come, or a clock change before it, which is none."""

    at: datetime
    is_slot: bool = True
    paused: bool = False
    note: str = ""
    opens_at: datetime | None = None


def coming_of(entry: Entry, now: datetime, count: int = SHOWN) -> list[Coming]:
    """List the next *count* slots of *entry*, and the clock changes among them; nothing where nothing plans it."""
    slots = list(ledger.slots_of(entry, now, count))
    if not slots:
        return []  # its state says where it cannot be planned, and why
    tz = ledger.account_of(entry).tz
    moments = [now, *(slot.at for slot in slots)]
    found = [each for after, at in pairwise(moments) if at - after <= FAR_APART for each in changes(after, at, tz)]
    said = [Coming(each.at, is_slot=False, note=_said(each, entry.zone)) for each in found]
    said += [
        Coming(slot.at, paused=slot.paused, note=" ".join(_notes(slot.at, found, tz)), opens_at=slot.opens_at)
        for slot in slots
    ]
    # A slot right after a gap stands behind the change that moved it.
    return sorted(said, key=lambda each: (each.at, each.is_slot))


def _said(change: Change, zone: str) -> str:
    """Say what the clock does: "2026-03-29: clocks go forward by 1 h …"."""
    is_gap = change.resumes > change.stops
    way, what = ("forward", "is skipped") if is_gap else ("back", "comes twice")
    before, after = (local(at, zone)[-6:] for at in (change.at - timedelta.resolution, change.at))
    first, last = sorted((change.stops, change.resumes))
    shift = f"{length(last - first)}, from {before} to {after}"
    return f"{change.stops:%Y-%m-%d}: clocks go {way} by {shift}. {first:%H:%M} to {last:%H:%M} {what}."


def _notes(at: datetime, found: list[Change], tz: tzinfo) -> Iterator[str]:
    shown = reading(at, tz)
    for change in found:
        if change.at == at and change.resumes > change.stops:
            yield f"Right after the gap: {change.stops:%H:%M} to {change.resumes:%H:%M} does not exist this time."
    there = shown.replace(tzinfo=tz)
    first, second = there.replace(fold=0).astimezone(UTC), there.replace(fold=1).astimezone(UTC)
    if first < second:
        yield f"{shown:%H:%M} comes twice: this is the {'first' if at.astimezone(UTC) == first else 'second'}."
