"""Operating: what triggers, pages and people's own code may ask of a schedule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet

from crons import ledger, watch
from crons.conf import conf
from crons.declarations import Retire, Synced, check_arguments, check_complete, sync_declarations
from crons.declarations import reschedule as reschedule_entry
from crons.exceptions import Refused
from crons.ledger import Corrected, Pruned, Reconciled, UpcomingSlot
from crons.models import Entry, Heartbeat, Incident, Pause, Range, Run, is_text
from crons.presentation import describe_scheduler
from crons.watch import Look, Problem
from crons.why import Answer, answer, gather


def sync(*, retire: Retire = Retire.NOTHING, by: str = "", kind: str = "sync") -> Synced:
    """Bring the entries in step with what this code declares; *retire* says what becomes of those it does not.

    A message that lists what is retired waits in the outbox for the next scheduler or tick.
    Raises: Disabled, NotAdopted: closing an account records slots.
    """
    ledger.permit()
    return sync_declarations(ledger.database_now(), retire=retire, by=by, kind=kind)


def run_now(name: str, *, by: str, args: Mapping[str, Any] | None = None, key: str = "", reason: str = "") -> Run:
    """Record a manual run; the next pass of a scheduler begins it.

    Inside a transaction it is recorded when that commits. The same *key* gives the same run. *args* are given
    to the job over the entry's own, for this run only.
    Raises: UnknownJob; Refused or InvalidJob if the job cannot be called so, or *key* cannot be one.
    """
    ledger.permit()
    if args:
        check_arguments(entry(name), args)
    else:
        check_complete(entry(name), {})
    return ledger.request(name, ledger.database_now(), "api", by=by, args=args, key=key, reason=reason)


def reschedule(name: str, text: str | None, *, by: str, zone: str = "", reason: str = "") -> Entry:
    """Put one entry on the schedule *text*, in *zone* or its own, whatever is declared; None: back to the declaration.

    What fell due before is recorded under the old one. The new one overrides later declarations, until it is dropped.
    Raises: UnknownJob; InvalidSchedule; Refused if the entry is retired, or its job cannot run without arguments.
    """
    ledger.permit()
    if text is not None:
        check_complete(entry(name), {})  # a slot has only the declared arguments
    now = ledger.database_now()
    return reschedule_entry(name, now, text=text, zone=zone, by=by, reason=reason)


def pause(name: str, *, by: str, reason: str, until: datetime | None = None) -> None:
    """Skip the slots of one entry from now on, until *until* or until it is resumed; each is recorded.

    Raises: UnknownJob; Refused without a reason, or if *until* is no moment to come.
    """
    ledger.permit()
    ledger.pause(name, ledger.database_now(), by=by, reason=reason, until=until)


def pause_all(*, by: str, reason: str, until: datetime | None = None, tag: str = "") -> list[str]:
    """Skip the slots of every entry, or of every one with *tag*, from now on; return their names.

    Entries that are declared later are paused as well. Pauses that were there stay beside it.
    Raises: Refused without a reason, if *until* is no moment to come, or if no entry has that tag.
    """
    ledger.permit()
    return ledger.pause_all(ledger.database_now(), by=by, reason=reason, until=until, tag=tag)


def resume(name: str, *, by: str, reason: str = "") -> Entry:
    """End one entry's own pause and return the entry; the slots of the pause stay skipped.

    It stays paused where its tag or everything is paused too.
    Raises: UnknownJob; Refused if only such a pause is in force: that one has to end.
    """
    ledger.permit()
    return ledger.resume(name, ledger.database_now(), by=by, reason=reason)


def resume_all(*, by: str, tag: str = "", reason: str = "") -> list[str]:
    """End what `pause_all` with the same *tag* began; return the names of the entries that run again.

    Entries that are paused on their own, or by another tag, stay so.
    """
    ledger.permit()
    return ledger.resume_all(ledger.database_now(), by=by, tag=tag, reason=reason)


def acknowledge(incident: int, *, by: str, reason: str = "") -> Incident:
    """Say that somebody has an open incident in hand: no more reminders are sent; alerts of changes still are.

    Raises: Refused if there is no such incident, or it is over.
    """
    return watch.acknowledge(incident, ledger.database_now(), by=by, reason=reason)


def snooze(incident: int, *, until: datetime, by: str, reason: str = "") -> Incident:
    """Have no alert of an open incident sent until *until*, unless it is over; one is sent then, if it is still open.

    Raises: Refused if there is no such incident, if it is over, or if *until* is no moment to come.
    """
    return watch.snooze(incident, ledger.database_now(), until=until, by=by, reason=reason)


def wide_pauses() -> list[Pause]:
    """List the pauses of everything and of tags in force now, the widest first."""
    return ledger.wide_pauses(ledger.database_now(), conf.database)


def pauses() -> list[Pause]:
    """List all pauses in force now, the widest first: of everything, of tags, of single entries."""
    return list(ledger.active_pauses(ledger.database_now(), conf.database))


def cancel(run_id: int, *, by: str, reason: str) -> Run:
    """Ask for a run to be stopped: at once if nothing runs yet, else within a renewal of its lease.

    Raises: Refused if it is over.
    """
    return ledger.request_cancel(run_id, ledger.database_now(), by=by, reason=reason)


def retry(run_id: int, *, by: str, reason: str = "") -> Run:
    """Let a run that is over and did not succeed be tried once more: same slot, same key, next attempt.

    A slot that was missed or skipped is run after all. The former verdict is kept in the audit trail.
    Raises: Refused if the run does not exist, is not over or has succeeded, or if its entry is retired.
    """
    ledger.permit()
    return ledger.retry(run_id, ledger.database_now(), by=by, reason=reason)


def backfill(
    name: str, first: datetime, last: datetime, *, by: str, dry_run: bool = False, reason: str = ""
) -> list[datetime]:
    """Let the slots of one entry in [*first*, *last*) that have no success be run; return them, oldest first.

    Each has the key and the window of its slot, also before the entry was first seen; those that were
    recorded and did not succeed are tried again as the same run. With *dry_run* nothing is recorded.
    Raises: UnknownJob; Refused if the span is none, reaches into the future or holds more than 1,000 of them,
    or if the entry is retired, has no schedule or cannot be planned.
    """
    ledger.permit()
    return ledger.backfill(name, first, last, ledger.database_now(), by=by, dry_run=dry_run, reason=reason)


def cancel_entry(name: str, *, by: str, reason: str, backfill: bool = False) -> list[Run]:
    """Ask for all running and waiting runs of one entry to be stopped, and return them.

    With *backfill*, only those that somebody asked for again or after all.

    Raises: UnknownJob.
    """
    return ledger.cancel_entry(name, ledger.database_now(), by=by, reason=reason, asked_only=backfill)


def prune(*, by: str, dry_run: bool = False, budget: timedelta | None = None) -> Pruned:
    """Delete what is older than CRONS["KEEP"], in short transactions; with *dry_run* only count it.

    Args: *budget* is how long it may take; the rest is left for the next time.
    """
    ledger.permit()
    return ledger.prune(ledger.database_now(), by=by, dry_run=dry_run, budget=budget)


def reconcile(since: datetime, *, by: str, until: datetime | None = None, dry_run: bool = False) -> Reconciled:
    """After a restore: end as lost what may have run since the backup, idempotent jobs excepted, and raise the tokens.

    Works while crons is switched off, as it should be then. Args: *since* is when the backup was made; *until* when the
    database that it replaces stopped, by default now.
    Raises: Refused while a scheduler runs, or if this is no database restored from then.
    """
    if running := schedulers():
        who = ", ".join(describe_scheduler(beat) for beat in running)
        raise Refused(f"{who} is running on this database: stop it first, and set CRONS_ENABLED=0 until this is done.")
    now = ledger.database_now()
    return ledger.reconcile(since, until or now, now, by=by, dry_run=dry_run)


def correct_clock(*, by: str, dry_run: bool = False) -> Corrected:
    """After a clock was ahead: set back to now what it moved ahead; what has run is not run again.

    The caller vouches that the clock is right: refusals because of a *clock in doubt* end.
    """
    return ledger.correct_clock(ledger.database_now(), by=by, dry_run=dry_run)


def entry(name: str) -> Entry:
    """Return one entry's row.

    Raises: UnknownJob with the nearest name.
    """
    found = Entry.objects.using(conf.database).filter(name=name).first() if is_text(name) else None
    if found is None:
        raise ledger.unknown_entry(name, conf.database)
    return found


def entries(*, retired: bool = False) -> QuerySet[Entry]:
    """Return the entries, by name."""
    rows = Entry.objects.using(conf.database).order_by("name")
    return rows if retired else rows.filter(retired_at=None)


def upcoming(name: str | None = None, *, count: int = 10, after: datetime | None = None) -> list[UpcomingSlot]:
    """List the next *count* slots of one entry, or of all of them together, soonest first.

    Raises: UnknownJob.
    """
    after = after or ledger.database_now()
    # The next slots of all belong to the entries that wake first.
    chosen = [entry(name)] if name else list(entries().order_by("wake_at", "name")[:count])
    found = [slot for each in chosen for slot in ledger.slots_of(each, after, count)]
    return sorted(found, key=lambda slot: (slot.at, slot.entry))[:count]


def history(name: str | None = None) -> QuerySet[Run]:
    """Return runs, newest first, with their entries."""
    # Not joined: SQLite begins a join with the few entries, reads all their runs and sorts them.
    runs = Run.objects.using(conf.database).prefetch_related("entry").order_by("-planned_at", "-pk")
    return runs.filter(entry=entry(name)) if name else runs


def ranges(name: str | None = None) -> QuerySet[Range]:
    """Return ranges of slots missed or skipped together, newest first, with their entries."""
    rows = Range.objects.using(conf.database).prefetch_related("entry").order_by("-last_at", "-pk")
    return rows.filter(entry=entry(name)) if name else rows


def why_waiting(runs: Iterable[Run]) -> dict[int, str]:
    """Say of each run that could begin now why it has not, by its id; runs are read with their entries.

    Cost: two queries, and one more where CRONS["GROUPS"] limits any.
    """
    return watch.why_waiting(runs)


def why(name: str, moment: str | datetime | None = None, *, run: int | None = None) -> Answer:
    """Say why one slot of an entry ended as it did, or what will become of it; of the newest where none is named.

    Args: *moment* as a text, or a datetime: without an offset it is read on the entry's clock; a time alone is the last
    one that has come, a day alone its first slot. *run* is the number of one of its runs, instead.
    Raises: UnknownJob with the nearest name; Refused if *moment* is none, or *run* is no run of that entry.
    Cost: at most twelve statements, each along an index.
    """
    return answer(gather(name, moment, ledger.database_now(), run=run))


def schedulers() -> list[Heartbeat]:
    """List the running schedulers, by host: with a recent heartbeat, and not known here to have ended."""
    return watch.living(ledger.database_now())


def health() -> list[Problem]:
    """List what is wrong now; an empty list means well.

    Raises: LedgerUnavailable if the database does not answer.
    """
    return watch.find_problems(Look(ledger.database_now()))
