"""Beginning: row → attempt with a lease, committed before anything is run.

A due run belongs to nobody, so a crash between record and begin leaves it for anyone. Runs and
their entries are locked together, skipping what others hold: two schedulers that begin at once
never wait for each other, never choose the same run, and never two runs of one entry. Only who
asks for one run by its name waits for its row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from django.db import DatabaseError, IntegrityError, connections
from django.db.models import Exists, F, OuterRef

from crons.attempts import Begun, Unstarted
from crons.columns import UNREAD, unread
from crons.conf import conf
from crons.exceptions import CronsError, LedgerUnavailable
from crons.hosts.instances import Instance, boottime
from crons.jobs import Policy
from crons.ledger import rows
from crons.ledger.record import account_of, policy_of, request_effect_key, slot_key
from crons.ledger.transactions import verb, writing
from crons.ledger.verdict import end, write_ended
from crons.models import Attempt, Deployment, Entry, Run
from crons.schedules import FAR_FUTURE, FAR_PAST
from crons.verdicts import Kind, State, Verdict

BEGUN = ["state", "wake_at", "tries", "current_attempt", "active_key", "sends"]

LOOKS = 3


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
    begun = _begin_or_read_back(clock, Sought(room, known_jobs, (), only_run, arrived=arrived), instance, unstarted)
    return _leased_long_enough(begun, clock, unstarted)


class _Clock:
    """The database's time, which was *now* when this was made, without asking for it again."""

    def __init__(self, now: datetime) -> None:
        self.started_at = boottime()
        self._now = now

    def now(self) -> datetime:
        """Return what it was first, until it is so much later that it matters to a lease."""
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
        # The answer to a commit may have been cut off after it happened: the tokens tell.
        unstarted.tokens.extend(issued)
        try:
            attempts = _read_back(issued)
        except DatabaseError:
            raise doubt from None
        # Only of what is there: a commit that waits for a standby, or in a pooler, may come after this look.
        unstarted.forget(tokens=[attempt.token for attempt in attempts])
        windows = _windows([attempt.run for attempt in attempts], conf.database)
        begun = [_begun(attempt, attempt.run, windows) for attempt in attempts]
    return [replace(each, leased_at=clock.started_at) for each in begun]


def _begin_some(clock: _Clock, sought: Sought, instance: Instance, issued: list[UUID]) -> list[Begun]:
    for _ in range(LOOKS):
        # Who waited for a row, or looked a moment before another committed, does not see that a run of the
        # same entry has begun since. The unique key does: nothing was written, look again.
        with suppress(IntegrityError):
            return _begin(clock, sought, instance, issued)
    return []


def _leased_long_enough(begun: list[Begun], clock: _Clock, unstarted: Unstarted) -> list[Begun]:
    """Start the leases anew where the commit took long, and return what is still ours.

    Else a job would start on a lease that is nearly over, and another host would begin it as well.
    Raises: LedgerUnavailable where that takes as long: nothing may be started.
    """
    leased_at = clock.started_at
    ids = {each.attempt for each in begun}
    unstarted.attempts |= ids
    for _ in range(LOOKS):
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
        sought = replace(sought, full_groups=lock_full_groups(using))
        runs = candidates(clock.now(), sought, using)
        # Locks may have been waited for.
        now = clock.now()
        chosen = _choose(runs, now, sought.room, using)
        attempts = [_attempt(run, policy, now, instance) for run, policy in chosen]
        issued.extend(attempt.token for attempt in attempts)
        ids = dict(rows.insert(attempts, using, returning=("run", "id")))
        for (run, policy), attempt in zip(chosen, attempts, strict=True):
            attempt.pk = run.current_attempt = ids[run.pk]
            run.state, run.wake_at, run.tries, run.sends = State.RUNNING, None, attempt.number, 0
            run.active_key = None if policy.overlap == "allow" else run.entry_id
        rows.update([run for run, _ in chosen], BEGUN, using)
        windows = _windows([run for run, _ in chosen], using)
        return [_begun(attempt, run, windows) for attempt, (run, _) in zip(attempts, chosen, strict=True)]


# By hand: building this query took longer than running it, at each of a thousand begins.
CANDIDATES = """
SELECT r.id FROM crons_run r JOIN crons_entry e ON e.id = r.entry_id
WHERE r.state = %s AND r.wake_at <= %s /* queue */
AND (e.paused_at IS NULL OR e.paused_until <= %s OR r.kind = 'manual' OR r.asked_at >= e.paused_at)
AND NOT EXISTS (SELECT 1 FROM crons_run a WHERE a.active_key = r.entry_id)
"""
# What somebody asked for again or after all comes last: a hole of a thousand slots must not hold up the present.
QUEUE = "/* queue */"
QUEUES = (
    ("", State.DUE.value),
    ("AND r.asked_at IS NULL", State.WAITING.value),
    ("AND r.asked_at IS NOT NULL", State.WAITING.value),
)
# What was sent is the receiver's to begin; who sends looks at it again when its pause is over.
SENT_QUEUE = ("", State.SENT.value)
# Where runs of an entry may not overlap, one is under way at a time, and no slot overtakes one that was taken back.
# Who has to wait is left out here: among a number of rows that is limited it would keep others out for ever.
# What is open has a moment to wake at. Without that, and the + 0, SQLite reads what has ended as well, once it has
# statistics.
SENT = "state = 'sent' AND wake_at <= %s"
TAKEN_BACK = "state = 'due' AND wake_at <= %s AND sends > 0"
IN_ITS_TURN = """
AND ({overlap} = 'allow' OR (
    r.entry_id NOT IN (SELECT entry_id FROM crons_run WHERE {sent})
    OR r.id IN (SELECT MIN(id) FROM crons_run WHERE {sent} GROUP BY entry_id + 0)
) AND (
    r.state = 'sent' OR r.slot_at IS NULL OR r.asked_at IS NOT NULL
    OR r.entry_id NOT IN (SELECT entry_id FROM crons_run WHERE {taken_back})
    OR r.id IN (SELECT MIN(id) FROM crons_run WHERE {taken_back} GROUP BY entry_id + 0)
))
"""


@dataclass(frozen=True)
class Sought:
    """Which due runs are wanted; *room* by executor. *jobs* None: of any job, for others begin them.

    *arrived*: a message has brought *only_run*, so it is not too early, whenever it would be sent again.
    *sending*: also what was sent before and has not been begun since.
    """

    room: Mapping[str, int]
    jobs: Collection[str] | None
    full_groups: Collection[str]
    only_run: int | None = None
    arrived: bool = False
    sending: bool = False


def candidates(now: datetime, sought: Sought, using: str) -> list[Run]:
    """Lock and return due runs with their entries, more than there is room for; for use inside a transaction."""
    garbled: set[int] = set()
    while True:
        runs = _lock_candidates(now, sought, garbled, using)
        unread = {run.entry_id for run in runs if not is_readable(run.entry)}
        if not unread:
            return runs
        garbled |= unread  # what is garbled does not run, and must not stand before what does


def _lock_candidates(now: datetime, sought: Sought, garbled: Collection[int], using: str) -> list[Run]:
    connection = connections[using]
    moment, far = map(connection.ops.adapt_datetimefield_value, (now, FAR_FUTURE))
    sql = CANDIDATES
    values: list[Any] = [moment]
    if sought.sending:
        overlap = rows.json_text("e.policy", "overlap", using)
        sql += IN_ITS_TURN.format(overlap=overlap, sent=SENT, taken_back=TAKEN_BACK)
        values += [far] * 4
    for column, among, wanted in (
        ("e.job", sought.jobs or (), True),
        (rows.json_text("e.policy", "executor", using), sought.room, True),
        (rows.json_text("e.policy", "group", using), sought.full_groups, False),
        ("r.id", [sought.only_run] if sought.only_run is not None else [], True),
        ("e.id", garbled, False),
    ):
        if among:
            sql += f"AND {column} {'IN' if wanted else 'NOT IN'} ({', '.join(['%s'] * len(among))})\n"
            values += among
    # Whoever holds a row may pass it over: a door that left its own run out as well would say that nobody has it.
    lock = rows.for_update(using, "r", "e", skip_locked=sought.only_run is None)
    # More than there is room for: a second run of one entry, or an overtaken one, is passed over.
    sql += f"ORDER BY r.wake_at, r.id LIMIT {4 + 2 * sum(sought.room.values())} {lock}"
    queues = (*QUEUES, SENT_QUEUE) if sought.sending or sought.arrived else QUEUES
    ids: list[int] = []
    with connection.cursor() as cursor:
        # One state at a time: the index then yields the oldest first, however long the queue is.
        for queue, state in queues:
            # A retry that a message is too early for keeps its pause; what was sent has none for the receiver.
            at_once = sought.arrived and state != State.WAITING
            limit = far if at_once else moment
            cursor.execute(sql.replace(QUEUE, queue), [state, limit, *values])
            ids += [row[0] for row in cursor.fetchall()]
    if not ids:
        return []
    # Looked at again now that the entries are locked: the statement above may have begun before another
    # scheduler began a run of the same entry, whose active key then made this transaction fail.
    active = Run.objects.filter(active_key=OuterRef("entry_id"))
    found = Run.objects.using(using).filter(~Exists(active), pk__in=ids).select_related("entry")
    return sorted(found, key=lambda run: (run.asked_at is not None, run.wake_at or FAR_PAST, run.pk))


def _choose(runs: list[Run], now: datetime, room: Mapping[str, int], using: str) -> list[tuple[Run, Policy]]:
    left, groups = Counter(room), running_by_group(using) if conf.groups else Counter()
    chosen: list[tuple[Run, Policy]] = []
    over: list[Run] = []
    busy: set[int] = set()
    for run in runs:
        policy = policy_of(run.entry)
        limit = conf.groups.get(policy.group)
        if garbled := _garbled(run):
            end(run, Verdict.FAILED, now, detail=garbled)
            over.append(run)
        elif (run.state == State.WAITING or run.tries) and is_overtaken(run, using):
            end(run, Verdict.SUPERSEDED, now, detail="a newer slot succeeded before the retry")
            over.append(run)
        elif left[policy.executor] > 0 and run.entry_id not in busy and (limit is None or groups[policy.group] < limit):
            chosen.append((run, policy))
            left[policy.executor] -= 1
            groups[policy.group] += 1
            if policy.overlap != "allow":
                busy.add(run.entry_id)
    write_ended(over, using)
    return chosen


def _garbled(run: Run) -> str:
    """Say which column of a run's row cannot be read, by somebody's hand; nothing where all can."""
    if garbled := unread(args=run.args):
        return garbled
    needed = ("planned_at",) if run.kind == Kind.MANUAL else ("planned_at", "slot_at")
    return next((f"its column {name} holds no moment" for name in needed if getattr(run, name) in (None, UNREAD)), "")


def is_readable(entry: Entry) -> bool:
    """Say whether an entry's policy and arguments can be read; one that somebody has garbled does not run."""
    try:
        policy_of(entry)
    except CronsError:
        return False  # planning parks the entry and says so
    return not unread(args=entry.args)


def key_of(run: Run) -> str:
    """Return the run's key: the one that was written with it, whatever its entry is called by now."""
    if run.effect_key:
        return run.effect_key
    if run.slot_at is None:
        return request_effect_key(run.entry.name, str(run.request_key))
    return slot_key(run.entry.name, run.slot_at)


def keep_keys(entry: Entry, using: str) -> None:
    """Write down the keys of runs not over that were recorded before keys were, so that *entry* may be renamed."""
    unkept = Run.objects.using(using).filter(entry=entry, effect_key="").exclude(state=State.DONE)
    runs = list(unkept.select_related("entry"))
    for run in runs:
        run.effect_key = key_of(run)
    rows.update(runs, ["effect_key"], using)


def _attempt(run: Run, policy: Policy, now: datetime, instance: Instance) -> Attempt:
    return Attempt(
        run=run,
        number=run.tries + 1,
        token=uuid4(),
        executor=policy.executor,
        instance=instance.name,
        host=instance.host,
        pid=instance.pid,
        boot_id=instance.boot_id,
        begun_at=now,
        lease_until=now + conf.lease,
    )


def read_attempt(attempt: int) -> Begun | None:
    """Return a running attempt as its executor got it, or None if there is no such attempt."""
    found = Attempt.objects.using(conf.database).filter(pk=attempt, outcome="").select_related("run__entry").first()
    return _begun(found, found.run, _windows([found.run], conf.database)) if found is not None else None


def _read_back(issued: list[UUID]) -> list[Attempt]:
    found = Attempt.objects.using(conf.database).filter(token__in=issued, outcome="")
    return list(found.select_related("run__entry"))


def _begun(attempt: Attempt, run: Run, windows: Mapping[int, datetime | None]) -> Begun:
    entry = run.entry
    return Begun(
        attempt=attempt.pk,
        run=run.pk,
        entry=entry.name,
        job=entry.job,
        key=key_of(run),
        number=attempt.number,
        kind=run.kind,
        trigger=run.trigger,
        since=windows[run.pk] or _first_since(run),
        until=run.slot_at or run.planned_at,
        slot_at=run.slot_at,
        timeout=policy_of(entry).timeout,
        lease=conf.lease,
        args={**entry.args, **(run.args or {})},
        executor=attempt.executor,
        instance=attempt.instance,
    )


# COALESCE: what is no column itself SQLite's driver leaves unread, and `rows.moment` reads it.
WINDOWS = """
SELECT r.id, (
    SELECT COALESCE(s.slot_at, NULL) FROM crons_run s
    WHERE s.entry_id = r.entry_id AND s.verdict = 'succeeded' AND s.slot_at < COALESCE(r.slot_at, r.planned_at)
    ORDER BY s.slot_at DESC LIMIT 1
) FROM crons_run r WHERE r.id IN
"""


def _windows(runs: Collection[Run], using: str) -> dict[int, datetime | None]:
    """Return, per run, the last slot before it that succeeded: where its window of work begins."""
    if not runs:
        return {}
    with connections[using].cursor() as cursor:
        cursor.execute(f"{WINDOWS} ({', '.join(['%s'] * len(runs))})", [run.pk for run in runs])
        read = {pk: rows.moment(slot_at) for pk, slot_at in cursor.fetchall()}
    return {pk: None if slot_at == UNREAD else slot_at for pk, slot_at in read.items()}


def _first_since(run: Run) -> datetime:
    """Return where the window of a run begins before which nothing has succeeded."""
    entry, until = run.entry, run.planned_at
    if entry.first_seen_at < until or run.kind != Kind.BACKFILL:
        return entry.first_seen_at
    # Filled in from before the entry was known: as if the slot before it had succeeded.
    try:
        account = account_of(entry)
    except CronsError:
        return until  # somebody has garbled the row since; it must not keep everybody from beginning
    return account.schedule.latest(until - timedelta.resolution, account.tz)


def is_overtaken(run: Run, using: str) -> bool:
    """Say whether a newer slot of the run's entry has succeeded, so that it need not be tried again."""
    if run.slot_at is None or run.asked_at is not None:
        return False  # who asks for one slot wants that one
    newer = Run.objects.using(using).filter(entry=run.entry_id, verdict=Verdict.SUCCEEDED, slot_at__gt=run.slot_at)
    return newer.exists()


def lock_full_groups(using: str) -> list[str]:
    """Return the groups at their limit; until the transaction ends nobody else begins a run of any group."""
    limits = conf.groups
    if not limits:
        return []
    # Counting is only right while nobody else begins: a limit over all hosts needs one lock for all.
    list(Deployment.objects.using(using).select_for_update())
    running = running_by_group(using)
    return [group for group, limit in limits.items() if running[group] >= limit]


def full_groups(using: str) -> dict[str, int]:
    """Return the groups at their limit, with how many runs of each are going."""
    limits = conf.groups
    running = running_by_group(using) if limits else Counter()
    return {group: running[group] for group, limit in limits.items() if running[group] >= limit}


def running_by_group(using: str) -> Counter[str]:
    """Count the runs of each group that are going."""
    going = Run.objects.using(using).filter(state=State.RUNNING).annotate(group=F("entry__policy__group"))
    # What somebody has garbled is no group.
    return Counter(group for group in going.values_list("group", flat=True) if isinstance(group, str))
