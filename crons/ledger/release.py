"""Releasing: what a living process is said to run, and does not, is ended, so that nothing waits for it."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from crons.attempts import Finished, Unstarted
from crons.conf import conf
from crons.ledger.audit import REASON, kept
from crons.ledger.finish import ATTEMPT_ENDED, close, conclude
from crons.ledger.rows import update
from crons.ledger.transactions import lock_free, verb, writing
from crons.ledger.verdict import ENDED, announce, end
from crons.models import Attempt, Run
from crons.schedules import FAR_FUTURE
from crons.verdicts import Ending, Outcome, State, Verdict

NEVER_STARTED = "begun, but the answer or the process for it could not be had: the job was not started"
NOT_HELD = (
    "the process that began it lives and does not run it any more (an older copy of the database, or a commit that "
    "was lost?): the job may or may not have run to its end"
)


@verb
def release(instance: str, held: Collection[int], unstarted: Unstarted, now: datetime) -> list[int]:
    """End the attempts of *instance* that it does not hold: due again where the job was not started, else lost.

    Args: *held* are those that its executors have; *unstarted* says which have surely not been started.
    Returns: the ids of the attempts ended.
    Cost: one statement, without a lock, where all are held.
    """
    # Has a lease, said so that SQLite uses the index also once it has statistics.
    mine = Attempt.objects.filter(instance=instance, lease_until__lte=FAR_FUTURE)
    left = set(mine.using(conf.database).values_list("pk", flat=True)).difference(held)
    if not left:
        return []
    with writing() as using:
        found = mine.using(using).filter(pk__in=left).select_related("run__entry").order_by("pk")
        attempts = list(lock_free(found, using, "self", "run"))
        for attempt in attempts:
            _release(attempt, now, never_started=unstarted.has(attempt.pk, attempt.token))
        update(attempts, ATTEMPT_ENDED, using)
        runs = [attempt.run for attempt in attempts]
        update(runs, ENDED, using)
        for run in runs:
            if run.state == State.DONE:
                announce(run, using)
    unstarted.forget([attempt.pk for attempt in attempts], [attempt.token for attempt in attempts])
    return [attempt.pk for attempt in attempts]


def _release(attempt: Attempt, now: datetime, *, never_started: bool) -> None:
    told = NEVER_STARTED if never_started else NOT_HELD
    if not close(attempt, Finished(attempt.pk, Ending(Outcome.LOST, told)), now):
        return
    if not never_started:
        conclude(attempt)
    elif attempt.cancel_requested_at is not None:
        end(attempt.run, Verdict.CANCELLED, now, detail=kept(attempt.cancel_reason, REASON))
    else:
        _make_due(attempt.run, now)


def _make_due(run: Run, now: datetime) -> None:
    run.state, run.wake_at, run.active_key, run.detail = State.WAITING, now, None, NEVER_STARTED
