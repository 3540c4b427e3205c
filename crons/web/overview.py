"""What the first page asks: what is wrong now, what did not run, what runs now, what ran last and runs next.

Twelve statements, whatever the number of rows; each reads along an index, and stops after READ rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Generic, TypeVar, cast

from django.db import DatabaseError, connections
from django.db.models import BigIntegerField, OuterRef, QuerySet, Subquery, Value
from django.db.models.expressions import RawSQL

from crons import ledger
from crons.conf import conf
from crons.exceptions import LedgerUnavailable
from crons.models import Attempt, Entry, Heartbeat, Incident, Pause, Range, Run, not_well
from crons.presentation import UNWANTED
from crons.verdicts import MEANINGS, State, Verdict
from crons.watch import READ, Look, Problem, Usual, find_problems, usual_of
from crons.web import rights
from crons.web.acts import stamp_of
from crons.web.folding import Folded, fold

T = TypeVar("T")
SHOWN = 20
# Problems of no entry whose text names jobs.
NAMES_OTHERS = ("unsynced",)
# Of the runs planned last, so many are read to find those that ended last, and so many of these are shown.
NEWEST, ENDED_LAST = 60, 10
# For somebody who sees few entries, so many of their newest runs are looked up, of each two or more.
MOST_LOOKED_UP = 2 * READ
# To count a million rows takes longer than to show the page: this is more than anybody wants to know.
MOST_COUNTED = 10_000
COUNTED = """SELECT count(*) FROM (
    SELECT 1 FROM crons_run WHERE planned_at >= %s AND verdict = 'succeeded'
    ORDER BY planned_at DESC, id DESC LIMIT %s
) AS lately"""


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
        return self.verdict in UNWANTED


@dataclass(frozen=True)
class EndedLast:
    """A run that ended lately, and how many of its entry ended alike shortly before it."""

    run: Run
    before: int


@dataclass(frozen=True)
class Evidence:
    """What shows that a quiet system works: how many slots and requests ended how, since *since*.

    *succeeded* counts MOST_COUNTED at most, then it is *at_least* so many; None: not counted. The others are those that
    are listed.
    """

    since: datetime
    succeeded: int | None = 0
    at_least: bool = False
    others: tuple[tuple[str, int], ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing ended."""
        return self.succeeded == 0 and not self.others


@dataclass(frozen=True)
class Board:
    """One look at everything. *unwatched_since*: nothing has looked at the clock since then, though it should have."""

    as_of: datetime
    since: datetime
    unwatched_since: datetime | None
    problems: Listed[Problem]
    paused: Listed[Pause]
    schedulers: list[Heartbeat]
    running: Listed[Attempt]
    did_not_run: Listed[Ended]
    upcoming: Listed[ledger.UpcomingSlot]
    retired: Listed[Entry]
    ended_last: list[EndedLast] = field(default_factory=list)
    evidence: Evidence | None = None
    usual: dict[int, Usual] = field(default_factory=dict)
    entries: int = field(default=0)
    folded: Listed[Folded] = field(default_factory=lambda: Listed([]))
    wrong: int = 0
    # How the runs stood that did not end well, by their number.
    stamps: dict[int, str] = field(default_factory=dict)

    @property
    def shown(self) -> Iterator[int]:
        """The ids of the entries that some line is about, for whoever asks what may be done to them."""
        entries = [each.first.row for each in self.folded.rows] + [each.row for each in self.upcoming.rows]
        entries += [each.entry for each in self.did_not_run.rows] + [each.entry for each in self.paused.rows]
        yield from (each.pk for each in entries if each)
        yield from (each.run.entry_id for each in self.running.rows)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to tell of: no job has been declared yet."""
        return not (self.entries or self.problems.rows or self.retired.rows or self.ended_last or self.running.rows)

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong now."""
        return not self.problems.rows


def look(window: timedelta = timedelta(days=1), now: datetime | None = None, user: Any = None) -> Board:
    """Read the board as it stands; *window* is how far back it asks what did not run.

    With a *user*, only what that person may see.

    Raises: LedgerUnavailable if the database does not answer.
    Cost: eleven statements, and one more where something runs, one where a declared job has no row, three where runs
    wait.
    """
    sees_all = user is None or all(rights.may_all(user, each) for each in (rights.VIEW, rights.VIEW_RUN))
    try:
        if sees_all:
            return _look(window, Look(now), _all)
        visible = partial(_visible, user)
        return _look(window, Look(now, visible, partial(rights.tell, user)), visible)
    except DatabaseError as error:
        raise LedgerUnavailable(f"the database did not answer: {error}") from error


def _all(rows: QuerySet[Any], permission: str = "") -> QuerySet[Any]:
    return rows


def _visible(user: Any, rows: QuerySet[Any], permission: str = rights.VIEW) -> QuerySet[Any]:
    if rows.model is Incident:
        return rights.concerning(user, rows, permission)
    # A rule asks for the attempts that go on without a word of runs: what they show is their runs'.
    rows = rights.visible(user, rows, rights.VIEW_RUN) if rows.model is Attempt else rows
    return rights.visible(user, rows, permission)


def _look(window: timedelta, seen: Look, visible: Callable[..., QuerySet[Any]]) -> Board:
    since = seen.now - window
    did_not_run, stamps = _did_not_run(since, visible)
    ended_last, succeeded = _ended_last(since, visible, seen.entries)
    running = Listed.of(seen.going)
    problems = _told(find_problems(seen), visible)
    return Board(
        as_of=seen.now,
        since=since,
        unwatched_since=_unwatched_since(seen),
        problems=Listed.of(problems),
        folded=Listed.of(fold(problems)),
        paused=Listed.of(list(visible(ledger.active_pauses(seen.now, conf.database))[: READ + 1])),
        schedulers=seen.schedulers,
        running=running,
        did_not_run=Listed(did_not_run.rows[:SHOWN], max(len(did_not_run.rows) - SHOWN, 0), did_not_run.at_least),
        upcoming=_upcoming(seen.entries, seen.now),
        retired=Listed.of(seen.retired),
        ended_last=ended_last,
        evidence=_evidence(since, succeeded, did_not_run),
        usual=usual_of({each.run.entry_id for each in running.rows}) if running.rows else {},
        entries=len(seen.entries),
        wrong=len(problems),
        stamps=stamps,
    )


def _told(problems: list[Problem], visible: Callable[..., QuerySet[Any]]) -> list[Problem]:
    """Leave out what is wrong with entries that this person may not see, whichever rule found it."""
    if visible is _all:
        return problems
    entries = Entry.objects.using(conf.database)
    names = {each.entry for each in problems if each.entry}
    # By rows that are read at most READ at a time for each rule.
    seen = set(visible(entries.filter(name__in=names)).values_list("name", flat=True)) if names else names
    return [each for each in problems if each.entry in seen or not (each.entry or each.kind in NAMES_OTHERS)]


def _ended_last(
    since: datetime, visible: Callable[..., QuerySet[Any]], entries: Sequence[Entry]
) -> tuple[list[EndedLast], int | None]:
    """List what ended last, what is alike once; and count what succeeded since *since*, up to MOST_COUNTED and one.

    In one statement: neither depends on the other's rows. Not counted for who may see some entries only: that would
    read the runs of all. So would looking for the newest of a few *entries* among all: these are read entry by entry,
    in one statement more.
    """
    # Not joined: SQLite begins a join with the few entries, reads all their runs and sorts them.
    entry = Entry.objects.using(conf.database).filter(pk=OuterRef("entry_id"))
    moment = Run._meta.get_field("planned_at").get_db_prep_value(since, connections[conf.database])
    runs = visible(Run.objects.using(conf.database), rights.VIEW_RUN)
    counted = RawSQL(COUNTED, (moment, MOST_COUNTED + 1), output_field=BigIntegerField())
    rows = runs.annotate(
        name=Subquery(entry.values("name")[:1]),
        zone=Subquery(entry.values("zone")[:1]),
        succeeded=counted if visible is _all else Value(None, output_field=BigIntegerField()),
    )
    if visible is not _all and len(entries) < READ:
        of_each = max(MOST_LOOKED_UP // max(len(entries), 1), 2)
        newest_of = ledger.newest_runs([each.pk for each in entries])
        rows = rows.filter(pk__in=[run.run_id for each in newest_of.values() for run in each[:of_each]])
    newest = list(rows.order_by("-planned_at", "-pk")[:NEWEST])
    for row in newest:
        row.entry = Entry(pk=row.entry_id, name=row.name, zone=row.zone)
    ended = [cast("Run", each) for each in newest if each.state == State.DONE]
    ended.sort(key=lambda run: (run.ended_at or run.planned_at, run.pk), reverse=True)
    # A job that runs each minute must not hide the others.
    alike: dict[tuple[int, str, str], list[Run]] = {}
    for run in ended:
        alike.setdefault((run.entry_id, run.verdict, run.reason), []).append(run)
    last = [EndedLast(runs[0], len(runs) - 1) for runs in alike.values()]
    return last[:ENDED_LAST], newest[0].succeeded if newest else 0 if visible is _all else None


def _evidence(since: datetime, succeeded: int | None, did_not_run: Listed[Ended]) -> Evidence:
    others: Counter[str] = Counter()
    for group in did_not_run.rows:
        others[group.verdict] += group.count
    order = list(Verdict)
    found = tuple(sorted(others.items(), key=lambda item: order.index(Verdict(item[0]))))
    if succeeded is None:
        return Evidence(since, None, did_not_run.at_least, found)
    return Evidence(since, min(succeeded, MOST_COUNTED), succeeded > MOST_COUNTED or did_not_run.at_least, found)


def _unwatched_since(seen: Look) -> datetime | None:
    """Return when anything last planned any entry; None where that was just now, or a scheduler lives."""
    if seen.schedulers or not seen.overdue:
        return None
    newest = max((each.accounted_until for each in [*seen.entries, *seen.overdue]), default=seen.now)
    return newest if newest < seen.late else None


def _did_not_run(since: datetime, visible: Callable[..., QuerySet[Any]]) -> tuple[Listed[Ended], dict[int, str]]:
    """Group what ended other than well, so that a job that fails each minute does not hide the others.

    Returns: the groups, and how each of their runs stood.
    """
    runs = not_well(visible(Run.objects.using(conf.database), rights.VIEW_RUN), "verdict").filter(planned_at__gte=since)
    ended = list(runs.select_related("entry").order_by("-planned_at", "-pk")[: READ + 1])
    ranges = (
        visible(Range.objects.using(conf.database), rights.VIEW_RUN).filter(last_at__gte=since).select_related("entry")
    )
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
    return Listed(found, 0, len(ended) > READ or len(written_off) > READ), {run.pk: stamp_of(run) for run in ended}


def _group(groups: dict[tuple[int, str, str], Ended], row: Run | Range, first: datetime, last: datetime) -> Ended:
    key = (row.entry_id, row.verdict, row.reason)
    if key not in groups:
        groups[key] = Ended(row.entry, row.verdict, row.reason, first, last)
    group = groups[key]
    group.first_at, group.last_at = min(group.first_at, first), max(group.last_at, last)
    return group


def _upcoming(soonest: Sequence[Entry], now: datetime) -> Listed[ledger.UpcomingSlot]:
    """Take the next slot of each entry: a job that runs each minute must not hide the others."""
    slots = [slot for each in soonest for slot in ledger.slots_of(each, now, 1)]
    return Listed.of(sorted(slots, key=lambda slot: (slot.at, slot.entry)), read=READ - 1)
