"""Recording: slot → row. The entry's row is locked, planned, and moved on in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from django.db import IntegrityError, transaction
from django.db.models import Q

from crons.exceptions import CronsError, ZoneMissingHere
from crons.ledger import rows
from crons.ledger.entries import PLANNED_BY, Planned, account_of, locked, plan_entry, slot_key
from crons.ledger.existing import NAMED_SECOND, add_second, end_replaced, park_unread, set_back, slots_after_accounts
from crons.ledger.transactions import BATCH, lock_all, lock_free, verb, writing
from crons.models import Entry, Range, Run
from crons.planner import Account, Plan, PlannedRange, PlannedSlot, while_retired, without
from crons.schedules import FAR_FUTURE
from crons.signals import recorded
from crons.verdicts import Reason, Verdict

# Characters of the reason why an entry is parked: an unreadable row may hold megabytes.
LONGEST_REASON = 1_000
PARKED = ["wake_at", "version", "parked_reason"]
MOVED = ["accounted_until", "wake_at", "version", "paused_at", "paused_until", "parked_reason"]


@dataclass(frozen=True)
class Recorded:
    """What one pass wrote: (entry, slot) of each run, ranges, entries that cannot be planned.

    *left*: by name, the zones of entries that this machine cannot read, left to others.
    """

    runs: list[tuple[str, datetime]] = field(default_factory=list)
    ranges: list[Range] = field(default_factory=list)
    parked: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)
    entries: int = 0


@verb
def record(now: datetime, trigger: str, *, limit: int = BATCH, lacking: set[str] | None = None) -> Recorded:
    """Record every slot fallen due by *now*, of up to *limit* entries that nobody else is planning.

    Args: *lacking* are the zones that this machine has no data of: their entries are left to others. Zones
    that turn out to be missing are added.
    Cost: six statements for the whole batch, seven where runs are replaced; none of them waits for another scheduler.
    """
    with writing() as using:
        due = Entry.objects.using(using).filter(Q(wake_at__lte=now) | Q(wake_at__isnull=True))
        if lacking:
            due = due.exclude(zone__in=lacking)
        found = due.order_by("wake_at", "id").select_for_update(skip_locked=True).values_list(*PLANNED_BY)
        entries = [Planned(*row) for row in found[:limit]]
        try:
            with transaction.atomic(using=using):
                done = account_for([replace(entry) for entry in entries], now, trigger, using)
        except IntegrityError:
            done = _one_by_one(entries, now, trigger, using)
        if done.left:
            done.parked.extend(park_unread(done.left, now, using))
    if lacking is not None:
        lacking.update(done.left.values())
    recorded.send_robust(None, recorded=done)
    return done


@verb
def record_entry(name: str, now: datetime, trigger: str, *, by: str = "") -> Recorded:
    """Record what has fallen due of one entry, after whoever is planning it has finished; *by* says who asked.

    Raises: UnknownJob.
    """
    with writing() as using:
        done = account_for([locked(name, using)], now, trigger, using, by)
    recorded.send_robust(None, recorded=done)
    return done


@verb
def note_second(run: int, now: datetime, trigger: str) -> None:
    """Keep on *run* that *trigger* came to its slot at *now* and found it recorded already.

    Cost: two statements; none for the trigger that records the slot, which does not call this.
    """
    with writing() as using:
        _note_second(lock_all(Run.objects.using(using).filter(pk=run), using, "self"), now, trigger, using)


def _note_second(found: Iterable[Run], now: datetime, trigger: str, using: str) -> None:
    runs = list(found)
    for run in runs:
        add_second(run, trigger, now)
    rows.update(runs, ["came_second"], using)


def account_for(entries: Sequence[Entry | Planned], now: datetime, trigger: str, using: str, by: str = "") -> Recorded:
    """Plan locked *entries* and write what follows; for use inside a transaction."""
    done = Recorded(entries=len(entries))
    slots: list[tuple[Entry | Planned, PlannedSlot]] = []
    newest: dict[int, datetime] = {}
    moved: set[int] = set()
    plans = [(entry, *each) for entry in entries if (each := _planned(entry, now, done)) is not None]
    taken, unread_from = slots_after_accounts(
        [entry.id for entry, _, planned in plans if planned.slots or planned.ranges], using
    )
    for entry, account, planned in plans:
        if entry.id >= unread_from:
            # Too much is recorded after its account to be read in one transaction; the entries after it wait a pass.
            if entry.id == unread_from:
                _park(entry, set_back(entry.accounted_until), done)
            continue
        if entry.id in taken:
            planned = without(planned, taken[entry.id], account)
        slots.extend((entry, slot) for slot in planned.slots)
        if planned.slots and account.policy.catch_up == "latest":
            newest[entry.id] = planned.slots[-1].slot_at
        done.ranges.extend(_range(entry, each, trigger, now) for each in planned.ranges)
        if entry.paused_until is not None and entry.paused_until <= now:
            entry.paused_at = entry.paused_until = None
        entry.accounted_until, entry.wake_at = planned.accounted_until, planned.wake_at
        entry.parked_reason = ""
        entry.version += 1
        moved.add(entry.id)
    done.runs.extend((entry.name, slot.slot_at) for entry, slot in slots)
    waits_since = end_replaced(newest, now, using)
    template = Run(trigger=trigger, requested_by=by, recorded_at=now)
    columns = ["entry_id", "slot_at", "planned_at", "wake_at", "start_before", "effect_key", "inspect_at"]
    values = [
        (
            entry.id,
            slot.slot_at,
            slot.slot_at,
            slot.opens_at or waits_since.get(entry.id, slot.slot_at),
            slot.start_before,
            slot_key(entry.name, slot.slot_at),
            now if slot.is_late else None,
        )
        for entry, slot in slots
    ]
    rows.insert_alike(template, columns, values, using)
    rows.insert(done.ranges, using)
    rows.update([entry for entry in entries if entry.id in moved], MOVED, using, model=Entry)
    # The account of what was not planned stays as it is written, readable or not.
    rows.update([entry for entry in entries if entry.id not in moved], PARKED, using, model=Entry)
    return done


def _planned(entry: Entry | Planned, now: datetime, done: Recorded) -> tuple[Account, Plan] | None:
    """Plan one entry; None where it has no slots or cannot be planned."""
    if entry.retired_at is not None:
        # A retired entry has no slots, even where somebody names it, or sets wake_at by hand.
        entry.wake_at = FAR_FUTURE
        return None
    try:
        return plan_entry(entry, now)
    except ZoneMissingHere:
        # Only this machine lacks the zone: another host plans it, or `park_unread` says that none does.
        done.left[entry.name] = entry.zone
    except CronsError as error:
        # One entry that cannot be planned must not stop the others; its slots are recorded once it can.
        _park(entry, str(error), done)
    except Exception as error:  # noqa: BLE001 (planning only computes: whatever fails in it comes of this row)
        _park(entry, f"{type(error).__name__}: {error}", done)
    return None


def _park(entry: Entry | Planned, reason: str, done: Recorded) -> None:
    entry.parked_reason, entry.wake_at = reason[:LONGEST_REASON], FAR_FUTURE
    done.parked.append(entry.name)


def _one_by_one(entries: list[Planned], now: datetime, trigger: str, using: str) -> Recorded:
    """Record entries apart: one whose slots somebody else has written at this moment stops only itself."""
    done = Recorded(entries=len(entries))
    for entry in entries:
        try:
            with transaction.atomic(using=using):
                alone = account_for([replace(entry)], now, trigger, using)
        except IntegrityError:
            _park(entry, set_back(entry.accounted_until), done)
            rows.update([entry], PARKED, using, model=Entry)
            theirs = Run.objects.using(using).filter(
                entry_id=entry.id, slot_at__gt=entry.accounted_until, slot_at__lte=now
            )
            # Without waiting: whoever begins a run by its name locks the run first, and then the entry, locked here.
            _note_second(lock_free(theirs.order_by("-slot_at"), using, "self")[:NAMED_SECOND], now, trigger, using)
            continue
        done.runs.extend(alone.runs)
        done.ranges.extend(alone.ranges)
        done.parked.extend(alone.parked)
        done.left.update(alone.left)
    return done


def write_off_retired(entry: Entry, until: datetime, now: datetime, using: str) -> bool:
    """Write off what fell due of *entry* up to *until*, while no code declared it; say whether its row could be read.

    For use inside a transaction that has the entry locked.
    """
    try:
        ranges = while_retired(account_of(entry), until)
    except (CronsError, ValueError, OverflowError):
        return False
    rows.insert([_range(entry, each, "sync", now) for each in ranges], using)
    return True


def _range(entry: Entry | Planned, planned: PlannedRange, trigger: str, now: datetime) -> Range:
    return Range(
        entry_id=entry.id,
        first_at=planned.first_at,
        last_at=planned.last_at,
        count=planned.count,
        verdict=planned.verdict,
        reason=planned.reason,
        trigger=trigger,
        recorded_at=now,
        pause=_pause(entry) if planned.reason == Reason.PAUSED else None,
        inspect_at=now if planned.verdict == Verdict.MISSED else None,
    )


def _pause(entry: Entry | Planned) -> dict[str, str | None]:
    """Return what is kept of the pause that skips slots of *entry*: after its end nothing else says who it was."""
    since, until = (each.isoformat() if each else None for each in (entry.paused_at, entry.paused_until))
    by, reason, scope = entry.paused_by, entry.pause_reason, entry.pause_scope
    return {"since": since, "until": until, "by": by, "reason": reason, "scope": scope}
