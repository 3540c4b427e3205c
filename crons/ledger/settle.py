"""Settling: the verdicts of due runs that can no longer begin."""

from __future__ import annotations

from datetime import datetime

from django.db.models import Exists, OuterRef, Q, Subquery

from crons.conf import conf
from crons.ledger.record import BATCH
from crons.ledger.transactions import lock_free, verb, writing
from crons.ledger.verdict import end, write_ended
from crons.models import Run
from crons.schedules import FAR_FUTURE
from crons.verdicts import Reason, State, Verdict


@verb
def settle(now: datetime) -> None:
    """End the due runs that can no longer begin: too late to start, or overlapping a run still going.

    Cost: one statement, without a lock, where there are none.
    """
    active = Run.objects.filter(active_key=OuterRef("entry_id"))
    # With catch_up="all" every slot matters: they wait for their turn instead.
    # What somebody asked for besides the schedule may hold its slots up, but must not use them up.
    overlapping = Q(Exists(active.filter(asked_at=None)), wake_at__lte=now) & ~Q(entry__policy__catch_up="all")
    due = Q(state=State.DUE) & (Q(start_before__lt=now) | overlapping)
    # What was sent and nobody has begun: a retry or what somebody asked for has no last moment to start.
    sent = Q(start_before__lt=now) | Q(Exists(active.filter(asked_at=None))) & ~Q(entry__policy__catch_up="all")
    # What is open has a moment to wake at: without it SQLite, once it has statistics, reads what has ended as well.
    open_runs = Run.objects.using(conf.database).filter(state__in=[State.DUE, State.SENT], wake_at__lte=FAR_FUTURE)
    hopeless = open_runs.filter(due | Q(state=State.SENT, tries=0, asked_at=None) & sent)
    if not hopeless.exists():
        return
    with writing() as using:
        found = hopeless.annotate(
            in_the_way=Subquery(active.values("id")[:1]),
            attempt_in_the_way=Subquery(active.values("current_attempt")[:1]),
        )
        ended: list[Run] = list(lock_free(found.select_related("entry").order_by("id"), using, "self")[:BATCH])
        for run in ended:
            _refuse(run, now)
        write_ended(ended, using)


def _refuse(run: Run, now: datetime) -> None:
    if run.start_before is not None and run.start_before < now:
        late = f"no place came free before {run.start_before:%Y-%m-%d %H:%M:%S} UTC"
        if run.sends:
            late = f"sent {run.sends} time(s), and nobody began it before {run.start_before:%Y-%m-%d %H:%M:%S} UTC"
            late += f"; of the last: {run.detail}" if run.state == State.DUE else ""
        end(run, Verdict.MISSED, now, reason=Reason.NOT_STARTED, detail=late)
    else:
        way: int = run.in_the_way  # type: ignore[attr-defined] # annotated in settle
        attempt: int = run.attempt_in_the_way  # type: ignore[attr-defined]
        end(
            run,
            Verdict.SKIPPED,
            now,
            reason=Reason.OVERLAP,
            detail=f"run {way} (attempt {attempt}) was still going",
        )
