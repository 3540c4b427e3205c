"""Beginning: row → attempt with a lease, committed before anything is run. Sending: row → message to others.

A due run belongs to nobody, so a crash between record and begin leaves it for anyone. A message is a hint, never a
claim: the run keeps its place in the ledger, is sent again while nobody has begun it, and ends as missed when its time
is over. So a message may be lost, doubled or late: whoever begins the run first has it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from django.db import DatabaseError, IntegrityError

from crons.attempts import Begun, RunMessage, Unstarted
from crons.conf import conf
from crons.exceptions import LedgerUnavailable
from crons.hosts.instances import Instance, boottime
from crons.ledger import handover, rows
from crons.ledger.queue import Queue, Sought, lock_places, lock_places_to_send, seconds_late
from crons.ledger.transactions import verb, writing
from crons.models import Attempt, Deployment, Run
from crons.verdicts import State

BEGUN = ["state", "wake_at", "tries", "current_attempt", "active_key", "sends", "late_seconds"]
SENT = ["state", "wake_at", "sends", "detail"]
# How often begin looks again where another was quicker, and leases anew where the database is slow.
TRIES = 3
FIRST_PAUSE = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(minutes=15)


def begin(
    now: datetime,
    free: Mapping[str, int],
    known_jobs: Collection[str],
    instance: Instance,
    *,
    only_run: int | None = None,
    arrived: bool = False,
    unstarted: Unstarted | None = None,
) -> list[Begun]:
    """Begin as many due runs as there is room for; their leases start now. *settle* comes before.

    Args: *free* is how many attempts each executor, by alias, can start; *known_jobs* are those this
    process can run; *only_run* begins that one or nothing; *arrived* says that a message brought it here;
    *unstarted* is given what may be committed, or may be later, and is not returned.
    Returns: attempts that are committed and that nobody else has begun.
    Raises: LedgerUnavailable if it cannot be known what was committed: then nothing may be run.
    """
    room = {alias: count for alias, count in free.items() if count > 0}
    if not room or not known_jobs:
        return []
    unstarted = Unstarted() if unstarted is None else unstarted
    clock = _Clock(now)
    begun = _begin_or_read_back(clock, Sought(room, known_jobs, only_run, arrived=arrived), instance, unstarted)
    return _leased_long_enough(begun, clock, unstarted)


@verb
def send(now: datetime, room: Mapping[str, int], *, only_run: int | None = None) -> list[RunMessage]:
    """Mark as sent what is due to be begun elsewhere, and return what to send; it is sent after the commit.

    Args: *room* is how many messages each executor, by alias, takes now. Of an entry whose runs may not
    overlap one run is under way at a time, so that slots keep their order; of a group as many as it has places.
    """
    wanted = {alias: count for alias, count in room.items() if count > 0}
    if not wanted:
        return []
    with writing() as using:
        places = lock_places_to_send(now, using)
        chosen = Queue(now, Sought(wanted, None, only_run, sending=True), places, using).choose()
        adopted = Deployment.objects.using(using).values_list("identity", flat=True).first() or ""
        messages = []
        for run, policy in chosen:
            run.sends += 1
            run.state, run.wake_at = State.SENT, now + pause_after(run.sends)
            run.detail = f"sent to {policy.executor}"[:255]
            messages.append(handover.message(run, policy, adopted))
        rows.update([run for run, _ in chosen], SENT, using)
    return messages


def pause_after(sends: int) -> timedelta:
    """Say how long a run that was sent so often is left to be begun before it is sent again."""
    doublings = min(max(sends - 1, 0), 10)
    return min(FIRST_PAUSE * (1 << doublings), LONGEST_PAUSE)


def read_attempt(attempt: int) -> Begun | None:
    """Return a running attempt as its executor got it, or None if there is no such attempt."""
    found = Attempt.objects.using(conf.database).filter(pk=attempt, outcome="").select_related("run__entry").first()
    if found is None:
        return None
    return handover.begun([found], conf.database)[0]


class _Clock:
    """The database's time without another query: *now*, and what has passed since."""

    def __init__(self, now: datetime) -> None:
        self.started_at = boottime()
        self._now = now

    def now(self) -> datetime:
        """Return *now* until so much time has passed that it matters to a lease."""
        passed = boottime() - self.started_at
        return self._now + timedelta(seconds=passed) if passed > _slow_seconds() else self._now


def _slow_seconds() -> float:
    """Say how old a lease may be when its attempt is started; as long as the ledger waits for a lock."""
    return (conf.lease / 9).total_seconds()


def _begin_or_read_back(clock: _Clock, sought: Sought, instance: Instance, unstarted: Unstarted) -> list[Begun]:
    issued: list[UUID] = []
    try:
        begun = _begin_some(clock, sought, instance, issued)
    except LedgerUnavailable as doubt:
        # The connection may have failed after the commit: the tokens show which attempts are there.
        unstarted.tokens.extend(issued)
        try:
            attempts = _read_back(issued)
        except DatabaseError:
            raise doubt from None
        # Tokens that were not found stay: a commit that waits for a standby, or in a pooler, may still happen.
        unstarted.forget(tokens=[attempt.token for attempt in attempts])
        begun = handover.begun(attempts, conf.database)
    return [replace(each, leased_at=clock.started_at) for each in begun]


def _begin_some(clock: _Clock, sought: Sought, instance: Instance, issued: list[UUID]) -> list[Begun]:
    for _ in range(TRIES):
        # A statement that waited for a lock, or began before another scheduler's commit, does not see the run of
        # the same entry that was begun there. The unique active_key refuses ours, nothing is written: try again.
        with suppress(IntegrityError):
            return _begin(clock, sought, instance, issued)
    return []


def _leased_long_enough(begun: list[Begun], clock: _Clock, unstarted: Unstarted) -> list[Begun]:
    """Start the leases anew where the commit took long, and return what is still ours.

    Otherwise a job would start on a lease that is nearly over, and another host would begin it as well.
    Raises: LedgerUnavailable where that takes as long: nothing may be started.
    """
    leased_at = clock.started_at
    ids = {each.attempt for each in begun}
    unstarted.attempts |= ids
    for _ in range(TRIES):
        if not begun or boottime() - leased_at <= _slow_seconds():
            unstarted.attempts -= ids
            return begun
        leased_at = boottime()
        owned = _lease_anew([each.attempt for each in begun], clock.now())
        begun = [replace(each, leased_at=leased_at) for each in begun if each.attempt in owned]
    raise LedgerUnavailable(
        f"the database took longer than {_slow_seconds():g} s to answer, again and again: what was begun is released"
    )


@verb
def _lease_anew(attempts: list[int], now: datetime) -> set[int]:
    with writing() as using:
        mine = Attempt.objects.using(using).filter(pk__in=attempts, outcome="")
        mine.update(begun_at=now, lease_until=now + conf.lease)
        return set(mine.values_list("pk", flat=True))


@verb
def _begin(clock: _Clock, sought: Sought, instance: Instance, issued: list[UUID]) -> list[Begun]:
    with writing() as using:
        places = lock_places(using)
        chosen = Queue(clock.now(), sought, places, using).choose()
        # Waiting for the locks may have taken long, and leases start now.
        now = clock.now()
        attempts = [_attempt(run, policy.executor, now, instance) for run, policy in chosen]
        issued.extend(attempt.token for attempt in attempts)
        ids = dict(rows.insert(attempts, using, returning=("run", "id")))
        for (run, policy), attempt in zip(chosen, attempts, strict=True):
            attempt.pk = run.current_attempt = ids[run.pk]
            run.state, run.wake_at, run.tries, run.sends = State.RUNNING, None, attempt.number, 0
            run.active_key = None if policy.overlap == "allow" else run.entry_id
            if attempt.number == 1:
                run.late_seconds = seconds_late(run, policy, now)
        rows.update([run for run, _ in chosen], BEGUN, using)
        return handover.begun(attempts, using)


def _attempt(run: Run, executor: str, now: datetime, instance: Instance) -> Attempt:
    return Attempt(
        run=run,
        number=run.tries + 1,
        token=uuid4(),
        executor=executor,
        instance=instance.name,
        host=instance.host,
        pid=instance.pid,
        boot_id=instance.boot_id,
        begun_at=now,
        lease_until=now + conf.lease,
    )


def _read_back(issued: list[UUID]) -> list[Attempt]:
    found = Attempt.objects.using(conf.database).filter(token__in=issued, outcome="")
    return list(found.select_related("run__entry"))
