"""Finishing: outcome → verdict, once; and what an attempt says before: that it lives, and its output."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from crons.attempts import Chunk, Finished, Renewed
from crons.conf import conf
from crons.exceptions import LedgerUnavailable
from crons.ledger import rows
from crons.ledger.ending.verdict import ENDED, announce, announce_finished, end
from crons.ledger.entries import once_open, policy_or_default
from crons.ledger.transactions import lock_all, verb, writing
from crons.models import Attempt, OutputChunk, Run
from crons.planner import after_ending
from crons.verdicts import BAD_VERDICTS, Ending, Outcome, State, named_error

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
        # A run was deleted between the query and the commit: the next try finds it gone.
        raise LedgerUnavailable(f"output could not be stored, somebody deletes runs: {error}") from error


@verb
def _write_output(chunks: Sequence[Chunk]) -> None:
    attempts = {chunk.attempt for chunk in chunks}
    with writing() as using:
        # The run may have been deleted meanwhile: its output is dropped.
        known = dict(Attempt.objects.using(using).filter(pk__in=attempts).values_list("pk", Now()))
        made = [_chunk(each, known[each.attempt]) for each in chunks if each.attempt in known]
        try:
            with transaction.atomic(using=using):
                rows.insert(made, using)
        except IntegrityError:
            # An earlier write was committed and its answer lost: add only the chunks that are missing.
            stored = OutputChunk.objects.using(using).filter(attempt__in=known)
            there = set(stored.values_list("attempt_id", "seq"))
            rows.insert([row for row in made if (row.attempt_id, row.seq) not in there], using)


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
    for attempt in accepted:
        announce_finished(attempt, using)
    for run in runs:
        if run.state == State.DONE:
            announce(run, using)


def conclude(attempt: Attempt, *, final: bool = False) -> None:
    """Have the run of an attempt that has ended follow it, in memory."""
    run, now = attempt.run, attempt.ended_at or attempt.begun_at
    ending = Ending(Outcome(attempt.outcome), attempt.error, final=final)
    asked = attempt.cancel_requested_at is not None
    policy = policy_or_default(run.entry)
    tries = run.tries if policy.window is None else run.tries - _stopped_tries(run)
    following = after_ending(ending, tries, policy, now, asked=asked)
    if following.verdict is None:
        again_at = once_open(run, policy, following.again_at or now, stopped=ending.outcome == Outcome.CONTINUED)
        run.state, run.wake_at, run.active_key = State.WAITING, again_at, None
        detail = f"try {run.tries} {attempt.outcome.replace('_', ' ')}: {named_error(attempt.error)}"
        run.detail = detail.removesuffix(": ")[:255]
        return
    end(run, following.verdict, now, detail=named_error(attempt.error))
    if following.verdict in BAD_VERDICTS:
        run.inspect_at = now


def _stopped_tries(run: Run) -> int:
    """Count the tries that stopped at their window's end: work of ten nights has not failed nine times."""
    return Attempt.objects.using(run._state.db).filter(run=run, outcome=Outcome.CONTINUED).count()


def _chunk(chunk: Chunk, now: datetime) -> OutputChunk:
    return OutputChunk(attempt_id=chunk.attempt, seq=chunk.seq, stream=chunk.stream, text=chunk.text, written_at=now)
