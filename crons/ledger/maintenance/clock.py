"""Undoing what a clock that was ahead has written: until when the rows are accounted for, and what they wait for."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F

from crons.conf import conf
from crons.exceptions import CronsError
from crons.ledger import rows
from crons.ledger.deployment import FAR_AHEAD, FAR_BEHIND
from crons.ledger.entries import account_of
from crons.ledger.transactions import note, verb, writing
from crons.models import Attempt, Delivery, Entry, Heartbeat, Incident, Range, Run
from crons.schedules import FAR_FUTURE
from crons.verdicts import Kind, State


@dataclass
class Corrected:
    """What was moved back from the future, or would be; *accounts* by entry: until when it was accounted for."""

    accounts: dict[str, datetime] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    ranges: int = 0
    runs: int = 0
    attempts: int = 0
    heartbeats: int = 0
    incidents: int = 0


@verb
def correct_clock(now: datetime, *, by: str, dry_run: bool = False) -> Corrected:
    """Take *now* for right: set back what a clock has written that was ahead; all of it or nothing, and audited.

    Accounts end now. Slots that have a run keep it, and are not run again when their time comes; a range ends at
    the last slot that has come.
    """
    with writing() as using:
        done = Corrected()
        entries = list(Entry.objects.using(using).select_for_update().filter(accounted_until__gt=now).order_by("pk"))
        _set_back(entries, now, using, done)
        done.runs = _wake_runs(now, using)
        late = Attempt.objects.using(using).filter(lease_until__gt=now + 2 * conf.lease)
        done.attempts = late.update(lease_until=now + conf.lease)
        done.heartbeats = Heartbeat.objects.using(using).filter(beat_at__gt=now + FAR_BEHIND).delete()[0]
        incidents = Incident.objects.using(using).filter(closed_at=None, changed_at__gt=now)
        done.incidents = incidents.update(changed_at=now)
        Delivery.objects.using(using).filter(next_try_at__gt=now + FAR_AHEAD).update(next_try_at=now)
        if dry_run:
            transaction.set_rollback(True, using=using)
            return done
        accounts = {name: until.isoformat() for name, until in done.accounts.items()}
        note("reconcile clock", "clock", "", by, now, using, before={"accounted_until": accounts})
    return done


def _set_back(entries: list[Entry], now: datetime, using: str, done: Corrected) -> None:
    moved = []
    for entry in entries:
        try:
            account = account_of(entry)
        except CronsError as error:
            done.unreadable[entry.name] = str(error)
            continue
        ahead = Range.objects.using(using).filter(entry=entry, last_at__gt=now)
        for each in ahead.filter(first_at__lte=now):
            each.last_at = account.schedule.latest(now, account.tz)
            each.count = account.schedule.count(each.first_at - timedelta.resolution, now, account.tz)
            each.save(using=using, update_fields=["last_at", "count"])
            done.ranges += 1
        done.ranges += ahead.filter(first_at__gt=now).delete()[0]
        done.accounts[entry.name] = entry.accounted_until
        entry.accounted_until = now
        if entry.wake_at is not None and entry.wake_at < FAR_FUTURE:
            entry.wake_at = account.schedule.next_after(now, account.tz)
        entry.version += 1
        moved.append(entry)
    rows.update(moved, ["accounted_until", "wake_at", "version"], using)


def _wake_runs(now: datetime, using: str) -> int:
    """Let what waits for a moment of the wrong clock go on now; slots that have not come wait for their time."""
    open_runs = Run.objects.using(using).exclude(state=State.DONE).filter(wake_at__gt=now)
    retried = Attempt.objects.using(using).filter(ended_at__gt=now).values("run")
    found = (
        open_runs.filter(state=State.WAITING, pk__in=retried),
        open_runs.filter(state=State.SENT, wake_at__gt=now + FAR_AHEAD, wake_at__lt=FAR_FUTURE),
        open_runs.filter(kind=Kind.MANUAL, state=State.DUE, wake_at=F("recorded_at")),
    )
    Run.objects.using(using).filter(inspect_at__gt=now).update(inspect_at=now)
    return sum(runs.update(wake_at=now) for runs in found)
