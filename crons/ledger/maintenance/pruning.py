"""Pruning: rows older than CRONS["KEEP"] go, in short transactions, and none that anything still rests on.

What stays however old it is: what is not over; slots above their entry's account; each entry's latest
run, because a page must say what happened last; its newest success, because context.since is read off
it; the run that an open incident is about. Only an entry that was retired long ago loses these too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import models
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from crons.conf import conf
from crons.ledger.transactions import database_now, lock_free, note, verb, writing
from crons.models import Attempt, AuditEvent, Delivery, Entry, Heartbeat, Incident, OutputChunk, Range, Run, WorkReport
from crons.verdicts import State, Verdict

# A batch grows and shrinks so that its transaction takes about this long: others write in between.
AIM_SECONDS = 0.1
SMALLEST, FIRST, LARGEST = 10, 50, 1_000
HEARTBEATS_KEPT = timedelta(days=1)


@dataclass
class Pruned:
    """How many rows went, or would go; *finished* unless the time for it was over before."""

    runs: dict[str, int] = field(default_factory=dict)
    ranges: int = 0
    incidents: int = 0
    audit_events: int = 0
    heartbeats: int = 0
    finished: bool = True
    longest_seconds: float = 0.0

    @property
    def total(self) -> int:
        """All rows of the kinds above."""
        return sum(self.runs.values()) + self.ranges + self.incidents + self.audit_events + self.heartbeats

    def described(self) -> str:
        """Say in a line what went."""
        parts = [f"{count} {verdict.replace('_', ' ')} run(s)" for verdict, count in sorted(self.runs.items())]
        for name in ("ranges", "incidents", "audit_events", "heartbeats"):
            if getattr(self, name):
                parts.append(f"{getattr(self, name)} {name.replace('_', ' ')[:-1]}(s)")
        return ", ".join(parts) or "nothing"


class Pace:
    """How many rows a batch takes, and when there is no time for another; *announce* is called before the first.

    Not a constant number: 1,000 runs at a time without output go in 0.16 s on SQLite, and with 256 kB of output each
    they keep all others from writing for 7 s; 50 at a time take four times as long where there is no output.
    """

    def __init__(
        self,
        budget: timedelta | None,
        pause: Callable[[float], None],
        clock: Callable[[], float],
        announce: Callable[[], None] = lambda: None,
    ) -> None:
        self.size = FIRST
        self._announce: Callable[[], None] | None = announce
        self.longest_seconds = 0.0
        self._clock, self._pause = clock, pause
        self._until = None if budget is None else clock() + budget.total_seconds()

    @property
    def is_over(self) -> bool:
        """Whether the budget is spent."""
        return self._until is not None and self._clock() >= self._until

    def timed(self, deletes: Callable[[], int]) -> int:
        """Run one transaction, then leave the database to others for as long as it took."""
        if self._announce is not None:
            self._announce()
            self._announce = None
        begun = self._clock()
        count = deletes()
        took = self._clock() - begun
        self.longest_seconds = max(self.longest_seconds, took)
        wanted = self.size * 2 if took < AIM_SECONDS / 2 else self.size // 2 if took > AIM_SECONDS else self.size
        self.size = min(max(wanted, SMALLEST), LARGEST)
        self._pause(took)
        return count


def prune(
    now: datetime,
    *,
    by: str,
    dry_run: bool = False,
    budget: timedelta | None = None,
    pause: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Pruned:
    """Delete what is older than CRONS["KEEP"], and note in the audit trail who had it done; with *dry_run* only count.

    Args: *budget* is how long it may take; what is left then is for the next time.
    Cost: grows with the rows older than the shortest KEEP; memory does not grow.
    """
    begun = False

    def announce() -> None:
        nonlocal begun
        note("prune begun", "ledger", "", by, database_now(), conf.database)
        begun = True

    keep, done, pace = conf.keep, Pruned(), Pace(budget, pause, clock, announce)
    for verdict, count in _prune_runs(now, keep, pace, dry_run):
        done.runs[verdict] = done.runs.get(verdict, 0) + count
    for name, model, old in _others(now, keep):
        setattr(done, name, _prune_plain(model, old, pace, dry_run))
    done.finished, done.longest_seconds = not pace.is_over, pace.longest_seconds
    if begun:
        # Apart from the first note: a kill in between must not take along who had rows deleted.
        after = {**asdict(done), "longest_seconds": round(done.longest_seconds, 3)}
        note("prune", "ledger", "", by, database_now(), conf.database, after=after)
    return done


def doomed(now: datetime, keep: Mapping[str, timedelta | None]) -> Q:
    """Return the condition under which a run may go."""
    # Not "later, or at the same moment with a higher number": an OR is looked up twice.
    later = Run.objects.filter(entry=OuterRef("entry_id"), planned_at__gte=OuterRef("planned_at")).exclude(
        planned_at=OuterRef("planned_at"), pk__lte=OuterRef("pk")
    )
    newer_success = Run.objects.filter(
        entry=OuterRef("entry_id"), slot_at__gt=OuterRef("slot_at"), verdict=Verdict.SUCCEEDED
    )
    needed = Q(verdict=Verdict.SUCCEEDED, slot_at__isnull=False) & ~Exists(newer_success)
    reported = Incident.objects.filter(run=OuterRef("pk"), closed_at=None)
    aged, of_retired = Q(pk__in=[]), Q(pk__in=[])
    for verdict in Verdict:
        cut = _cut(now, keep[verdict])
        if cut is not None:
            # Both: a slot of last year that was run yesterday is yesterday's.
            aged |= Q(verdict=verdict, planned_at__lt=cut, ended_at__lt=cut)
            of_retired |= Q(verdict=verdict, entry__retired_at__lt=cut)
    accounted = Q(slot_at=None) | Q(slot_at__lte=F("entry__accounted_until"))
    # Written as NOT: for state = 'done' or inspect_at IS NULL, SQLite reads all such rows along that index
    # instead of the thousand that are asked about.
    over = ~Q(state__in=[state for state in State if state != State.DONE]) & ~Q(inspect_at__isnull=False)
    return over & accounted & aged & (of_retired | (Exists(later) & ~needed)) & Q(~Exists(reported))


def _prune_runs(
    now: datetime, keep: Mapping[str, timedelta | None], pace: Pace, dry_run: bool
) -> Iterator[tuple[str, int]]:
    cuts = [cut for verdict in Verdict if (cut := _cut(now, keep[verdict])) is not None]
    if not cuts:
        return
    may_go = doomed(now, keep)
    after: tuple[datetime, int] | None = None
    while not pace.is_over:
        window = list(window_of(max(cuts), after)[:LARGEST])
        if not window:
            return
        after = window[-1][1], window[-1][0]
        found = Run.objects.using(conf.database).filter(may_go, pk__in=[pk for pk, _ in window])
        by_verdict: dict[str, list[int]] = {}
        for pk, verdict in found.values_list("pk", "verdict"):
            by_verdict.setdefault(verdict, []).append(pk)
        for verdict, ids in by_verdict.items():
            yield verdict, len(ids) if dry_run else _delete_batches(ids, may_go, pace)


def _delete_batches(ids: list[int], may_go: Q, pace: Pace) -> int:
    count = 0
    while ids and not pace.is_over:
        batch, ids = ids[: pace.size], ids[pace.size :]
        count += pace.timed(lambda batch=batch: _delete_runs(batch, may_go))  # type: ignore[misc]
    return count


def window_of(before: datetime, after: tuple[datetime, int] | None) -> QuerySet[Run, tuple[int, datetime]]:
    """List runs planned before *before*, oldest first, from behind *after*: along one index, nothing is sorted."""
    # Nothing but the moment: a state here, and SQLite reads along another index and sorts all that is done.
    rows = Run.objects.using(conf.database).filter(planned_at__lt=before)
    if after is not None:
        at, pk = after
        rows = rows.filter(planned_at__gte=at).exclude(planned_at=at, pk__lte=pk)
    # By an alias: what is selected is mended where it is no moment, and ordering by that would sort all rows.
    return rows.alias(at=F("planned_at")).order_by("at", "pk").values_list("pk", "planned_at")


@verb
def _delete_runs(ids: Sequence[int], may_go: Q) -> int:
    with writing() as using:
        # Looked at again under the lock: somebody may have reopened one to try it again.
        found = lock_free(Run.objects.using(using).filter(may_go, pk__in=ids).order_by("pk"), using, "self")
        going = list(found.values_list("pk", flat=True))
        attempts = Attempt.objects.using(using).filter(run__in=going)
        _raw_delete(OutputChunk.objects.using(using).filter(attempt__in=attempts.values("pk")))
        _raw_delete(WorkReport.objects.using(using).filter(attempt__in=attempts.values("pk")))
        _raw_delete(attempts)
        Incident.objects.using(using).filter(run__in=going).update(run=None)
        _raw_delete(Run.objects.using(using).filter(pk__in=going))
    return len(going)


def _others(
    now: datetime, keep: Mapping[str, timedelta | None]
) -> Iterator[tuple[str, type[models.Model], QuerySet[Any]]]:
    yield "ranges", Range, old_ranges(now, keep)
    if (cut := _cut(now, keep["incidents"])) is not None:
        unsent = Delivery.objects.filter(incident=OuterRef("pk"), next_try_at__isnull=False)
        closed = Incident.objects.using(conf.database).filter(opened_at__lt=cut, closed_at__lt=cut)
        yield "incidents", Incident, closed.filter(~Exists(unsent))
    if (cut := _cut(now, keep["audit"])) is not None:
        yield "audit_events", AuditEvent, AuditEvent.objects.using(conf.database).filter(at__lt=cut)
    silent = Heartbeat.objects.using(conf.database).filter(expected_by__lt=now - HEARTBEATS_KEPT)
    yield "heartbeats", Heartbeat, silent


def old_ranges(now: datetime, keep: Mapping[str, timedelta | None]) -> QuerySet[Range]:
    """Return the ranges that may go, found entry by entry along their index."""
    old = Q(pk__in=[])
    cuts = {verdict: _cut(now, keep[verdict]) for verdict in Verdict}
    for verdict, cut in cuts.items():
        if cut is not None:
            old |= Q(verdict=verdict, last_at__lt=cut)
    newest = max(filter(None, cuts.values()), default=now)
    rows = Range.objects.using(conf.database).filter(entry__in=Entry.objects.values("pk"), last_at__lt=newest)
    return rows.filter(old, last_at__lte=F("entry__accounted_until"))


def _prune_plain(model: type[models.Model], old: QuerySet[Any], pace: Pace, dry_run: bool) -> int:
    if dry_run:
        return old.count()
    count = 0
    while not pace.is_over and (ids := list(old.values_list("pk", flat=True)[: pace.size])):
        count += pace.timed(lambda ids=ids: _delete_plain(model, ids))  # type: ignore[misc]
    return count


@verb
def _delete_plain(model: type[Any], ids: Sequence[int]) -> int:
    with writing() as using:
        if model is Incident:
            _raw_delete(Delivery.objects.using(using).filter(incident__in=ids))
        return _raw_delete(model.objects.using(using).filter(pk__in=ids))


def _raw_delete(rows: QuerySet[Any]) -> int:
    # delete() would load each row, with its traceback, to look for what hangs on it: that went just before.
    return int(rows._raw_delete(rows.db) or 0)


def _cut(now: datetime, keep: timedelta | None) -> datetime | None:
    return None if keep is None else now - keep
