"""What people and code ask of single runs: one besides the schedule, another try, a stop."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import IntegrityError

from crons.exceptions import Refused
from crons.ledger import rows
from crons.ledger.ending.verdict import ENDED, announce, end, write_ended
from crons.ledger.entries import locked, refuse_retired, request_effect_key
from crons.ledger.transactions import BY, REASON, lock_all, note, storable, verb, writing
from crons.models import Attempt, Entry, Run, is_text
from crons.redaction import for_people
from crons.verdicts import Kind, State, Verdict

REOPENED = [*ENDED, "start_before", "asked_at", "late_seconds"]
LONGEST_KEY = 150


def request(
    name: str,
    now: datetime,
    trigger: str,
    *,
    by: str = "",
    args: Mapping[str, Any] | None = None,
    key: str = "",
    reason: str = "",
) -> Run:
    """Record a manual run of one entry; it never moves the account. The same *key* gives the same run.

    Raises: UnknownJob; Refused if the entry is retired, or *key* cannot be one or is another entry's.
    """
    _check_key(key)
    key = key or uuid.uuid4().hex
    try:
        return _request(name, now, trigger, by, args, key, reason)
    except IntegrityError:
        # Another entry's run took the key at this moment: the second try sees whose it is.
        return _request(name, now, trigger, by, args, key, reason)


@verb
def retry(run_id: int, now: datetime, *, by: str, reason: str = "") -> Run:
    """Let a run that is over and did not succeed be tried once more: the same row, key and slot.

    It waits for its turn like a retry, but is not superseded by a newer success, nor held by a pause that was
    there when it was asked for. retry= gives it what is left of its tries, so after the last nothing more.
    Raises: Refused if it does not exist, is not over, has succeeded, or its entry is retired.
    """
    with writing() as using:
        # Lock run and entry together, as begin does: a retirement at this moment is waited for, and then seen.
        found = Run.objects.using(using).select_related("entry").filter(pk=run_id)
        run = lock_all(found, using, "self", "entry").first()
        if run is None:
            raise Refused(f"run {run_id} does not exist. See: manage.py crons history")
        refuse_retired(run.entry)
        if run.state != State.DONE:
            raise Refused(f"run {run_id} is not over: it is {run.state}. See: manage.py crons show {run_id}")
        if run.verdict == Verdict.SUCCEEDED:
            raise Refused(
                f"run {run_id} has succeeded, so there is nothing to try again. "
                f"Once more besides: manage.py crons run {run.entry.name} --manual"
            )
        before = verdict_of(run)
        reopen(run, now, by=by, reason=reason)
        rows.update([run], REOPENED, using)
        note("retry", "run", run_id, by, now, using, before=before, after={"entry": run.entry.name}, reason=reason)
    return run


def reopen(run: Run, now: datetime, *, by: str, reason: str = "") -> None:
    """Take a run's verdict back, in memory; store it by REOPENED."""
    detail = f"asked for again by {by}" + (f": {reason}" if reason else "")
    run.state, run.verdict, run.reason, run.detail = State.WAITING, "", "", storable(detail, REASON)
    # What somebody asks for may start however late; and who asks has seen what went wrong before.
    run.wake_at = run.asked_at = now
    run.start_before = run.ended_at = run.inspect_at = run.late_seconds = None


def verdict_of(run: Run) -> dict[str, Any]:
    """Return what a run's verdict was, for the audit trail."""
    ended_at = run.ended_at.isoformat() if run.ended_at else None
    verdict = {"verdict": run.verdict, "reason": run.reason, "detail": run.detail, "tries": run.tries}
    return {**verdict, "ended_at": ended_at}


@verb
def request_cancel(run_id: int, now: datetime, *, reason: str, by: str = "") -> Run:
    """Ask for a run to be stopped: at once if nothing runs yet, else at its attempt's next renewal.

    Raises: Refused if it is over.
    """
    with writing() as using:
        # Lock the attempt before the run, as finish does: the other order is a deadlock.
        # Through a subquery: an id too large for the column then finds nothing, instead of raising.
        asked = Run.objects.using(using).filter(pk=run_id)
        running = Attempt.objects.using(using).filter(run__in=asked.values("pk"), outcome="").order_by("pk")
        list(running.select_for_update().values_list("pk"))
        run = asked.select_for_update().first()
        if run is None:
            raise Refused(f"run {run_id} does not exist. See: manage.py crons history")
        if run.state == State.DONE:
            raise Refused(f"run {run_id} is over: {run.verdict}.")
        before = {"state": run.state, "detail": run.detail}
        detail = storable(f"{reason} (by {by})" if by else reason, REASON)
        if run.state == State.RUNNING:
            going = Attempt.objects.using(using).filter(pk=run.current_attempt or 0, outcome="")
            going.update(cancel_requested_at=now, cancel_reason=detail)
        else:
            end(run, Verdict.CANCELLED, now, detail=detail)
            rows.update([run], ENDED, using)
            announce(run, using)
        note("cancel", "run", run_id, by, now, using, before=before, reason=reason)
    return run


@verb
def cancel_entry(name: str, now: datetime, *, by: str, reason: str, asked_only: bool = False) -> list[Run]:
    """Ask for all runs of one entry that are not over to be stopped, or for those that somebody asked for only."""
    detail = storable(f"{reason} (by {by})", REASON)
    with writing() as using:
        entry = locked(name, using)
        attempts = Attempt.objects.using(using).filter(run__entry=entry, outcome="").order_by("pk")
        list(lock_all(attempts, using, "self").values_list("pk"))
        unended = Run.objects.using(using).filter(entry=entry).exclude(state=State.DONE).order_by("pk")
        if asked_only:
            unended = unended.filter(asked_at__isnull=False)
        runs = list(lock_all(unended, using, "self"))
        going = [run.current_attempt or 0 for run in runs if run.state == State.RUNNING]
        mine = Attempt.objects.using(using).filter(pk__in=going, outcome="")
        mine.update(cancel_requested_at=now, cancel_reason=detail)
        ended = [run for run in runs if run.state != State.RUNNING]
        for run in ended:
            end(run, Verdict.CANCELLED, now, detail=detail)
        write_ended(ended, using)
        if runs:
            note("cancel", "entry", name, by, now, using, after={"runs": [run.pk for run in runs]}, reason=reason)
    return runs


def cancel_open(entry: Entry, now: datetime, using: str, *, detail: str) -> None:
    """Cancel the runs of *entry* that wait to begin; for use inside a transaction."""
    waiting = (
        Run.objects.using(using).filter(entry=entry, state__in=[State.DUE, State.SENT, State.WAITING]).order_by("pk")
    )
    runs = list(lock_all(waiting, using))
    for run in runs:
        end(run, Verdict.CANCELLED, now, detail=detail)
    write_ended(runs, using)


@verb
def _request(
    name: str, now: datetime, trigger: str, by: str, args: Mapping[str, Any] | None, key: str, reason: str = ""
) -> Run:
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
            requested_by=storable(by, BY),
            args=None if args is None else dict(args),
            planned_at=now,
            wake_at=now,
            trigger=trigger,
            recorded_at=now,
        )
        after = {"entry": name, "args": for_people(run.args)}
        note("run", "run", run.pk, by, now, using, after=after, reason=reason)
    return run


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
