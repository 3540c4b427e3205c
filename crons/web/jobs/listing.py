"""A page of the list of jobs: read along an index, in windows, so that a hundred thousand entries cost what fifty do.

A search looks through WINDOW entries at most and says where it stopped; from there it goes on. What fits along the way
cannot be known from an index: texts are searched within, and how the last run ended stands on the run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import BooleanField, OuterRef, QuerySet, Subquery
from django.db.models.expressions import RawSQL

from crons import ledger
from crons.models import Entry, Run
from crons.presentation import Cell, describe_state, length, next_slot_at
from crons.verdicts import State
from crons.watch.usual import Usual, usual_of
from crons.web.acts import seen_of
from crons.web.jobs.asked import ORDER, Asked, Order, narrowed
from crons.web.jobs.strips import Mark, strips_of

Visible = Callable[[QuerySet[Entry]], QuerySet[Entry]]
SHOWN = 50
TAGS_SHOWN = 5
WINDOW = 10_000
# Of each of them the newest run is looked up.
WINDOW_OF_VERDICTS = 2_000
# More than ever run at once; so many are looked up by their keys.
MOST_RUNNING = 1_000
# Of these a partial index holds the names: crons_entry_paused and its like.
APART = ("paused", "parked", "retired")
# As the index says it, with the word written out: SQLite sees no index for a parameter.
PARKED = "NOT (crons_entry.parked_reason = '')"


@dataclass(frozen=True)
class JobRow:
    """One entry of the list, with its last slots."""

    entry: Entry
    strip: list[Mark] = field(default_factory=list)
    usual: Usual | None = None
    asked: Asked = field(default_factory=Asked)

    @property
    def seen(self) -> str:
        """What the page shows of how it stands, for its checkbox."""
        return seen_of(self.entry)

    @property
    def p50(self) -> str:
        """How long half of its successes take at most."""
        return length(self.usual.p50) if self.usual else ""

    @property
    def p95(self) -> str:
        """How long 95 of 100 take at most."""
        return length(self.usual.p95) if self.usual else ""

    @property
    def of_owner(self) -> str:
        """The address of the list of its owner's."""
        return self.asked.address(owner=self.entry.owner)

    @property
    def tags(self) -> list[tuple[str, str]]:
        """Its first tags, each with the address of the list of all that have it."""
        return [(tag, self.asked.address(tag=tag)) for tag in map(str, self.entry.tags[:TAGS_SHOWN])]

    @property
    def more_tags(self) -> int:
        """How many tags it has besides."""
        return max(len(self.entry.tags) - TAGS_SHOWN, 0)

    @property
    def last(self) -> Mark | None:
        """The newest of its slots that is over."""
        return next((mark for mark in reversed(self.strip) if mark.is_over), None)

    @property
    def running(self) -> Mark | None:
        """The newest run that goes on."""
        return next((mark for mark in reversed(self.strip) if mark.is_running), None)

    @property
    def state(self) -> Cell:
        """Why nothing of it runs, or that it is active."""
        return describe_state(self.entry)

    @property
    def next_at(self) -> datetime | None:
        """Its next slot as planning last saw it; None where nothing comes."""
        return None if self.entry.retired_at or self.entry.parked_reason else next_slot_at(self.entry)


@dataclass(frozen=True)
class JobList:
    """A page: *after* is where the next one begins, empty at the end; *looked_through* where a window ended it."""

    as_of: datetime
    asked: Asked
    rows: list[JobRow]
    after: str = ""
    looked_through: int = 0

    @property
    def next(self) -> str:
        """The address of the next page."""
        return self.asked.address(after=self.after)

    @property
    def first(self) -> str:
        """The address of the first page."""
        return self.asked.address()


def read(asked: Asked, visible: Visible, now: datetime | None = None) -> JobList:
    """Read the page that is *asked* for; *visible* keeps of entries what may be seen.

    Cost: seven statements, one more where what runs is asked for; each along an index.
    """
    now = now or ledger.database_now()
    entries, after, looked_through = _find(asked, visible)
    strips, usual = strips_of({entry.pk: entry.zone for entry in entries}), usual_of([entry.pk for entry in entries])
    rows = [JobRow(entry, strips.get(entry.pk, []), usual.get(entry.pk), asked) for entry in entries]
    return JobList(now, asked, rows, after, looked_through)


def _find(asked: Asked, visible: Visible) -> tuple[list[Entry], str, int]:
    order = ORDER[asked.sort]
    everything = Entry.objects.all()
    if asked.sort == "next":
        everything = everything.filter(wake_at__isnull=False)
    # What an index holds alone, in the order that is asked for, is walked alone.
    is_apart = asked.state == "running" or (asked.state in APART and order.columns == ("name",))
    rows = _in_state(everything, asked.state) if is_apart else everything
    if asked.after and (place := order.place(asked.after)) is not None:
        rows = order.after(rows, place)
    window = WINDOW_OF_VERDICTS if asked.verdict else WINDOW
    end = _end(order.ordered(rows), order, window)
    if end is not None:
        rows = order.until(rows, end)
    rows = visible(narrowed(_in_state(rows, asked.state), asked))
    if asked.verdict:
        rows = rows.annotate(last_verdict=_last_verdict()).filter(
            last_verdict=None if asked.verdict == "none" else asked.verdict
        )
    found = list(order.ordered(rows)[: SHOWN + 1])
    if len(found) > SHOWN:
        return found[:SHOWN], order.write(order.key(found[SHOWN - 1])), 0
    return found, "" if end is None else order.write(end), 0 if end is None else window


def _end(rows: QuerySet[Entry], order: Order, window: int) -> tuple[Any, ...] | None:
    """Return the place at which a window from the first of *rows* on ends; None where there are no more."""
    # Their keys alone: Django orders by what it selects, and of moments it selects what SQLite has no index for.
    found = list(rows.values_list("pk", flat=True)[window - 1 : window + 1])
    return order.key(Entry.objects.get(pk=found[0])) if len(found) > 1 else None


def _in_state(rows: QuerySet[Entry], state: str) -> QuerySet[Entry]:
    if state == "retired":
        return rows.filter(retired_at__isnull=False)
    if state == "paused":
        return rows.filter(paused_at__isnull=False, retired_at=None)
    if state == "parked":
        return rows.filter(RawSQL(PARKED, (), output_field=BooleanField()), retired_at=None)
    if state == "running":
        going = Run.objects.filter(state=State.RUNNING).values_list("entry", flat=True)
        return rows.filter(pk__in=list(going[:MOST_RUNNING]))
    if state == "active":
        return rows.filter(retired_at=None, paused_at=None, parked_reason="")
    return rows.filter(retired_at=None)


def _last_verdict() -> Subquery:
    done = Run.objects.filter(entry=OuterRef("pk"), state=State.DONE)
    return Subquery(done.order_by("-planned_at", "-pk").values("verdict")[:1])
