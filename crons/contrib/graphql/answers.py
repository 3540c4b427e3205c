"""What operators ask of one thing: what an attempt wrote, what is wrong now, why a slot ended as it did."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

import strawberry
from strawberry import Info

from crons import api, models
from crons.conf import conf
from crons.contrib.graphql import types
from crons.contrib.graphql.asking import VIEW_RUN, Refusal, allow, entry_named, no_entry, require, run_numbered
from crons.contrib.graphql.runs import READS_OUTPUT
from crons.exceptions import CronsError, LedgerUnavailable, Refused, UnknownJob
from crons.presentation import readable, readable_line
from crons.web import output, overview

Name = Annotated[str, strawberry.argument(description="The name of a job.")]
Number = Annotated[strawberry.ID, strawberry.argument(description="The number of a run.")]


@strawberry.type
class CronsAnswers:
    """The fields that answer of one thing."""

    @strawberry.field(description="A page of what an attempt wrote. Needs crons.view_attempt besides.")
    def crons_output(
        self,
        info: Info[Any, Any],
        run: Number,
        attempt: Annotated[int | None, strawberry.argument(description="Which try; the newest, if not given.")] = None,
        start: Annotated[int, strawberry.argument(name="from", description="Where a page before ended.")] = 0,
    ) -> types.CronsOutput | None:
        """Return some 65,000 characters of it; null where there is no such attempt."""
        operator = require(info, READS_OUTPUT)
        row = run_numbered(operator, run)
        if row is None:
            return None
        allow(operator, READS_OUTPUT, row.entry)
        tries = models.Attempt.objects.using(conf.database).filter(run=row).order_by("-number")
        found = (tries if attempt is None else tries.filter(number=attempt)).first()
        if found is None:
            return None
        page = output.page(found, max(start, 0))
        pieces = [types.CronsPiece(stream=stream, text=readable(text)) for stream, text in page.raw]
        return types.CronsOutput(attempt=found.number, pieces=pieces, next=page.next_start)

    @strawberry.field(description="What is wrong now, of what you may see. Needs crons.view_entry, crons.view_run.")
    def crons_health(self, info: Info[Any, Any]) -> types.CronsHealth:
        """Return what the first page says is wrong."""
        operator = require(info)
        try:
            found = overview.look(timedelta(days=1), user=operator).problems
        except LedgerUnavailable as error:
            raise Refusal("UNAVAILABLE", str(error)) from error
        return types.CronsHealth(problems=[types.CronsProblem.of(each) for each in found.rows], more=found.more)

    @strawberry.field(description="Why a slot ended as it did, or what will become of it. Needs the same.")
    def crons_why(
        self,
        info: Info[Any, Any],
        job: Name,
        at: Annotated[
            str | None,
            strawberry.argument(description="09:00, 2026-10-25, or both, on the job's clock; the newest slot if not."),
        ] = None,
    ) -> types.CronsAnswer:
        """Answer as `crons why` does."""
        operator = require(info)
        entry = entry_named(operator, job)
        if entry is None:
            raise Refusal("NOT_FOUND", no_entry(job))
        allow(operator, VIEW_RUN, entry)
        try:
            return types.CronsAnswer.of(api.why(job, at or None))
        except (UnknownJob, Refused) as error:
            raise Refusal("BAD_USER_INPUT", readable_line(str(error))) from error
        except CronsError as error:
            raise Refusal("UNAVAILABLE", readable_line(str(error))) from error
