"""What was to begin and does not: back into the queue, or over, with the reason.

Due runs that may not begin any more are settled, runs that were sent and attempts that were not started are requeued.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from crons.attempts import Finished, Unstarted
from crons.conf import conf
from crons.ledger import queries, rows
from crons.ledger.ending.finishing import ATTEMPT_ENDED, close, conclude
from crons.ledger.ending.verdict import ENDED, announce, announce_finished, end, write_ended
from crons.ledger.transactions import BATCH, REASON, lock_free, storable, verb, writing
from crons.models import Attempt, Entry, Run
from crons.presentation import utc
from crons.verdicts import Ending, Kind, Outcome, Reason, State, Verdict

REQUEUED = ["state", "wake_at", "sends", "detail"]
ANSWER_LOST = "the ledger did not answer"
NOT_RUN = (
    "the process that began it lives and does not run it any more (an older copy of the database, or a commit that "
    "was lost?): the job may or may not have run to its end"
)


@verb
def settle(now: datetime) -> None:
    """End the due runs that can no longer begin: too late to start, or overlapping a run still going.

    Cost: two statements, without a lock, where there are none.
    """
    if not (queries.too_late(now, 1, conf.database) or queries.overlapping(now, 1, conf.database)):
        return
    with writing() as using:
        late = queries.too_late(now, BATCH, using, lock=True)
        overlapping = queries.overlapping(now, BATCH - len(late), using, lock=True)
        found = Run.objects.using(using).select_related("entry").filter(pk__in=[*late, *overlapping])
        ended = list(found.order_by("pk"))
        for run in ended:
            _refuse(run, now, overlapping.get(run.pk))
        write_ended(ended, using)


@verb
def requeue(runs: Collection[int], again_at: datetime, detail: str, *, unsent: bool = False) -> list[int]:
    """Let runs that were sent be sent again from *again_at* on, if nobody has begun them; say which those were.

    Args: *unsent* says that their messages were not handed over: those do not count, or the pause after a night
    without a broker would be the longest.
    """
    with writing() as using:
        sent = Run.objects.using(using).filter(pk__in=list(runs), state=State.SENT).order_by("pk")
        found = list(sent.select_for_update())
        _put_back(found, again_at, detail, using, unsent=unsent)
    return [run.pk for run in found]


def requeue_entry(entry: Entry, now: datetime, detail: str, using: str) -> None:
    """Requeue what was sent of *entry* and nobody has begun; for use inside a transaction that has the entry locked."""
    sent = Run.objects.using(using).filter(entry=entry, state=State.SENT).order_by("pk")
    _put_back(list(sent.select_for_update()), now, detail, using)


def requeue_paused(entries: Collection[int], now: datetime, using: str) -> None:
    """Requeue what was sent of paused *entries*: as sent it would be in the way of what people ask for meanwhile.

    For use inside a transaction that locks the entries; who begins one of the runs just now sees the pause.
    """
    sent = Run.objects.using(using).filter(entry__in=list(entries), state=State.SENT).exclude(kind=Kind.MANUAL)
    _put_back(list(lock_free(sent.order_by("pk"), using, "self")), now, "paused before a worker began it", using)


@verb
def release_unstarted(instance: str, running: Collection[int], unstarted: Unstarted, now: datetime) -> list[int]:
    """End the attempts of *instance* that it does not run: due again where the job was not started, else lost.

    While that process lives nobody else may declare them lost, so they would stay open.
    Args: *running* are those that its executors run; *unstarted* says which have surely not been started.
    Returns: the ids of the attempts ended.
    Cost: one statement, without a lock, where all are running.
    """
    left = queries.leases_of(instance, conf.database).difference(running)
    if not left:
        return []
    with writing() as using:
        mine = Attempt.objects.using(using).filter(pk__in=left, instance=instance, lease_until__isnull=False)
        found = mine.select_related("run__entry").order_by("pk")
        attempts = list(lock_free(found, using, "self", "run"))
        untried = [each for each in attempts if unstarted.has(each.pk, each.token)]
        for attempt in attempts:
            if attempt in untried:
                _undo_begin(attempt, now, unstarted.reasons.get(attempt.pk, ANSWER_LOST))
            elif close(attempt, Finished(attempt.pk, Ending(Outcome.LOST, NOT_RUN)), now):
                conclude(attempt)
                announce_finished(attempt, using)
        rows.update([each for each in attempts if each not in untried], ATTEMPT_ENDED, using)
        # An attempt that never started leaves no row: it counts as no try, and the next one gets its number.
        Attempt.objects.using(using).filter(pk__in=[each.pk for each in untried]).delete()
        runs = [attempt.run for attempt in attempts]
        rows.update(runs, [*ENDED, "tries", "current_attempt"], using)
        for run in runs:
            if run.state == State.DONE:
                announce(run, using)
    unstarted.forget([attempt.pk for attempt in attempts], [attempt.token for attempt in attempts])
    return [attempt.pk for attempt in attempts]


def _refuse(run: Run, now: datetime, in_the_way: tuple[int, int | None] | None) -> None:
    if run.start_before is not None and run.start_before < now:
        late = f"no place came free before {utc(run.start_before)}"
        if run.state == State.DUE and not run.sends and run.wake_at is not None and run.wake_at > run.start_before:
            late = f"its window opens at {utc(run.wake_at)}, after {utc(run.start_before)}, by when it had to begin"
        if run.sends:
            late = f"sent {run.sends} time(s), and nobody began it before {utc(run.start_before)}"
            late += f"; of the last: {run.detail}" if run.state == State.DUE else ""
        end(run, Verdict.MISSED, now, reason=Reason.NOT_STARTED, detail=late)
    elif in_the_way is not None:
        way, attempt = in_the_way
        end(
            run,
            Verdict.SKIPPED,
            now,
            reason=Reason.OVERLAP,
            detail=f"run {way} (attempt {attempt}) was still going",
        )


def _put_back(runs: list[Run], again_at: datetime, detail: str, using: str, *, unsent: bool = False) -> None:
    for run in runs:
        # A retry is not a first try: it is given up for a newer success, and has no last moment to start.
        run.state = State.WAITING if run.tries or run.asked_at else State.DUE
        run.wake_at, run.detail = again_at, detail[:255]
        # Never 0: a run that was sent once keeps its place before later slots of its entry.
        run.sends = max(run.sends - unsent, 1)
    rows.update(runs, REQUEUED, using)


def _undo_begin(attempt: Attempt, now: datetime, why: str) -> None:
    run = attempt.run
    run.tries, run.current_attempt = attempt.number - 1, None
    if attempt.cancel_requested_at is not None:
        end(run, Verdict.CANCELLED, now, detail=storable(attempt.cancel_reason, REASON))
        return
    run.state = State.WAITING if run.tries else State.DUE
    run.wake_at, run.active_key, run.detail = now, None, storable(f"not started on {attempt.host}: {why}", REASON)
