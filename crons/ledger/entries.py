"""Entries' rows: locked, and read as planning and beginning see them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from crons.columns import UNREAD, unread
from crons.conf import conf
from crons.exceptions import CronsError, InvalidJob, Refused, UnknownJob, ZoneMissingHere
from crons.jobs import Policy, no_entry
from crons.ledger import rows
from crons.models import Entry, Run, is_text
from crons.planner import Account, Plan, plan
from crons.presentation import utc
from crons.schedules import parse
from crons.verdicts import Kind, State

# What may be the name of a zone that another release of the data has.
ZONE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+\-]*(/[A-Za-z0-9_+\-]+)*")


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
    paused_by: str
    pause_reason: str
    pause_scope: str
    parked_reason: str
    retired_at: datetime | None


PLANNED_BY = tuple(Planned.__dataclass_fields__)


def locked(name: str, using: str) -> Entry:
    """Lock and return the entry called *name*, waiting for whoever holds it; for use inside a transaction."""
    # A name that no database takes is nobody's: the driver's complaint would say nothing of entries.
    entry = Entry.objects.using(using).select_for_update().filter(name=name).first() if is_text(name) else None
    if entry is None:
        raise unknown_entry(name, using)
    return entry


def unknown_entry(name: str, using: str) -> UnknownJob:
    """Return the error that says that no entry is called *name*, with the nearest name."""
    return UnknownJob(no_entry(name, Entry.objects.using(using).values_list("name", flat=True)))


def refuse_retired(entry: Entry) -> None:
    """Raise Refused if nobody would begin a run of *entry*."""
    if entry.retired_at is not None:
        since = utc(entry.retired_at)
        raise Refused(f"{entry.name!r} is retired since {since}: nobody declares it, so nothing would begin it.")


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


def zone_of(name: str) -> ZoneInfo:
    """Return the zone called *name*.

    Raises: ZoneMissingHere if it may be one that another machine has; CronsError if it is none.
    """
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:
        text = f"the zone {name!r} is not in this machine's time zone data: {error}"
        raise (ZoneMissingHere if ZONE_NAME.fullmatch(name) else CronsError)(text) from error


def is_let_through(run: Run) -> bool:
    """Say whether somebody asked for the run: what people ask for does not wait for a window."""
    return run.kind == Kind.MANUAL or run.asked_at is not None


def opening(entry: Entry, policy: Policy, at: datetime) -> datetime:
    """Return the first moment from *at* on at which the window of an entry lets a run begin.

    Raises: CronsError if its zone cannot be read.
    """
    return at if policy.window is None else policy.window.opening(at, zone_of(entry.zone))


def once_open(run: Run, policy: Policy, at: datetime, *, stopped: bool) -> datetime:
    """Return when a run is tried again, from *at* on; what somebody asked for does not wait for a window.

    Args: *stopped* because its window closes, perhaps shortly before that: it goes on when it opens the next time.
    """
    if policy.window is None or is_let_through(run):
        return at
    try:
        tz = zone_of(run.entry.zone)
    except CronsError:
        return at  # an ending is written down whatever cannot be read; beginning looks again
    return policy.window.opening(policy.window.closing(at, tz) if stopped else at, tz)


def closing(run: Run, policy: Policy, at: datetime) -> datetime | None:
    """Return when the window closes that lets *run* go on at *at*; None where nothing bounds it."""
    if policy.window is None or is_let_through(run):
        return None
    return policy.window.closing(at, zone_of(run.entry.zone))


def is_readable(entry: Entry) -> bool:
    """Say whether an entry's policy, its zone where it has a window, and its arguments can be read.

    One that somebody has garbled does not run.
    """
    try:
        if policy_of(entry).window is not None:
            zone_of(entry.zone)
    except CronsError:
        return False  # planning parks the entry and says so
    return not unread(args=entry.args)


def garbled(run: Run) -> str:
    """Say which column of a run's row cannot be read, by somebody's hand; nothing where all can."""
    if unreadable := unread(args=run.args):
        return unreadable
    needed = ("planned_at",) if run.kind == Kind.MANUAL else ("planned_at", "slot_at")
    return next((f"its column {name} holds no moment" for name in needed if getattr(run, name) in (None, UNREAD)), "")


def plan_entry(entry: Entry | Planned, now: datetime) -> tuple[Account, Plan]:
    """Read an entry's row, and decide what becomes of its slots up to *now*.

    Raises: as account_of.
    """
    account = account_of(entry)
    return account, plan(account, now, conf.grace)


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


def policy_or_default(entry: Entry) -> Policy:
    """Return the rules that an entry lives by, or the default ones: an ending is written down also of a garbled row."""
    try:
        return policy_of(entry)
    except CronsError:
        return Policy()


# Most entries of a site share a handful of policies; reading one takes as long as planning by it.
POLICIES_KEPT = 1_000
_policies: dict[str, Policy] = {}


def slot_key(name: str, slot_at: datetime) -> str:
    """Name a slot so that the name survives a restore and a prune: the entry's name of that time, and the moment."""
    return f"{name}@{slot_at.astimezone(UTC).isoformat().replace('+00:00', 'Z')}"


def request_effect_key(name: str, request_key: str) -> str:
    """Name a manual run likewise: the entry's name of that time, and the request."""
    return f"{name}#{request_key}"


def key_of(run: Run) -> str:
    """Return the run's key: the one that was written with it, whatever its entry is called by now."""
    if run.effect_key:
        return run.effect_key
    if run.slot_at is None:
        return request_effect_key(run.entry.name, str(run.request_key))
    return slot_key(run.entry.name, run.slot_at)


def keep_keys(entry: Entry, using: str) -> None:
    """Write down the keys of runs not over that were recorded before keys were, so that *entry* may be renamed."""
    unkept = Run.objects.using(using).filter(entry=entry, effect_key="").exclude(state=State.DONE)
    runs = list(unkept.select_related("entry"))
    for run in runs:
        run.effect_key = key_of(run)
    rows.update(runs, ["effect_key"], using)
