"""Finishing: outcome → verdict, once; and what may befall an attempt before that."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from django.db import IntegrityError, connections, transaction

from crons.attempts import Chunk, Finished, Renewed
from crons.conf import conf
from crons.exceptions import CronsError, Fenced, LedgerUnavailable, Refused
from crons.jobs import Policy
from crons.ledger import rows
from crons.ledger.audit import REASON, kept, note
from crons.ledger.entries import locked, policy_of
from crons.ledger.transactions import lock_all, verb, writing
from crons.ledger.verdict import ENDED, announce, end, write_ended
from crons.models import Attempt, Entry, OutputChunk, Run
from crons.verdicts import BAD_VERDICTS, Ending, Outcome, State, Verdict, named_error

# An idempotent job that loses its process is begun again even without retry=, but not for ever:
# one that gets its process killed each time must come to rest.
LOST_TRIES = 3
ATTEMPT_ENDED = [
    "outcome", "finish_token", "late_outcome", "exit_code", "error", "cpu_seconds", "peak_memory_bytes",
    "lease_until", "ended_at",
]  # fmt: skip


@verb
def finish(finished: Sequence[Finished], now: datetime) -> dict[int, bool]:
    """Write down how attempts ended, and what follows for their runs.

    Returns: by attempt, whether it was its own to finish. One that had been declared lost was not:
    what it reports is kept as its late outcome and changes nothing else.
    Cost: three statements for all of them.
    """
    by_id = {each.attempt: each for each in finished}
    with writing() as using:
        found = Attempt.objects.using(using).filter(pk__in=by_id).select_related("run__entry").order_by("pk")
        attempts = list(lock_all(found, using, "self", "run"))
        accepted = {attempt.pk: close(attempt, by_id[attempt.pk], now) for attempt in attempts}
        final = {pk for pk, each in by_id.items() if each.ending.final}
        write_closed(attempts, [attempt for attempt in attempts if accepted[attempt.pk]], using, final)
    return accepted


@verb
def renew(attempts: Collection[int], now: datetime) -> Renewed:
    """Extend the leases of *attempts*; say which are still owned, and which are to be cancelled."""
    with writing() as using:
        mine = Attempt.objects.using(using).filter(pk__in=list(attempts), outcome="")
        mine.update(lease_until=now + conf.lease)
        found = mine.values_list("pk", "cancel_requested_at", "cancel_reason")
        cancelled = {pk: reason or "cancelled" for pk, asked, reason in found if asked is not None}
        return Renewed(frozenset(pk for pk, _, _ in found), cancelled)


def write_output(chunks: Sequence[Chunk]) -> None:
    """Store pieces of output; one stored before is left as it is."""
    try:
        _write_output(chunks)
    except IntegrityError as error:
        # A run was deleted between the look and the commit: the next try finds it gone.
        raise LedgerUnavailable(f"output could not be stored, somebody deletes runs: {error}") from error


@verb
def _write_output(chunks: Sequence[Chunk]) -> None:
    attempts = {chunk.attempt for chunk in chunks}
    with writing() as using:
        # Somebody may have deleted the run meanwhile: what is left of its output has no home.
        known = set(Attempt.objects.using(using).filter(pk__in=attempts).values_list("pk", flat=True))
        made = [_chunk(each) for each in chunks if each.attempt in known]
        try:
            with transaction.atomic(using=using):
                rows.insert(made, using)
        except IntegrityError:
            # The answer to an earlier write got lost: keep what is there, add the rest.
            stored = OutputChunk.objects.using(using).filter(attempt__in=known)
            there = set(stored.values_list("attempt_id", "seq"))
            rows.insert([row for row in made if (row.attempt_id, row.seq) not in there], using)


@verb
def request_cancel(run_id: int, now: datetime, *, reason: str, by: str = "") -> Run:
    """Ask for a run to be stopped: at once if nothing runs yet, else at its attempt's next renewal.

    Raises: Refused if it is over.
    """
    with writing() as using:
        # The attempt first, as finish does: two that lock in turns wait for each other for ever.
        # Asked through the run: a number that no column holds is then none, instead of an error.
        asked = Run.objects.using(using).filter(pk=run_id)
        running = Attempt.objects.using(using).filter(run__in=asked.values("pk"), outcome="").order_by("pk")
        list(running.select_for_update().values_list("pk"))
        run = asked.select_for_update().first()
        if run is None:
            raise Refused(f"run {run_id} does not exist. See: manage.py crons history")
        if run.state == State.DONE:
            raise Refused(f"run {run_id} is over: {run.verdict}.")
        before = {"state": run.state, "detail": run.detail}
        told = kept(f"{reason} (by {by})" if by else reason, REASON)
        if run.state == State.RUNNING:
            going = Attempt.objects.using(using).filter(pk=run.current_attempt or 0, outcome="")
            going.update(cancel_requested_at=now, cancel_reason=told)
        else:
            end(run, Verdict.CANCELLED, now, detail=told)
            rows.update([run], ENDED, using)
            announce(run, using)
        note("cancel", "run", run_id, by, now, using, before=before, reason=reason)
    return run


@verb
def cancel_entry(name: str, now: datetime, *, by: str, reason: str, asked_only: bool = False) -> list[Run]:
    """Ask for all runs of one entry that are not over to be stopped, or for those that somebody asked for only."""
    told = kept(f"{reason} (by {by})", REASON)
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
        mine.update(cancel_requested_at=now, cancel_reason=told)
        ended = [run for run in runs if run.state != State.RUNNING]
        for run in ended:
            end(run, Verdict.CANCELLED, now, detail=told)
        write_ended(ended, using)
        if runs:
            note("cancel", "entry", name, by, now, using, after={"runs": [run.pk for run in runs]}, reason=reason)
    return runs


def cancel_open(entry: Entry, now: datetime, using: str, *, detail: str) -> None:
    """End what of *entry* waits to be begun, which nobody will; for use inside a transaction."""
    waiting = (
        Run.objects.using(using).filter(entry=entry, state__in=[State.DUE, State.SENT, State.WAITING]).order_by("pk")
    )
    runs = list(lock_all(waiting, using))
    for run in runs:
        end(run, Verdict.CANCELLED, now, detail=detail)
    write_ended(runs, using)


MINE = "SELECT id FROM crons_attempt WHERE id = %s AND outcome = ''"


@contextmanager
def fenced(token: int) -> Iterator[None]:
    """Open a transaction that commits only while attempt *token* still owns its run.

    Raises: Fenced if it does not; nothing is written then.
    """
    # Not bounded: what the job does inside waits for locks as long as the project says.
    with writing(bounded=False) as using:
        with connections[using].cursor() as cursor:
            cursor.execute(f"{MINE} {rows.for_reference(using)}", [token])
            mine = cursor.fetchone()
        if mine is None:
            raise Fenced(f"attempt {token} no longer owns its run: it ended or was declared lost. Nothing was written.")
        yield


@dataclass(frozen=True)
class Next:
    """What follows from an ending: a verdict, or another try at *again_at*."""

    verdict: Verdict | None
    again_at: datetime | None = None


def next_after(ending: Ending, tries: int, policy: Policy, now: datetime, *, asked: bool = False) -> Next:
    """Say what a run's *tries*-th try means for it.

    Exceptions are tried again as retry= says; lost and timed out only where the job is idempotent,
    because the job may have done its work. So is what a stopping scheduler cancelled: that nobody
    *asked* for, and whoever comes next can do it. What somebody asked to stop is not tried again,
    however its try ended before the request reached it; nor what the job itself gave up.
    """
    outcome, retry = ending.outcome, policy.retry
    if asked or ending.final:
        return Next(Verdict(outcome))
    if outcome == Outcome.FAILED and tries <= retry.times:
        return Next(None, now + retry.delay(tries))
    if outcome == Outcome.TIMED_OUT and policy.idempotent and tries <= retry.times:
        return Next(None, now + retry.delay(tries))
    interrupted = outcome in (Outcome.LOST, Outcome.CANCELLED)
    if interrupted and policy.idempotent and tries < max(LOST_TRIES, 1 + retry.times):
        return Next(None, now)
    return Next(Verdict(outcome))


def close(attempt: Attempt, finished: Finished, now: datetime) -> bool:
    """Put an ending on an attempt, in memory; False if it was over already, or its run is another attempt's."""
    ending = finished.ending
    if attempt.outcome:
        if attempt.finish_token != finished.finish_token and not attempt.late_outcome:
            attempt.late_outcome = ending.outcome
        return False
    attempt.outcome, attempt.finish_token = ending.outcome, finished.finish_token
    attempt.exit_code, attempt.error = ending.exit_code, ending.error
    attempt.cpu_seconds, attempt.peak_memory_bytes = ending.cpu_seconds, ending.peak_memory_bytes
    # A clock that was set back must not have an attempt end before it has begun.
    attempt.lease_until, attempt.ended_at = None, max(now, attempt.begun_at)
    return attempt.run.current_attempt == attempt.pk


def write_closed(attempts: list[Attempt], accepted: list[Attempt], using: str, final: Collection[int] = ()) -> None:
    """Store *attempts*, which have ended, and what follows for the runs of those *accepted*."""
    rows.update(attempts, ATTEMPT_ENDED, using)
    for attempt in accepted:
        conclude(attempt, final=attempt.pk in final)
    runs = [attempt.run for attempt in accepted]
    rows.update(runs, ENDED, using)
    for run in runs:
        if run.state == State.DONE:
            announce(run, using)


def conclude(attempt: Attempt, *, final: bool = False) -> None:
    """Have the run of an attempt that has ended follow it, in memory."""
    run, now = attempt.run, attempt.ended_at or attempt.begun_at
    ending = Ending(Outcome(attempt.outcome), attempt.error, final=final)
    asked = attempt.cancel_requested_at is not None
    following = next_after(ending, run.tries, _policy(run.entry), now, asked=asked)
    if following.verdict is None:
        run.state, run.wake_at, run.active_key = State.WAITING, following.again_at, None
        told = f"try {run.tries} {attempt.outcome.replace('_', ' ')}: {named_error(attempt.error)}"
        run.detail = told.removesuffix(": ")[:255]
        return
    end(run, following.verdict, now, detail=named_error(attempt.error))
    if following.verdict in BAD_VERDICTS:
        run.inspect_at = now


def _chunk(chunk: Chunk) -> OutputChunk:
    return OutputChunk(attempt_id=chunk.attempt, seq=chunk.seq, stream=chunk.stream, text=chunk.text)


def _policy(entry: Entry) -> Policy:
    # An ending is written down even where somebody has garbled the row: then nothing is tried again.
    try:
        return policy_of(entry)
    except CronsError:
        return Policy()
