"""What the first page asks: what is wrong now, what did not run, what runs now and next.

Eleven statements, whatever the number of rows; each reads along an index, and stops after READ rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Generic, TypeVar

from django.db import DatabaseError
from django.db.models import QuerySet

from crons import ledger
from crons.conf import conf
from crons.exceptions import LedgerUnavailable
from crons.models import Attempt, Entry, Heartbeat, Pause, Range, Run, not_well
from crons.presentation import UNWANTED
from crons.verdicts import MEANINGS
from crons.watch import READ, Look, Problem, find_problems
from crons.web import rights

T = TypeVar("T")
SHOWN = 20
# Retiring may have been a mistake, and what is missing does not show by itself.
RETIRED_LATELY = timedelta(days=7)
VIEW_RUN = "crons.view_run"
# Problems of no entry whose text names jobs.
NAMES_OTHERS = ("unsynced",)


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
    entries: int = field(default=0)

    @property
    def shown(self) -> Iterator[int]:
        """The ids of the entries that some line is about, for whoever asks what may be done to them."""
        entries = [each.row for each in self.problems.rows] + [each.row for each in self.upcoming.rows]
        entries += [each.entry for each in self.did_not_run.rows] + [each.entry for each in self.paused.rows]
        yield from (each.pk for each in entries if each)
        yield from (each.run.entry_id for each in self.running.rows)

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong now."""
        return not self.problems.rows


def look(window: timedelta = timedelta(days=1), now: datetime | None = None, user: Any = None) -> Board:
    """Read the board as it stands; *window* is how far back it asks what did not run.

    With a *user*, only what that person may see.

    Raises: LedgerUnavailable if that cannot be told.
    Cost: eleven statements; one more where a declared job has no row, three where runs wait.
    """
    try:
        return _look(
            window, now, _all if user is None or rights.may_all(user, rights.VIEW) else partial(rights.visible, user)
        )
    except DatabaseError as error:
        raise LedgerUnavailable(f"the database did not answer: {error}") from error


def _all(rows: QuerySet[Any], permission: str = "") -> QuerySet[Any]:
    return rows


def _look(window: timedelta, now: datetime | None, visible: Callable[..., QuerySet[Any]]) -> Board:
    seen = Look(now, visible)
    since = seen.now - window
    return Board(
        as_of=seen.now,
        since=since,
        unwatched_since=_unwatched_since(seen),
        problems=Listed.of(_told(find_problems(seen), visible)),
        paused=Listed.of(list(visible(ledger.active_pauses(seen.now, conf.database))[: READ + 1])),
        schedulers=seen.schedulers,
        running=Listed.of(seen.going),
        did_not_run=_did_not_run(since, visible),
        upcoming=_upcoming(seen.entries, seen.now),
        retired=_retired(seen.now, visible),
        entries=len(seen.entries),
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


def _retired(now: datetime, visible: Callable[..., QuerySet[Any]]) -> Listed[Entry]:
    """List the entries that were retired lately, the newest first."""
    rows = visible(Entry.objects.using(conf.database).filter(retired_at__gte=now - RETIRED_LATELY))
    return Listed.of(list(rows.order_by("-retired_at", "name")[: READ + 1]))


def _unwatched_since(seen: Look) -> datetime | None:
    """Return when anything last planned any entry; None where that was just now, or a scheduler lives."""
    if seen.schedulers or not seen.overdue:
        return None
    newest = max((each.accounted_until for each in [*seen.entries, *seen.overdue]), default=seen.now)
    return newest if newest < seen.late else None


def _did_not_run(since: datetime, visible: Callable[..., QuerySet[Any]]) -> Listed[Ended]:
    """Group what ended other than well, so that a job that fails each minute does not hide the others."""
    runs = not_well(visible(Run.objects.using(conf.database), VIEW_RUN), "verdict").filter(planned_at__gte=since)
    ended = list(runs.select_related("entry").order_by("-planned_at", "-pk")[: READ + 1])
    ranges = visible(Range.objects.using(conf.database), VIEW_RUN).filter(last_at__gte=since).select_related("entry")
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


def _upcoming(soonest: Sequence[Entry], now: datetime) -> Listed[ledger.UpcomingSlot]:
    """Take the next slot of each entry: a job that runs each minute must not hide the others."""
    slots = [slot for each in soonest for slot in ledger.slots_of(each, now, 1)]
    return Listed.of(sorted(slots, key=lambda slot: (slot.at, slot.entry)), read=READ - 1)
