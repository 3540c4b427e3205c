"""What the first page asks: what is wrong now, what did not run, what runs now, what ran last and runs next.

At most twelve statements, whoever asks, whatever is wrong and however many rows there are; each reads along an index,
and stops after READ rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Generic, TypeVar, cast

from django.db import DatabaseError, connections
from django.db.models import BigIntegerField, QuerySet, Value
from django.db.models.expressions import RawSQL

from crons import ledger
from crons.conf import conf
from crons.exceptions import LedgerUnavailable
from crons.models import UNREMARKABLE, Attempt, Entry, Heartbeat, Incident, Pause, Range, Run, not_well
from crons.presentation import UNWANTED
from crons.verdicts import MEANINGS, State, Verdict
from crons.watch import READ, Look, Problem, Usual, find_problems, usual_of
from crons.web import rights
from crons.web.acts import CANCEL, END, PAUSE, RETRY, RUN, stamp_of
from crons.web.folding import Folded, fold

T = TypeVar("T")
Visible = Callable[..., QuerySet[Any]]
SHOWN = 20
# What may be done from the page.
ASKED = (
    rights.VIEW,
    "crons.acknowledge_incident",
    *(f"crons.{each.permission}" for each in (RUN, PAUSE, END, CANCEL, RETRY)),
)
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
    Cost: ten statements, and one more where something runs; for who sees all one where a declared job has no row, for
    others one for what they may see and do.
    """
    sees_all = user is None or all(rights.may_all(user, each) for each in (rights.VIEW, rights.VIEW_RUN))
    try:
        if sees_all:
            return _look(window, Look(now), None)
        return _look(window, Look(now, partial(_visible, user), partial(rights.tell, user)), user)
    except DatabaseError as error:
        raise LedgerUnavailable(f"the database did not answer: {error}") from error


def _visible(user: Any, rows: QuerySet[Any], permission: str = rights.VIEW) -> QuerySet[Any]:
    if rows.model is Incident:
        return rights.concerning(user, rows, permission)
    # A rule asks for the attempts that go on without a word of runs: what they show is their runs'.
    rows = rights.visible(user, rows, rights.VIEW_RUN) if rows.model is Attempt else rows
    return rights.visible(user, rows, permission)


def _look(window: timedelta, seen: Look, user: Any) -> Board:
    """Read the board; *user* is None where all may be seen."""
    visible: Visible = seen.visible
    of_runs: Visible = visible if user is None else partial(_visible, user, permission=rights.VIEW_RUN)
    since = seen.now - window
    bad, newest = _runs(since, of_runs, seen)
    did_not_run = _did_not_run(bad, since, of_runs)
    ended_last, succeeded = _ended_last(newest, seen)
    running = Listed.of(seen.going)
    paused = Listed.of(list(visible(ledger.active_pauses(seen.now, conf.database))[: READ + 1]))
    problems = find_problems(seen)
    if user is not None:
        others = [each.entry_id for each in paused.rows] + [each.entry.pk for each in did_not_run.rows]
        others += [each.run.entry_id for each in running.rows] + [each.pk for each in seen.entries]
        problems = _told(user, problems, others)
    return Board(
        as_of=seen.now,
        since=since,
        unwatched_since=_unwatched_since(seen),
        problems=Listed.of(problems),
        folded=Listed.of(fold(problems)),
        paused=paused,
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
        stamps={run.pk: stamp_of(run) for run in bad},
    )


def _told(user: Any, problems: list[Problem], others: list[int | None]) -> list[Problem]:
    """Leave out what is wrong with entries that *user* may not see, whichever rule found it.

    With the rights of the buttons, of these and of *others* that are shown: whoever asks for them finds them known.
    """
    about = {each.row.pk for each in problems if each.row}
    may_see = rights.permitted_each(user, ASKED, about.union(each for each in others if each))[rights.VIEW]
    return [
        each
        for each in problems
        if (each.row.pk in may_see if each.row else not (each.entry or each.kind in NAMES_OTHERS))
    ]


def _runs(since: datetime, of_runs: Visible, seen: Look) -> tuple[list[Run], list[Run]]:
    """Read what has not ended well since *since*, and the runs planned last; the newest first.

    In one statement, which counts also what succeeded since *since*, up to MOST_COUNTED and one. That is not counted
    for who may see some entries only: it would read the runs of all. So would looking for the newest of a few entries
    among all: these are read entry by entry.
    """
    runs = Run.objects.using(conf.database)
    planned = of_runs(runs).order_by("-planned_at", "-pk")
    unwell = not_well(planned, "verdict").filter(planned_at__gte=since)[: READ + 1]
    of_each = NEWEST
    if not seen.sees_all and len(seen.entries) < READ:
        of_each = min(max(MOST_LOOKED_UP // max(len(seen.entries), 1), 2), NEWEST)
        planned = planned.filter(ledger.are_newest([each.pk for each in seen.entries], of_each))
    counted: Any = Value(None, output_field=BigIntegerField())
    if seen.sees_all:
        moment = Run._meta.get_field("planned_at").get_db_prep_value(since, connections[conf.database])
        counted = RawSQL(COUNTED, (moment, MOST_COUNTED + 1), output_field=BigIntegerField())
    found = runs.filter(ledger.found_by("crons_run.id", (unwell, planned[:NEWEST]), conf.database))
    rows: list[Any] = list(found.select_related("entry").annotate(succeeded=counted).order_by("-planned_at", "-pk"))
    # Which of them they are shows by the rows: what has not ended well is newer than the newest only if it is of them.
    read: Counter[int] = Counter()
    newest: list[Run] = []
    for run in rows:
        read[run.entry_id] += 1
        if read[run.entry_id] <= of_each and len(newest) < NEWEST:
            newest.append(run)
    return [run for run in rows if run.verdict not in UNREMARKABLE and run.planned_at >= since][: READ + 1], newest


def _ended_last(newest: Sequence[Any], seen: Look) -> tuple[list[EndedLast], int | None]:
    """List which of the *newest* ended last, what is alike once; and how many succeeded, where that was counted."""
    ended = [cast("Run", each) for each in newest if each.state == State.DONE]
    ended.sort(key=lambda run: (run.ended_at or run.planned_at, run.pk), reverse=True)
    # A job that runs each minute must not hide the others.
    alike: dict[tuple[int, str, str], list[Run]] = {}
    for run in ended:
        alike.setdefault((run.entry_id, run.verdict, run.reason), []).append(run)
    last = [EndedLast(runs[0], len(runs) - 1) for runs in alike.values()]
    return last[:ENDED_LAST], newest[0].succeeded if newest else 0 if seen.sees_all else None


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


def _did_not_run(ended: Sequence[Run], since: datetime, of_runs: Visible) -> Listed[Ended]:
    """Group what *ended* other than well, so that a job that fails each minute does not hide the others."""
    ranges = of_runs(Range.objects.using(conf.database)).filter(last_at__gte=since).select_related("entry")
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
    return Listed(found, 0, len(ended) > READ or len(written_off) > READ)


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
