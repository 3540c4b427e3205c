"""Releasing: attempts that the rows give to a living process, and that it does not run, are ended.

While that process lives, nobody else may declare them lost, so they would stay open.
"""

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
from crons.models import Attempt
from crons.schedules import FAR_FUTURE
from crons.verdicts import Ending, Outcome, State, Verdict

ANSWER_LOST = "the ledger did not answer"
NOT_HELD = (
    "the process that began it lives and does not run it any more (an older copy of the database, or a commit that "
    "was lost?): the job may or may not have run to its end"
)


@verb
def release(instance: str, held: Collection[int], unstarted: Unstarted, now: datetime) -> list[int]:
    """End the attempts of *instance* that it does not run: due again where the job was not started, else lost.

    Args: *held* are those that its executors run; *unstarted* says which have surely not been started.
    Returns: the ids of the attempts ended.
    Cost: one statement, without a lock, where all are held.
    """
    # The condition on the lease has SQLite use the index, also once it has statistics.
    mine = Attempt.objects.filter(instance=instance, lease_until__lte=FAR_FUTURE)
    left = set(mine.using(conf.database).values_list("pk", flat=True)).difference(held)
    if not left:
        return []
    with writing() as using:
        found = mine.using(using).filter(pk__in=left).select_related("run__entry").order_by("pk")
        attempts = list(lock_free(found, using, "self", "run"))
        untried = [each for each in attempts if unstarted.has(each.pk, each.token)]
        for attempt in attempts:
            if attempt in untried:
                _requeue(attempt, now, unstarted.reasons.get(attempt.pk, ANSWER_LOST))
            elif close(attempt, Finished(attempt.pk, Ending(Outcome.LOST, NOT_HELD)), now):
                conclude(attempt)
        update([each for each in attempts if each not in untried], ATTEMPT_ENDED, using)
        # An attempt that never started leaves no row: it counts as no try, and the next one gets its number.
        Attempt.objects.using(using).filter(pk__in=[each.pk for each in untried]).delete()
        runs = [attempt.run for attempt in attempts]
        update(runs, [*ENDED, "tries", "current_attempt"], using)
        for run in runs:
            if run.state == State.DONE:
                announce(run, using)
    unstarted.forget([attempt.pk for attempt in attempts], [attempt.token for attempt in attempts])
    return [attempt.pk for attempt in attempts]


def _requeue(attempt: Attempt, now: datetime, why: str) -> None:
    run = attempt.run
    run.tries, run.current_attempt = attempt.number - 1, None
    if attempt.cancel_requested_at is not None:
        end(run, Verdict.CANCELLED, now, detail=kept(attempt.cancel_reason, REASON))
        return
    run.state = State.WAITING if run.tries else State.DUE
    run.wake_at, run.active_key, run.detail = now, None, kept(f"not started on {attempt.host}: {why}", REASON)
