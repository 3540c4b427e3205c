"""What can be watched: a run, from its record to its end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import strawberry
from django.db.models import Max
from strawberry import Info

from crons import models
from crons.conf import conf
from crons.contrib.graphql import types
from crons.contrib.graphql.answers import Number
from crons.contrib.graphql.asking import require, run_numbered
from crons.contrib.graphql.live import watch
from crons.contrib.graphql.runs import showing
from crons.verdicts import State


@strawberry.type
class CronsSubscription:
    """The fields that tell of changes."""

    @strawberry.field(
        description="One run, whenever it changes, until it is over; null where there is none that you may see. "
        "Needs crons.view_entry and crons.view_run."
    )
    def crons_run(self, info: Info[Any, Any], id: Number) -> types.CronsRun | None:
        """Return the run as it stands; it is asked again when it has changed."""
        operator = require(info)
        row = run_numbered(operator, id)
        if row is None:
            return None
        watch(info, runs_now, row.pk, is_over=row.state == State.DONE)
        return showing(operator, [row])(row)


def runs_now(numbers: Sequence[int]) -> dict[int, Any]:
    """Return what changes of these runs, their jobs' progress with it. Cost: two statements."""
    runs = models.Run.objects.using(conf.database).filter(pk__in=numbers)
    work = models.WorkReport.objects.using(conf.database).filter(attempt__run__in=numbers)
    said = work.values_list("attempt__run").annotate(Max("progress_at"), Max("examined"), Max("changed"))
    progress = {number: rest for number, *rest in said}
    rows = runs.values_list("pk", "state", "verdict", "tries", "ended_at")
    return {number: (rest, progress.get(number)) for number, *rest in rows}
