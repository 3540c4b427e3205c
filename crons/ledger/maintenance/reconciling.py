"""Reconciling: after a backup was restored, nothing is run again that may have run before the restore.

The database says what stood when the backup was made. Since then its lost successor may have run any
slot, begun any run and issued any token. What may have run is lost, not due, unless the job is
idempotent; tokens go on far above any that can have been issued.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from django.db import connections, transaction
from django.db.models import Max, Model

from crons.attempts import Finished
from crons.exceptions import CronsError, Refused
from crons.ledger import rows
from crons.ledger.ending.finishing import finish
from crons.ledger.ending.verdict import end, write_ended
from crons.ledger.entries import account_of, policy_of
from crons.ledger.transactions import verb, writing
from crons.models import Attempt, AuditEvent, Entry, Heartbeat, Range, Run
from crons.presentation import utc
from crons.verdicts import Ending, Outcome, Reason, State, Verdict

TRIGGER = "reconcile"
# More than any database here begins in a second, and a gap that nobody will miss: an id has 63 bits.
ISSUED_PER_SECOND = 10_000
ISSUED_AT_LEAST = 1_000_000


@dataclass
class Reconciled:
    """What was done, or would be: runs as (id, entry, what), slots written off and left to run by entry."""

    lost_attempts: int = 0
    lost_runs: list[tuple[int, str]] = field(default_factory=list)
    runs_to_repeat: list[tuple[int, str]] = field(default_factory=list)
    slots_written_off: dict[str, int] = field(default_factory=dict)
    slots_to_catch_up: dict[str, int] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    heartbeats: int = 0
    tokens_above: int = 0


@verb
def reconcile(since: datetime, until: datetime, now: datetime, *, by: str, dry_run: bool = False) -> Reconciled:
    """Account for (backup, *until*] as what may have run elsewhere; all of it or nothing, and audited.

    Args: *since* is when the backup was made, *until* when the database that it replaces stopped.
    Raises: Refused if this is no database restored from then.
    Cost: reads every entry, and every run for the newest.
    """
    with writing() as using:
        _refuse_another_time(since, until, now, using)
        done = Reconciled()
        entries = list(Entry.objects.using(using).select_for_update().order_by("pk"))
        idempotent = {entry.pk for entry in entries if _is_idempotent(entry)}
        _lose_attempts(since, now, using, done)
        _lose_runs(idempotent, since, now, using, done)
        _write_off(entries, idempotent, until, now, using, done)
        silent = Heartbeat.objects.using(using).filter(expected_by__lt=now)
        done.heartbeats = silent.count()
        silent.delete()
        gap = ISSUED_AT_LEAST + ISSUED_PER_SECOND * int((now - since).total_seconds())
        if dry_run:
            done.tokens_above = _newest(Attempt, using) + gap
            transaction.set_rollback(True, using=using)
            return done
        _push(Run, _newest(Run, using) + gap, using)
        done.tokens_above = _newest(Attempt, using) + gap
        _push(Attempt, done.tokens_above, using)
        _audit(done, since, until, now, by, using)
    return done


def _refuse_another_time(since: datetime, until: datetime, now: datetime, using: str) -> None:
    if not since <= until <= now:
        raise Refused(
            f"--since {utc(since)} and --until {utc(until)} do not follow each other up to now, {utc(now)}: "
            "give the moment of the backup, and the one when the lost database stopped."
        )
    recorded = Run.objects.using(using).aggregate(at=Max("recorded_at"))["at"]
    begun = Attempt.objects.using(using).aggregate(at=Max("begun_at"))["at"]
    newest = max(filter(None, (recorded, begun)), default=since)
    if newest > since:
        raise Refused(
            f"this database has a run of {utc(newest)}, so it is no backup of {utc(since)}, or it has run since it "
            "was restored. Nothing was changed. Give --since the moment at which the backup was made, not before "
            "its newest run; a database that was not restored needs no reconciling."
        )


def _lose_attempts(since: datetime, now: datetime, using: str, done: Reconciled) -> None:
    running = dict(Attempt.objects.using(using).filter(outcome="").order_by("pk").values_list("pk", "run"))
    text = f"a backup of {utc(since)} was restored, and it was running then: it may or may not have run to its end"
    finished = [Finished(pk, Ending(Outcome.LOST, text)) for pk in running]
    if finished:
        finish(finished, now)
    done.lost_attempts = len(finished)
    over = Run.objects.using(using).filter(pk__in=running.values(), state=State.DONE).order_by("pk")
    done.lost_runs += over.values_list("pk", "entry__name")


def _lose_runs(idempotent: set[int], since: datetime, now: datetime, using: str, done: Reconciled) -> None:
    unended = Run.objects.using(using).exclude(state=State.DONE).select_related("entry").order_by("pk")
    ended = []
    for run in unended:
        if run.entry_id in idempotent:
            done.runs_to_repeat.append((run.pk, run.entry.name))
            continue
        detail = f"a backup of {utc(since)} was restored, in which it was {run.state}: it may have run since"
        end(run, Verdict.LOST, now, reason=Reason.RESTORED, detail=detail)
        ended.append(run)
        done.lost_runs.append((run.pk, run.entry.name))
    write_ended(ended, using)


def _write_off(
    entries: list[Entry], idempotent: set[int], until: datetime, now: datetime, using: str, done: Reconciled
) -> None:
    ranges, moved = [], []
    for entry in entries:
        if entry.retired_at is not None:
            continue
        try:
            account = account_of(entry)
        except CronsError as error:
            done.unreadable[entry.name] = str(error)
            continue
        count = account.schedule.count(entry.accounted_until, until, account.tz)
        if entry.pk in idempotent:
            if count:
                done.slots_to_catch_up[entry.name] = count
            continue
        if count:
            done.slots_written_off[entry.name] = count
            ranges.append(
                Range(
                    entry=entry,
                    first_at=account.schedule.next_after(entry.accounted_until, account.tz),
                    last_at=account.schedule.latest(until, account.tz),
                    count=count,
                    verdict=Verdict.LOST,
                    reason=Reason.RESTORED,
                    trigger=TRIGGER,
                    recorded_at=now,
                )
            )
        entry.accounted_until = max(entry.accounted_until, until)
        entry.wake_at = account.schedule.next_after(entry.accounted_until, account.tz)
        entry.version += 1
        moved.append(entry)
    rows.insert(ranges, using)
    rows.update(moved, ["accounted_until", "wake_at", "version"], using)


def _is_idempotent(entry: Entry) -> bool:
    # A policy that cannot be read counts as not idempotent, so that nothing runs twice.
    try:
        return policy_of(entry).idempotent
    except CronsError:
        return False


def _newest(model: type[Model], using: str) -> int:
    """Return the highest id that this database has issued, of rows that are gone too."""
    table = model._meta.db_table
    highest = model._default_manager.using(using).aggregate(id=Max("id"))["id"] or 0
    connection = connections[using]
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("SELECT seq FROM sqlite_sequence WHERE name = %s", [table])
        else:
            cursor.execute("SELECT pg_sequence_last_value(pg_get_serial_sequence(%s, 'id')::regclass)", [table])
        issued = cursor.fetchone()
    return max(int(highest), int(issued[0] or 0) if issued else 0)


def _push(model: type[Model], above: int, using: str) -> None:
    """Let the ids of *model* go on above *above*."""
    connection, table = connections[using], model._meta.db_table
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("DELETE FROM sqlite_sequence WHERE name = %s", [table])
            cursor.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (%s, %s)", [table, above])
        else:
            cursor.execute("SELECT setval(pg_get_serial_sequence(%s, 'id'), %s)", [table, above])


def _audit(done: Reconciled, since: datetime, until: datetime, now: datetime, by: str, using: str) -> None:
    AuditEvent.objects.using(using).create(
        at=now,
        actor=by[:150],
        verb="reconcile",
        subject_type="ledger",
        subject="",
        after={
            "from": since.isoformat(),
            "until": until.isoformat(),
            "lost_attempts": done.lost_attempts,
            "lost_runs": [pk for pk, _ in done.lost_runs],
            "runs_to_repeat": [pk for pk, _ in done.runs_to_repeat],
            "slots_written_off": done.slots_written_off,
            "slots_to_catch_up": done.slots_to_catch_up,
            "tokens_above": done.tokens_above,
        },
    )
