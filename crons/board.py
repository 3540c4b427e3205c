"""What the first page asks: what is wrong now, what did not run, what runs now and next.

Nine statements, whatever the number of rows; each reads along an index, and stops after READ rows or WAITING_READ.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

from django.db import DatabaseError
from django.db.models import BooleanField, Exists, Model, OuterRef, Q, QuerySet, Subquery
from django.db.models.expressions import RawSQL
from django.db.models.functions import Now

from crons import ledger
from crons.conf import conf
from crons.exceptions import CronsError, LedgerUnavailable
from crons.instances import is_gone
from crons.jobs import registry
from crons.models import UNREMARKABLE, Attempt, Entry, Heartbeat, Incident, Pause, Range, Run
from crons.schedules import FAR_FUTURE
from crons.telling import BAD
from crons.verdicts import MEANINGS, State

T = TypeVar("T")
M = TypeVar("M", bound=Model)
READ = 300
# Runs that wait are few columns each, and those of one entry must not hide the others.
WAITING_READ = 10_000
SHOWN = 20
# Before any lease: an attempt that goes on has one, all others have none, so that this reads the few rows of an index.
EVER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Listed(Generic[T]):
    """The first rows of a list, and how many follow; *at_least* where not all of them were read."""

    rows: list[T]
    more: int = 0
    at_least: bool = False

    @classmethod
    def of(cls, rows: Sequence[T], shown: int = SHOWN, read: int = READ) -> Listed[T]:
        """Keep the first *shown* of *rows*, of which one more than *read* were asked for."""
        whole = rows[:read]
        return cls(list(whole[:shown]), max(len(whole) - shown, 0), len(rows) > read)


@dataclass(frozen=True)
class Trouble:
    """Something that is wrong now; *kind* is broken, parked, overdue, waiting, scheduler or an incident's rule."""

    kind: str
    text: str
    entry: Entry | None = None
    run_id: int | None = None
    since: datetime | None = None


@dataclass
class Ended:
    """Slots of one entry that ended alike, other than well; *run_id* is the newest of them that has a run."""

    entry: Entry
    verdict: str
    reason: str
    first_at: datetime
    last_at: datetime
    count: int = 0
    detail: str = ""
    run_id: int | None = None

    @property
    def meaning(self) -> str:
        """Why it ended so, in a sentence."""
        return MEANINGS.get(self.reason or self.verdict, "")

    @property
    def is_bad(self) -> bool:
        """Whether nobody wanted it so."""
        return self.verdict in BAD


@dataclass(frozen=True)
class Coming:
    """A slot of *entry* that has not come yet."""

    at: datetime
    entry: Entry
    paused: bool


@dataclass(frozen=True)
class Board:
    """One look at everything. *unwatched_since*: nothing has looked at the clock since then, though it should have."""

    as_of: datetime
    since: datetime
    enabled: bool
    unwatched_since: datetime | None
    troubles: Listed[Trouble]
    paused: Listed[Pause]
    schedulers: list[Heartbeat]
    running: Listed[Attempt]
    did_not_run: Listed[Ended]
    coming: Listed[Coming]
    entries: int = field(default=0)

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong now."""
        return not self.troubles.rows and self.unwatched_since is None and self.enabled


def look(window: timedelta = timedelta(days=1), now: datetime | None = None) -> Board:
    """Read the board as it stands; *window* is how far back it asks what did not run.

    Raises: LedgerUnavailable if that cannot be told.
    Cost: nine statements.
    """
    try:
        return _look(window, now)
    except DatabaseError as error:
        raise LedgerUnavailable(f"the database did not answer: {error}") from error


def not_well(rows: QuerySet[M], column: str) -> QuerySet[M]:
    """Keep the rows that ended other than well; *column* is where their ending stands.

    Written out, not as parameters: else SQLite does not see that an index holds just these.
    """
    words = ", ".join(f"'{word}'" for word in UNREMARKABLE)
    term = f"NOT ({rows.model._meta.db_table}.{column} IN ({words}))"
    return rows.filter(RawSQL(term, (), output_field=BooleanField()))


@dataclass
class Waiting:
    """Runs of one entry, of which *run_id* is the first, that nobody begins. The entry is not whole."""

    entry: Entry
    run_id: int
    since: datetime
    count: int = 0
    at_least: bool = False
    sends: int = 0
    detail: str = ""

    @property
    def why(self) -> str:
        """Say what may keep the first of them; of one that travels, what became of its last message."""
        if not self.sends:
            return f"no place has come free, or no running process knows the job {self.entry.job!r}"
        return f"no worker begins it, after {self.sends} message(s); of the last: {self.detail or 'nothing known'}"


def waiting(late: datetime) -> list[Waiting]:
    """List the entries whose runs should have begun before *late*, and none of whose has been going since.

    Slots, and what somebody asked for again or after all; where one after the other is run, they wait well.
    Cost: one statement, two where any wait; of a million runs that are over it reads none.
    """
    runs = Run.objects.using(conf.database)
    active = runs.filter(active_key=OuterRef("entry_id"))
    held = Entry.objects.filter(pk=OuterRef("entry_id"), paused_at__isnull=False)
    # Joined or grouped, SQLite begins with the entries and then reads all their runs: a second for a million.
    # What is sent again and again moves its moment on: that nobody takes it, or the broker nothing, shows by the count.
    returned = Q(state__in=[State.DUE, State.WAITING], sends=1, planned_at__lt=late)
    resent = runs.filter(Q(sends__gte=2) | returned, state__in=[State.DUE, State.SENT, State.WAITING]).values("pk")
    due = runs.filter(state__in=[State.DUE, State.SENT, State.WAITING], wake_at__lt=late)
    # Either by its index: of one condition with an OR in it, SQLite makes a scan.
    unbegun = runs.filter(pk__in=due.values("pk").union(resent))
    stuck = unbegun.filter(~Exists(active), ~Exists(held)).order_by("wake_at")
    named = stuck.annotate(**{f"entry_{name}": _of_entry(name) for name in ("name", "job", "zone")})
    found: dict[int, Waiting] = {}
    columns = ("pk", "entry_id", "wake_at", "planned_at", "sends", "detail", "entry_name", "entry_job", "entry_zone")
    rows = list(named.values_list(*columns)[: WAITING_READ + 1])
    for pk, entry_id, wake_at, planned_at, sends, detail, name, job, zone in rows[:WAITING_READ]:
        if entry_id not in found:
            entry = Entry(pk=entry_id, name=name, job=job, zone=zone)
            since = planned_at if sends else wake_at
            found[entry_id] = Waiting(entry, pk, since, at_least=len(rows) > WAITING_READ, sends=sends, detail=detail)
        found[entry_id].count += 1
    served = _served_since(late) if found else set()
    return [each for entry_id, each in found.items() if entry_id not in served]


def _served_since(late: datetime) -> set[int]:
    newest = Attempt.objects.using(conf.database).order_by("-pk")
    rows = newest.values_list("run__entry_id", "begun_at", "ended_at")[:READ]
    return {entry_id for entry_id, begun_at, ended_at in rows if (ended_at or begun_at) >= late}


def _of_entry(column: str) -> Subquery:
    return Subquery(Entry.objects.filter(pk=OuterRef("entry_id")).values(column)[:1])


def slots_of(entry: Entry, after: datetime, count: int) -> Iterator[Coming]:
    """Yield the next *count* slots of *entry*; none where its texts cannot be read."""
    if entry.retired_at is not None:
        return
    try:
        account = ledger.account_of(entry)
    except CronsError:
        return
    at = after
    for _ in range(count):
        at = account.schedule.next_after(at, account.tz)
        if at >= FAR_FUTURE:
            return
        paused = entry.paused_at is not None and (entry.paused_until is None or at <= entry.paused_until)
        yield Coming(at, entry, paused)


def going() -> QuerySet[Attempt]:
    """Return the attempts that go on, the oldest first, with their runs and entries."""
    rows = Attempt.objects.using(conf.database).filter(lease_until__gt=EVER)
    return rows.select_related("run__entry").defer("error").order_by("begun_at", "pk")


def _look(window: timedelta, now: datetime | None) -> Board:
    entries = Entry.objects.using(conf.database).filter(retired_at=None)
    # With the database's time: a statement less than asking for it.
    soonest = list(entries.annotate(asked_at=Now()).order_by("wake_at", "name")[:READ])
    now = now or (soonest[0].asked_at if soonest else ledger.database_now())
    since = now - window
    late = now - conf.grace
    due = Q(wake_at__lt=late) | Q(wake_at__isnull=True, accounted_until__lt=late)
    held = entries.filter(due | ~Q(parked_reason=""))
    found = list(held.order_by("-parked_reason", "wake_at", "name")[: 2 * READ])
    overdue = [each for each in found if (each.wake_at or each.accounted_until) < late and not each.parked_reason]
    beats = list(Heartbeat.objects.using(conf.database).order_by("host", "started_at")[:READ])
    silent = list(_silent(beats, now))
    alive = [beat for beat in beats if beat not in [each for each, _ in silent]]
    troubles = [
        *(Trouble("broken", text) for text in broken()),
        *_parked(found),
        *(Trouble("scheduler", text, since=beat.beat_at) for beat, text in silent),
        *_incidents(),
        *_waiting(late),
        *_overdue(overdue),
    ]
    return Board(
        as_of=now,
        since=since,
        enabled=conf.enabled,
        unwatched_since=_unwatched_since([*soonest, *overdue], late) if overdue and not alive else None,
        troubles=Listed.of(troubles),
        paused=Listed.of(list(ledger.standing(now, conf.database)[: READ + 1])),
        schedulers=alive,
        running=Listed.of(list(going()[: READ + 1])),
        did_not_run=_did_not_run(since),
        coming=_coming(soonest, now),
        entries=len(soonest),
    )


def broken() -> list[str]:
    """Say which `cron` modules this process could not import, and so what it begins none of."""
    return [f"no job of {module} is begun here: {why}" for module, why in sorted(registry.broken.items())]


def _parked(found: Iterable[Entry]) -> Iterator[Trouble]:
    for entry in found:
        if entry.parked_reason:
            yield Trouble("parked", f"cannot be planned: {entry.parked_reason}", entry, since=entry.accounted_until)


def _overdue(found: Iterable[Entry]) -> Iterator[Trouble]:
    for entry in found:
        text = "was due, and nothing has looked" if entry.wake_at else "is declared, and nothing has looked yet"
        yield Trouble("overdue", text, entry, since=entry.wake_at or entry.accounted_until)


def _unwatched_since(entries: Iterable[Entry], late: datetime) -> datetime | None:
    """Return when anything last planned any entry; None where that was just now."""
    newest = max(entry.accounted_until for entry in entries)
    return newest if newest < late else None


def _silent(beats: Iterable[Heartbeat], now: datetime) -> Iterator[tuple[Heartbeat, str]]:
    for beat in beats:
        who = f"{beat.kind} on {beat.host} (pid {beat.pid})"
        if is_gone(beat.instance, beat.boot_id):
            yield beat, f"{who} was killed"
        elif beat.expected_by < now:
            yield beat, f"{who} is silent"


def _incidents() -> Iterator[Trouble]:
    rows = Incident.objects.using(conf.database).filter(open_key__isnull=False, closed_at=None)
    for each in rows.select_related("entry").order_by("-changed_at", "pk")[:READ]:
        times = f" ({each.count} times)" if each.count > 1 else ""
        yield Trouble(each.rule, f"{each.summary}{times}", each.entry, each.run_id, each.opened_at)


def _waiting(late: datetime) -> Iterator[Trouble]:
    """Say which runs nobody begins, though nothing of their entry is in the way."""
    for each in waiting(late):
        least = "at least " if each.at_least else ""
        runs_wait = "a run waits" if each.count == 1 else f"{least}{each.count} runs wait"
        yield Trouble("waiting", f"{runs_wait} to be begun: {each.why}", each.entry, each.run_id, each.since)


def _did_not_run(since: datetime) -> Listed[Ended]:
    """Group what ended other than well, so that a job that fails each minute does not hide the others."""
    runs = not_well(Run.objects.using(conf.database), "verdict").filter(planned_at__gte=since)
    ended = list(runs.select_related("entry").order_by("-planned_at", "-pk")[: READ + 1])
    ranges = Range.objects.using(conf.database).filter(last_at__gte=since).select_related("entry")
    written_off = list(ranges.order_by("-last_at", "-pk")[: READ + 1])
    groups: dict[tuple[int, str, str], Ended] = {}
    for run in ended[:READ]:
        group = _group(groups, run, run.planned_at, run.planned_at)
        group.count += 1
        group.run_id, group.detail = group.run_id or run.pk, group.detail or run.detail
    for each in written_off[:READ]:
        _group(groups, each, each.first_at, each.last_at).count += each.count
    found = sorted(groups.values(), key=lambda group: group.last_at, reverse=True)
    found.sort(key=lambda group: not group.is_bad)
    listed = Listed.of(found)
    return Listed(listed.rows, listed.more, len(ended) > READ or len(written_off) > READ)


def _group(groups: dict[tuple[int, str, str], Ended], row: Run | Range, first: datetime, last: datetime) -> Ended:
    key = (row.entry_id, row.verdict, row.reason)
    if key not in groups:
        groups[key] = Ended(row.entry, row.verdict, row.reason, first, last)
    group = groups[key]
    group.first_at, group.last_at = min(group.first_at, first), max(group.last_at, last)
    return group


def _coming(soonest: Sequence[Entry], now: datetime) -> Listed[Coming]:
    """Take the next slot of each entry: a job that runs each minute must not hide the others."""
    slots = [slot for each in soonest for slot in slots_of(each, now, 1)]
    return Listed.of(sorted(slots, key=lambda slot: (slot.at, slot.entry.name)), read=READ - 1)
