"""Clocks that were wrong: not believing one that is far from what the rows say, and undoing what one has written.

A tick on a machine whose clock is a year ahead would account for a year of slots that have not come. What no row
can tell is whether nothing has looked for a year: that a person has to say, by the verb that undoes the damage too.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import connections, transaction
from django.db.models import F
from django.utils import timezone

from crons.conf import conf
from crons.exceptions import ClockInDoubt, CronsError
from crons.hosts.instances import boot_id, is_gone
from crons.ledger import rows, transactions
from crons.ledger.audit import note
from crons.ledger.entries import account_of
from crons.ledger.transactions import database_now, verb, writing
from crons.models import Attempt, AuditEvent, Delivery, Deployment, Entry, Heartbeat, Incident, Range, Run
from crons.presentation import utc
from crons.schedules import FAR_FUTURE
from crons.verdicts import Kind, State

# Longer than anybody switches everything off without knowing it.
FAR_AHEAD = timedelta(days=31)
# Further back no time server and no other database server sets a clock that was nearly right.
FAR_BEHIND = timedelta(hours=1)
# A scheduler that lives writes its next heartbeat within ten.
NEXT_BEAT_SECONDS = 12.0
NEWEST = """SELECT
    (SELECT MAX(recorded_at) FROM crons_run WHERE id = (SELECT MAX(id) FROM crons_run)),
    (SELECT MAX(beat_at) FROM crons_heartbeat),
    (SELECT MIN(wake_at) FROM crons_entry WHERE wake_at IS NOT NULL)"""


class ClockWatch:
    """Compares each look's time with the last one's, and with the rows where it has jumped. Costs nothing else."""

    def __init__(self) -> None:
        self._last: datetime | None = None

    def check(self, now: datetime) -> None:
        """Refuse to go on where *now* cannot be believed.

        Raises: ClockInDoubt.
        """
        if self._last is None or not -FAR_BEHIND < now - self._last < FAR_BEHIND:
            require_believable(now)
        self._last = now


@verb
def require_believable(now: datetime | None = None) -> None:
    """Refuse where the ledger's clock is far from the newest row's and the newest heartbeat's.

    Raises: ClockInDoubt.
    Cost: one statement; two more where it is.
    """
    with connections[conf.database].cursor() as cursor:
        cursor.execute(NEWEST)
        *moments, due = map(rows.moment, cursor.fetchone())
    newest = max((at for at in moments if at is not None), default=None)
    now = now or database_now()
    require_near(newest, due, now)
    if moments[1] is not None and now - moments[1] > FAR_BEHIND:
        _ask_living_schedulers(now)


def _ask_living_schedulers(now: datetime) -> None:
    """Refuse where a scheduler of this machine lives whose heartbeats are of another time.

    A stopped one writes none: so its next is waited for, which costs a little where one has been frozen for an hour.
    """
    if transactions.now_in_tests is not None:
        return
    rows_of = Heartbeat.objects.using(conf.database).filter(boot_id=boot_id(), beat_at__lt=now - FAR_BEHIND)
    living = [beat for beat in rows_of.exclude(pid=os.getpid()) if not is_gone(beat.instance, beat.boot_id)]
    until = time.monotonic() + NEXT_BEAT_SECONDS
    while living and time.monotonic() < until:
        for beat in living:
            newer = Heartbeat.objects.using(conf.database).filter(pk=beat.pk, beat_at__gt=beat.beat_at).first()
            if newer is not None and now - newer.beat_at > FAR_BEHIND:
                raise ClockInDoubt(_doubt(newer.beat_at, now, f"a heartbeat of {beat.kind} (pid {beat.pid}) just now"))
        time.sleep(0.5)


def require_near(newest: datetime | None, due: datetime | None, now: datetime) -> None:
    """Refuse where *now* is far from *newest*, the moment of the newest row, and nobody has said that it is right.

    Args: *due* is when the first entry falls, or fell, due: where that is no longer ago than FAR_AHEAD, there was
    nothing to record in between, and an old row says nothing.
    Raises: ClockInDoubt.
    """
    if newest is None or transactions.now_in_tests is not None:  # a test's own clock
        return
    if now > newest and (due is None or now - due <= FAR_AHEAD):
        return  # a job that runs once a year
    if _is_near(newest, now) or any(_is_near(at, now) for at in _vouched_for()):
        return
    raise ClockInDoubt(_doubt(newest, now))


def _is_near(at: datetime, now: datetime) -> bool:
    return -FAR_BEHIND <= now - at <= FAR_AHEAD


def _vouched_for() -> Iterator[datetime]:
    """Yield when somebody last said that the clock is right, or that this database is to run here."""
    said = AuditEvent.objects.using(conf.database).filter(
        subject_type__in=("clock", "ledger"), subject="", verb__startswith="reconcile"
    )
    yield from said.order_by("-pk").values_list("at", flat=True)[:1]
    yield from Deployment.objects.using(conf.database).values_list("adopted_at", flat=True)


def _doubt(newest: datetime, now: datetime, what: str = "the newest row") -> str:
    side = "after" if now > newest else "before"
    host = "" if connections[conf.database].vendor == "sqlite" else f" (this host's says {utc(timezone.now())})"
    return (
        f"the database's clock says {utc(now)}{host}, {abs(now - newest).days} day(s) {side} {what}, of "
        f"{utc(newest)}: nothing is recorded or begun by a clock that may be wrong. Set it right; "
        "if it is right: manage.py crons reconcile --clock"
    )


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
