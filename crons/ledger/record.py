"""Recording: slot → row. The entry's row is locked, planned, and moved on in one transaction."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q

from crons.columns import UNREAD, unread
from crons.conf import conf
from crons.exceptions import CronsError, InvalidJob, Refused, UnknownJob, ZoneMissingHere
from crons.jobs import Policy, no_entry
from crons.ledger import rows
from crons.ledger.audit import BY, kept, note
from crons.ledger.leaving import leave, zone_of
from crons.ledger.replacing import end_replaced
from crons.ledger.taken import slots_after_accounts
from crons.ledger.transactions import verb, writing
from crons.models import Entry, Range, Run, is_text
from crons.planner import Account, Plan, PlannedRange, PlannedSlot, plan, without
from crons.redaction import for_people
from crons.schedules import FAR_FUTURE, parse
from crons.signals import recorded
from crons.verdicts import Kind

BATCH = 1_000
LONGEST_KEY = 150
# Of why an entry is parked: a row may hold megabytes of what cannot be read.
LONGEST_REASON = 1_000
SET_BACK = (
    "slots after {:%Y-%m-%d %H:%M:%S} UTC are recorded already: accounted_until was set back by hand. "
    "Set it to the last recorded slot, then: manage.py crons sync"
)
PARKED = ["wake_at", "version", "parked_reason"]
MOVED = ["accounted_until", "wake_at", "version", "paused_at", "paused_until", "parked_reason"]


@dataclass(frozen=True)
class Recorded:
    """What one look at the clock wrote down: (entry, slot) of each run, ranges, entries that cannot be planned.

    *left*: by name, the zones of entries that this machine cannot read, left to others.
    """

    runs: list[tuple[str, datetime]] = field(default_factory=list)
    ranges: list[Range] = field(default_factory=list)
    parked: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)
    entries: int = 0


@dataclass(slots=True)
class Planned:
    """What planning reads and moves of an entry's row; thousands of whole rows would take longer to make."""

    id: int
    name: str
    schedule: str
    zone: str
    args: dict[str, Any]
    policy: dict[str, Any]
    overrides: dict[str, Any]
    accounted_until: datetime
    wake_at: datetime | None
    version: int
    paused_at: datetime | None
    paused_until: datetime | None
    parked_reason: str
    retired_at: datetime | None


PLANNED_BY = tuple(Planned.__dataclass_fields__)


@verb
def record(now: datetime, trigger: str, *, limit: int = BATCH, lacking: set[str] | None = None) -> Recorded:
    """Record every slot fallen due by *now*, of up to *limit* entries that nobody else is planning.

    Args: *lacking* are the zones that this machine has no data of: their entries are left to others. What is found
    to be one is added.
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
            leave(done, now, using)
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


def request(
    name: str,
    now: datetime,
    trigger: str,
    *,
    by: str = "",
    args: Mapping[str, Any] | None = None,
    key: str = "",
) -> Run:
    """Record a manual run of one entry; it never moves the account. The same *key* gives the same run.

    Raises: UnknownJob; Refused if the entry is retired, or *key* cannot be one or is another entry's.
    """
    _check_key(key)
    key = key or uuid.uuid4().hex
    try:
        return _request(name, now, trigger, by, args, key)
    except IntegrityError:
        # Another entry's run took the key at this moment: the second look sees whose it is.
        return _request(name, now, trigger, by, args, key)


@verb
def _request(name: str, now: datetime, trigger: str, by: str, args: Mapping[str, Any] | None, key: str) -> Run:
    with writing() as using:
        entry = locked(name, using)
        refuse_retired(entry)
        known = Run.objects.using(using).select_related("entry").filter(request_key=key).first()
        if known is not None and known.entry_id != entry.pk:
            raise Refused(
                f"the key {key!r} is that of run {known.pk} of {known.entry.name!r}: "
                f"nothing was requested. Give runs of {name!r} keys of their own."
            )
        if known is not None:
            return known
        run = Run.objects.using(using).create(
            entry=entry,
            kind=Kind.MANUAL,
            request_key=key,
            effect_key=request_effect_key(name, key),
            requested_by=kept(by, BY),
            args=None if args is None else dict(args),
            planned_at=now,
            wake_at=now,
            trigger=trigger,
            recorded_at=now,
        )
        note("run", "run", run.pk, by, now, using, after={"entry": name, "args": for_people(run.args)})
    return run


def slot_key(name: str, slot_at: datetime) -> str:
    """Name a slot so that the name survives a restore and a prune: the entry's name of that time, and the moment."""
    return f"{name}@{slot_at.astimezone(UTC).isoformat().replace('+00:00', 'Z')}"


def request_effect_key(name: str, request_key: str) -> str:
    """Name a manual run likewise: the entry's name of that time, and the request."""
    return f"{name}#{request_key}"


def _check_key(key: object) -> None:
    if not isinstance(key, str):
        raise Refused(f"key={key!r}: expected a text.")
    if len(key) > LONGEST_KEY:
        raise Refused(
            f"key={key[:40]!r}… has {len(key)} characters, expected at most {LONGEST_KEY}. Nothing was requested."
        )
    if not is_text(key):
        raise Refused(
            f"key={key!r} has a NUL or half a character in it, which no database keeps. Nothing was requested."
        )


def locked(name: str, using: str) -> Entry:
    """Lock and return the entry called *name*, waiting for whoever holds it; for use inside a transaction."""
    # A name that no database takes is nobody's: the driver's complaint would say nothing of entries.
    entry = Entry.objects.using(using).select_for_update().filter(name=name).first() if is_text(name) else None
    if entry is None:
        raise UnknownJob(no_entry(name, Entry.objects.using(using).values_list("name", flat=True)))
    return entry


def refuse_retired(entry: Entry) -> None:
    """Raise Refused if nobody would begin a run of *entry*."""
    if entry.retired_at is not None:
        since = f"{entry.retired_at:%Y-%m-%d %H:%M:%S} UTC"
        raise Refused(f"{entry.name!r} is retired since {since}: nobody declares it, so nothing would begin it.")


def account_for(entries: Sequence[Entry | Planned], now: datetime, trigger: str, using: str, by: str = "") -> Recorded:
    """Plan locked *entries* and write what follows; for use inside a transaction."""
    done = Recorded(entries=len(entries))
    slots: list[tuple[Entry | Planned, PlannedSlot]] = []
    newest: dict[int, datetime] = {}
    plans = [(entry, *each) for entry in entries if (each := _planned(entry, now, done)) is not None]
    taken, unread_from = slots_after_accounts(
        [entry.id for entry, _, planned in plans if planned.slots or planned.ranges], using
    )
    for entry, account, planned in plans:
        if entry.id >= unread_from:
            # Too much is recorded after its account to be read in one transaction; the entries after it wait a pass.
            if entry.id == unread_from:
                _park(entry, SET_BACK.format(entry.accounted_until), done)
            continue
        if entry.id in taken:
            planned = without(planned, taken[entry.id], account)
        slots.extend((entry, slot) for slot in planned.slots)
        if planned.slots and account.policy.catch_up == "latest":
            newest[entry.id] = planned.slots[-1].slot_at
        done.ranges.extend(_range(entry.id, each, trigger, now) for each in planned.ranges)
        if entry.paused_until is not None and entry.paused_until <= now:
            entry.paused_at = entry.paused_until = None
        entry.accounted_until, entry.wake_at = planned.accounted_until, planned.wake_at
        entry.parked_reason = ""
        entry.version += 1
    done.runs.extend((entry.name, slot.slot_at) for entry, slot in slots)
    waits_since = end_replaced(newest, now, using)
    template = Run(trigger=trigger, requested_by=by, recorded_at=now)
    columns = ["entry_id", "slot_at", "planned_at", "wake_at", "start_before", "effect_key"]
    values = [
        (
            entry.id,
            slot.slot_at,
            slot.slot_at,
            waits_since.get(entry.id, slot.slot_at),
            slot.start_before,
            slot_key(entry.name, slot.slot_at),
        )
        for entry, slot in slots
    ]
    rows.insert_alike(template, columns, values, using)
    rows.insert(done.ranges, using)
    rows.update([each for each in entries if each.accounted_until != UNREAD], MOVED, using, model=Entry)
    # What stands there is kept, for who looks for it.
    rows.update([each for each in entries if each.accounted_until == UNREAD], PARKED, using, model=Entry)
    return done


def _planned(entry: Entry | Planned, now: datetime, done: Recorded) -> tuple[Account, Plan] | None:
    """Plan one entry; None where it has no slots or cannot be planned."""
    if entry.retired_at is not None:
        # Whoever names it, or sets wake_at by hand: what nobody declares has no slots.
        entry.wake_at = FAR_FUTURE
        return None
    try:
        account = account_of(entry)
        return account, plan(account, now, conf.grace)
    except ZoneMissingHere:
        # This machine's problem: another host plans it, or `leave` says that none does.
        done.left[entry.name] = entry.zone
    except CronsError as error:
        # One entry that cannot be planned must not stop the others; nothing of it is lost meanwhile.
        _park(entry, str(error), done)
    except Exception as error:  # noqa: BLE001 (planning only reckons: whatever fails in it is this row's fault)
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
            _park(entry, SET_BACK.format(entry.accounted_until), done)
            rows.update([entry], MOVED, using, model=Entry)
            continue
        done.runs.extend(alone.runs)
        done.ranges.extend(alone.ranges)
        done.parked.extend(alone.parked)
        done.left.update(alone.left)
    return done


def account_of(entry: Entry | Planned) -> Account:
    """Read an entry's row as planning sees it.

    Raises: CronsError if its texts, its rules or its arguments cannot be read.
    """
    if garbled := unread(args=entry.args):
        raise InvalidJob(garbled)
    if entry.accounted_until == UNREAD:
        raise InvalidJob("its column accounted_until holds no moment, such as 2026-11-30 09:00:00")
    tz = zone_of(entry.zone)
    schedule, policy = parse(entry.schedule), policy_of(entry)
    return Account(schedule, tz, policy, entry.accounted_until, entry.paused_at, entry.paused_until)


def policy_of(entry: Entry | Planned) -> Policy:
    """Return the rules that an entry lives by: what was declared, under what a person changed.

    Raises: InvalidJob if they cannot be read.
    """
    if garbled := unread(policy=entry.policy, overrides=entry.overrides):
        raise InvalidJob(garbled)
    written = repr((entry.policy, entry.overrides))
    if written not in _policies:
        if len(_policies) >= POLICIES_KEPT:
            _policies.clear()
        _policies[written] = Policy.from_json({**entry.policy, **entry.overrides})
    return _policies[written]


# Most entries of a site share a handful of policies; reading one takes as long as planning by it.
POLICIES_KEPT = 1_000
_policies: dict[str, Policy] = {}


def write_off(entry: Entry, ranges: Sequence[PlannedRange], trigger: str, now: datetime, using: str) -> None:
    """Write *ranges* of one entry; for use inside a transaction that has it locked."""
    rows.insert([_range(entry.pk, each, trigger, now) for each in ranges], using)


def _range(entry_id: int, planned: PlannedRange, trigger: str, now: datetime) -> Range:
    return Range(
        entry_id=entry_id,
        first_at=planned.first_at,
        last_at=planned.last_at,
        count=planned.count,
        verdict=planned.verdict,
        reason=planned.reason,
        trigger=trigger,
        recorded_at=now,
    )
