"""Operating: what triggers, pages and people's own code may ask of a schedule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import DatabaseError
from django.db.models import QuerySet

from crons import board, deployment, ledger
from crons import sync as declarations
from crons.conf import conf
from crons.dispatch import plan_entry
from crons.exceptions import CronsError, LedgerUnavailable, UnknownJob
from crons.instances import is_gone
from crons.jobs import not_declared
from crons.ledger import account_for, account_of, locked, verb, writing
from crons.models import AuditEvent, Entry, Heartbeat, Incident, Range, Run
from crons.schedules import FAR_FUTURE
from crons.sync import Synced


@dataclass(frozen=True)
class Upcoming:
    """A slot that has not come yet."""

    at: datetime
    entry: str
    zone: str
    paused: bool


@dataclass(frozen=True)
class Ailment:
    """Something that is wrong now; *kind* is parked, overdue, waiting, failing or scheduler."""

    kind: str
    entry: str
    text: str


def sync() -> Synced:
    """Bring the entries in step with what this code declares.

    Raises: Disabled, NotAdopted: closing an account records slots.
    """
    deployment.permit()
    return declarations.sync(ledger.database_now(), plan_entry)


def run_now(name: str, *, by: str, args: Mapping[str, Any] | None = None, key: str = "") -> Run:
    """Record a manual run; the next scheduler that looks begins it.

    Inside a transaction it is recorded when that commits. The same *key* gives the same run.
    Raises: UnknownJob.
    """
    deployment.permit()
    run = ledger.request(name, ledger.database_now(), "api", by=by, args=args, key=key)
    _audit("run", "run", str(run.pk), by, after={"entry": name, "args": None if args is None else dict(args)})
    return run


def pause(name: str, *, by: str, reason: str, until: datetime | None = None) -> None:
    """Skip the slots of one entry from now on, until *until* or until it is resumed; each is recorded.

    Raises: UnknownJob.
    """
    deployment.permit()
    _change_pause(name, by, {"paused_until": until, "pause_reason": reason}, pausing=True)
    after = {"until": until.isoformat() if until else None}
    _audit("pause", "entry", name, by, after=after, reason=reason)


def resume(name: str, *, by: str) -> None:
    """Run the slots of one entry again from now on; those of the pause stay skipped.

    Raises: UnknownJob.
    """
    deployment.permit()
    _change_pause(name, by, {"paused_until": None, "pause_reason": ""}, pausing=False)
    _audit("resume", "entry", name, by)


def cancel(run_id: int, *, by: str, reason: str) -> Run:
    """Ask for a run to be stopped: at once if nothing runs yet, else within a renewal of its lease.

    Raises: Refused if it is over.
    """
    run = ledger.request_cancel(run_id, ledger.database_now(), reason=f"{reason} (by {by})")
    _audit("cancel", "run", str(run_id), by, reason=reason)
    return run


def entry(name: str) -> Entry:
    """Return one entry's row.

    Raises: UnknownJob with the nearest name.
    """
    found = Entry.objects.using(conf.database).filter(name=name).first()
    if found is None:
        raise UnknownJob(not_declared(name, Entry.objects.using(conf.database).values_list("name", flat=True)))
    return found


def entries(*, retired: bool = False) -> QuerySet[Entry]:
    """Return the entries, by name."""
    rows = Entry.objects.using(conf.database).order_by("name")
    return rows if retired else rows.filter(retired_at=None)


def upcoming(name: str | None = None, *, count: int = 10, after: datetime | None = None) -> list[Upcoming]:
    """List the next *count* slots of one entry, or of all of them together, soonest first.

    Raises: UnknownJob.
    """
    after = after or ledger.database_now()
    # The next slots of all belong to the entries that wake first.
    chosen = [entry(name)] if name else list(entries().order_by("wake_at", "name")[:count])
    found = [slot for each in chosen for slot in _slots_of(each, after, count)]
    return sorted(found, key=lambda slot: (slot.at, slot.entry))[:count]


def history(name: str | None = None) -> QuerySet[Run]:
    """Return runs, newest first, with their entries."""
    runs = Run.objects.using(conf.database).select_related("entry").order_by("-planned_at", "-pk")
    return runs.filter(entry=entry(name)) if name else runs


def ranges(name: str | None = None) -> QuerySet[Range]:
    """Return ranges of slots written off together, newest first, with their entries."""
    rows = Range.objects.using(conf.database).select_related("entry").order_by("-last_at", "-pk")
    return rows.filter(entry=entry(name)) if name else rows


def schedulers() -> list[Heartbeat]:
    """List the running schedulers, by host: those that are not silent and that this machine's kernel still knows."""
    beats = Heartbeat.objects.using(conf.database).filter(expected_by__gte=ledger.database_now())
    return [beat for beat in beats.order_by("host", "started_at") if not is_gone(beat.instance, beat.boot_id)]


def health() -> list[Ailment]:
    """List what is wrong now; an empty list means well.

    Raises: LedgerUnavailable if that cannot be told.
    """
    try:
        now = ledger.database_now()
        return [*_parked(), *_overdue(now), *_waiting(now), *_failing(), *_silent_schedulers(now)]
    except DatabaseError as error:
        raise LedgerUnavailable(f"the database did not answer: {error}") from error


def _parked() -> Iterator[Ailment]:
    for each in entries().exclude(parked_reason=""):
        since = f"unaccounted since {each.accounted_until:%Y-%m-%d %H:%M} UTC"
        yield Ailment("parked", each.name, f"cannot be planned: {each.parked_reason}; {since}")


def _overdue(now: datetime) -> Iterator[Ailment]:
    for each in entries().filter(wake_at__lt=now - conf.grace, parked_reason=""):
        due = f"{each.wake_at:%Y-%m-%d %H:%M:%S} UTC"
        yield Ailment("overdue", each.name, f"was due at {due} and nothing has looked: is any trigger running?")


def _waiting(now: datetime) -> Iterator[Ailment]:
    """Due runs that nobody begins, though nothing of their entry is in the way."""
    for each in sorted(board.waiting(now - conf.grace), key=lambda each: each.entry.name):
        waits = f"{each.count} run(s) due since {each.since:%Y-%m-%d %H:%M:%S} UTC have not begun"
        why = f"no place has come free, or no running process knows the job {each.entry.job!r}"
        yield Ailment("waiting", each.entry.name, f"{waits}: {why}")


def _failing() -> Iterator[Ailment]:
    still_open = Incident.objects.using(conf.database).filter(closed_at=None).select_related("entry")
    for incident in still_open.order_by("opened_at"):
        since = f"since {incident.opened_at:%Y-%m-%d %H:%M} UTC, {incident.count} time(s)"
        yield Ailment(incident.rule, incident.entry.name if incident.entry else "", f"{incident.summary} ({since})")


def _silent_schedulers(now: datetime) -> Iterator[Ailment]:
    for beat in Heartbeat.objects.using(conf.database).order_by("host", "started_at"):
        who, seen = f"{beat.kind} on {beat.host} (pid {beat.pid})", f"{beat.beat_at:%Y-%m-%d %H:%M:%S} UTC"
        if is_gone(beat.instance, beat.boot_id):
            yield Ailment("scheduler", "", f"{who} was killed; it was last seen at {seen}")
        elif beat.expected_by < now:
            yield Ailment("scheduler", "", f"{who} has been silent since {seen}")


def _slots_of(each: Entry, after: datetime, count: int) -> Iterator[Upcoming]:
    if each.retired_at is not None:
        return
    try:
        account = account_of(each)
    except CronsError:
        return
    at = after
    for _ in range(count):
        at = account.schedule.next_after(at, account.tz)
        if at >= FAR_FUTURE:
            return
        paused = each.paused_at is not None and (each.paused_until is None or at <= each.paused_until)
        yield Upcoming(at, each.name, each.zone, paused)


@verb
def _change_pause(name: str, by: str, values: dict[str, Any], *, pausing: bool) -> None:
    with writing() as using:
        each = locked(name, using)
        now = ledger.database_now()
        # What fell due so far is recorded as it stood: not paused before a pause, paused before a resume.
        account_for([each], now, plan_entry, "api", using)
        each.paused_at, each.paused_by = (now, by) if pausing else (None, "")
        for field, value in values.items():
            setattr(each, field, value)
        each.version += 1
        each.save(using=using)


def _audit(
    verb_: str,
    subject_type: str,
    subject: str,
    by: str,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    reason: str = "",
) -> None:
    AuditEvent.objects.using(conf.database).create(
        at=ledger.database_now(),
        actor=by[:150],
        verb=verb_,
        subject_type=subject_type,
        subject=subject,
        before=before,
        after=after,
        reason=reason[:255],
    )
