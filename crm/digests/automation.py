"""How the scheduled jobs themselves did: read from the ledger, as any program may."""

from datetime import datetime
from typing import Any

from django.db.models import Count, Sum

from crm.digests.models import Mail
from crons import Context, api

_FAILURES = ("failed", "timed_out", "lost")
MOST_JOBS = 5


def figures(since: datetime, until: datetime) -> dict[str, Any]:
    """Count how the runs planned in the window ended, the slots without a run, and which jobs failed most.

    Cost: three statements along the indexes of the ledger.
    """
    runs = api.history().prefetch_related(None).order_by().filter(planned_at__gte=since, planned_at__lt=until)
    verdicts = dict(runs.values_list("verdict").annotate(Count("pk")))
    verdicts["not over"] = verdicts.pop("", 0)
    # Slots that share an ending are one row; one that reaches over midnight counts where it ends.
    ranges = api.ranges().prefetch_related(None).order_by().filter(last_at__gte=since, last_at__lt=until)
    for verdict, count in ranges.values_list("verdict").annotate(Sum("count")):
        verdicts[verdict] = verdicts.get(verdict, 0) + count
    failing = (
        runs.filter(verdict__in=_FAILURES)
        .values_list("entry__name")
        .annotate(number=Count("pk"))
        .order_by("-number", "entry__name")
    )
    return {
        "verdicts": [[verdict, count] for verdict, count in sorted(verdicts.items()) if count],
        "failing": [list(each) for each in failing[:MOST_JOBS]],
        "mails": _mails(since, until),
    }


def _mails(since: datetime, until: datetime) -> list[list[Any]]:
    """Count the mails planned in the window by what became of them, in people's words."""
    rows = Mail.objects.filter(created_at__gte=since, created_at__lt=until).order_by()
    counts = dict(rows.values_list("state").annotate(Count("pk")))
    return [[state.label.lower(), counts[state]] for state in Mail.State if state in counts]


def is_troubled(data: dict[str, Any]) -> bool:
    """Say whether something failed or was not run."""
    return any(verdict in (*_FAILURES, "missed") for verdict, _ in data["verdicts"])


def run_of(context: Context | None) -> int | None:
    """Give the number of the run that *context* is of, to link to; None for a call without one."""
    if context is None:
        return None
    return api.history().filter(attempts__pk=context.token).values_list("pk", flat=True).first()
