"""All that the page of a job says, read at once: nine statements, each along an index, none beyond a page of rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from crons import ledger
from crons.models import Entry, Incident
from crons.presentation import Cell, describe_state
from crons.watch.usual import Usual, usual_of
from crons.web.job.chart import Chart, draw
from crons.web.job.coming import Coming, coming_of
from crons.web.job.events import Event, changes_of, folded, timeline
from crons.web.job.kept import audit_of, incidents_of, releases
from crons.web.job.rules import Rule, rules_of
from crons.web.jobs.strips import Mark, strips_of

INCIDENTS_SHOWN = 10


@dataclass(frozen=True)
class JobPage:
    """One entry, as its page shows it. *older* is before when the next page of its timeline begins."""

    as_of: datetime
    entry: Entry
    state: Cell
    marks: list[Mark]
    usual: Usual | None
    chart: Chart
    coming: list[Coming]
    rules: list[Rule]
    incidents: list[Incident]
    events: list[Event]
    before: datetime | None = None
    older: datetime | None = None

    @property
    def last(self) -> Mark | None:
        """The newest of its slots that is over."""
        return next((mark for mark in reversed(self.marks) if mark.is_over), None)

    @property
    def running(self) -> list[Mark]:
        """What of it goes on."""
        return [mark for mark in self.marks if mark.is_running]

    @property
    def next(self) -> Coming | None:
        """Its next slot."""
        return next((each for each in self.coming if each.is_slot), None)


def read(entry: Entry, before: datetime | None = None, now: datetime | None = None) -> JobPage:
    """Read the page of *entry*; *before* turns its timeline back.

    Cost: nine statements, and three more with *before*.
    """
    now = now or ledger.database_now()
    zones = {entry.pk: entry.zone}
    marks = strips_of(zones).get(entry.pk, [])
    usual = usual_of([entry.pk]).get(entry.pk)
    audit, incidents, deploys = audit_of(entry), incidents_of(entry), releases()
    told = marks, audit, incidents
    if before is not None:
        told = strips_of(zones, before=before).get(entry.pk, []), audit_of(entry, before), incidents_of(entry, before)
    events, older = timeline(entry, *told, deploys, before)
    return JobPage(
        as_of=now,
        entry=entry,
        state=describe_state(entry),
        marks=marks,
        usual=usual,
        chart=draw(marks, usual.p95 if usual else None, changes_of(audit, deploys)),
        coming=coming_of(entry, now),
        rules=rules_of(entry, audit),
        incidents=incidents[:INCIDENTS_SHOWN],
        events=list(folded(events)),
        before=before,
        older=older,
    )
