"""Settling: the verdicts of due runs that can no longer begin."""

from __future__ import annotations

from datetime import datetime

from crons.conf import conf
from crons.ledger import queries
from crons.ledger.transactions import BATCH, verb, writing
from crons.ledger.verdict import end, write_ended
from crons.models import Run
from crons.presentation import utc
from crons.verdicts import Reason, State, Verdict


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


def _refuse(run: Run, now: datetime, in_the_way: tuple[int, int | None] | None) -> None:
    if run.start_before is not None and run.start_before < now:
        late = f"no place came free before {utc(run.start_before)}"
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
