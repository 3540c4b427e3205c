"""What operators ask. Each field costs a fixed number of statements, whatever the page holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import strawberry
from strawberry import Info

from crons import api, models
from crons.conf import conf
from crons.contrib.graphql import types
from crons.contrib.graphql.answers import CronsAnswers, Name, Number
from crons.contrib.graphql.asking import VIEW_RUN, entry_named, require, run_numbered
from crons.contrib.graphql.pages import USUAL, After, CronsConnection, First, Order, connection, read
from crons.contrib.graphql.runs import showing
from crons.models import not_well, well
from crons.verdicts import Verdict
from crons.web import rights

VIEW_INCIDENT = "crons.view_incident"
_BY_NAME = Order("crons jobs", ("name",))
_NEWEST = Order("crons runs", ("planned_at", "pk"), descending=True)
_LAST_OPENED = Order("crons incidents", ("opened_at", "pk"), descending=True)

OfJob = Annotated[str | None, strawberry.argument(description="Only of this job.")]


@strawberry.type
class CronsQuery(CronsAnswers):
    """The fields that read."""

    @strawberry.field(description="The jobs, by name. Needs crons.view_entry and crons.view_run.")
    def crons_jobs(
        self, info: Info[Any, Any], first: First = USUAL, after: After = None
    ) -> CronsConnection[types.CronsJob]:
        """Return a page of entries that are not retired."""
        operator = require(info)
        found = read(rights.visible(operator, api.entries()), _BY_NAME, first, after)
        return _page(found, first, after, _BY_NAME, types.CronsJob.of)

    @strawberry.field(description="One job, or null where there is none that you may see. Needs the same.")
    def crons_job(self, info: Info[Any, Any], name: Name) -> types.CronsJob | None:
        """Return one entry."""
        row = entry_named(require(info), name)
        return None if row is None else types.CronsJob.of(row)

    @strawberry.field(description="Runs, the newest first. Needs crons.view_entry and crons.view_run.")
    def crons_runs(
        self,
        info: Info[Any, Any],
        job: OfJob = None,
        verdict: Annotated[Verdict | None, strawberry.argument(description="Only of this verdict.")] = None,
        first: First = USUAL,
        after: After = None,
    ) -> CronsConnection[types.CronsRun]:
        """Return a page of runs; their entries are read with them, and their attempts together."""
        operator = require(info)
        rows = rights.visible(operator, api.history(), VIEW_RUN)
        if job is not None:
            entry = entry_named(operator, job)
            rows = rows.none() if entry is None else rows.filter(entry=entry)
        if verdict is not None:
            # Along the indexes of those that ended so: a failure in a million successes is found at once.
            good = verdict == Verdict.SUCCEEDED
            # Strawberry gives the member of a variable, and its text where it stands in the document.
            rows = well(rows, "verdict") if good else not_well(rows, "verdict").filter(verdict=str(verdict))
        found = read(rows, _NEWEST, first, after)
        return _page(found, first, after, _NEWEST, showing(operator, found))

    @strawberry.field(description="One run, or null where there is none that you may see. Needs the same.")
    def crons_run(self, info: Info[Any, Any], id: Number) -> types.CronsRun | None:
        """Return one run."""
        operator = require(info)
        row = run_numbered(operator, id)
        return None if row is None else showing(operator, [row])(row)

    @strawberry.field(description="Incidents, the last opened first. Needs crons.view_incident besides.")
    def crons_incidents(
        self,
        info: Info[Any, Any],
        is_open: Annotated[
            bool, strawberry.argument(description="Those that are open, or those that are over.")
        ] = True,
        first: First = USUAL,
        after: After = None,
    ) -> CronsConnection[types.CronsIncident]:
        """Return a page of incidents, their entries with them."""
        operator = require(info, VIEW_INCIDENT)
        rows = rights.concerning(operator, models.Incident.objects.using(conf.database), VIEW_INCIDENT)
        rows = rows.select_related("entry").filter(open_key__isnull=not is_open)
        found = read(rows, _LAST_OPENED, first, after)
        rights.tell(operator, found)
        return _page(found, first, after, _LAST_OPENED, types.CronsIncident.of)


def _page(
    found: list[Any], first: int, after: str | None, order: Order, show: Callable[[Any], Any]
) -> CronsConnection[Any]:
    shown = found[:first]
    return connection(
        [show(each) for each in shown], [order.cursor(each) for each in shown], more=len(found) > first, after=after
    )
