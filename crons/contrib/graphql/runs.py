"""A page of runs, whose attempts are read together: one statement for a page, where one for each run threatens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from django.db.models import F

from crons import models
from crons.conf import conf
from crons.contrib.graphql import types
from crons.contrib.graphql.asking import lacks
from crons.web import rights

READS_OUTPUT = "crons.view_attempt"


def showing(operator: Any, found: Sequence[models.Run]) -> Callable[[models.Run], types.CronsRun]:
    """Return what shows each run of one page.

    Cost: nothing; one statement for all, and one for the rights, when the first of them is asked for its attempts.
    """

    @cache
    def attempts() -> dict[int, list[models.Attempt]]:
        # The newest of each: a run that was retried for a year has thousands.
        newest = {"run__in": [run.pk for run in found], "number__gt": F("run__tries") - types.MOST_ATTEMPTS}
        rows = models.Attempt.objects.using(conf.database).filter(**newest)
        entries = {run.pk: run.entry for run in found}
        readers = rights.permitted(operator, READS_OUTPUT, {each.pk for each in entries.values()})
        by_run: dict[int, list[models.Attempt]] = {}
        for each in rows.select_related("work").order_by("-number"):
            entry = entries[each.run_id]
            refusal = "" if entry.pk in readers else lacks(operator, READS_OUTPUT, entry)
            each.refusal = refusal  # type: ignore[attr-defined] # the type asks for it
            by_run.setdefault(each.run_id, []).append(each)
        return by_run

    return lambda run: types.CronsRun.of(run, lambda number: attempts().get(number, [])[: types.MOST_ATTEMPTS])
