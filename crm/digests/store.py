"""Making reports: each period once, whoever asks and however often."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from django.conf import settings

from crm.digests import figures
from crm.digests.models import Report
from crm.digests.periods import DAILY, WEEKLY, Period, ended


@dataclass(frozen=True)
class Made:
    """The reports that this call made, and how many periods had theirs already."""

    reports: Sequence[Report]
    known: int


def wanted(since: datetime, until: datetime) -> tuple[list[Period], int]:
    """List the periods ended in the window that have no report yet, and count those that have one."""
    zone = ZoneInfo(settings.TIME_ZONE)
    periods = [*ended(DAILY, since, until, zone), *ended(WEEKLY, since, until, zone)]
    known = set(
        Report.objects.filter(period__in=[each.name for each in periods]).order_by().values_list("kind", "period")
    )
    missing = [each for each in periods if (each.kind, each.name) not in known]
    return missing, len(periods) - len(missing)


def make(
    since: datetime,
    until: datetime,
    *,
    now: datetime,
    key: str = "",
    run: int | None = None,
    on_progress: Callable[[int, int | None], None] | None = None,
) -> Made:
    """Make the reports of the days and weeks that ended in (*since*, *until*]; one that is there stays as it is.

    Args: *key* and *run* name the run that made it.
    Cost: the statements of figures.of for each period, and one short write.
    """
    periods, known = wanted(since, until)
    made = []
    for number, period in enumerate(periods, start=1):
        values = {
            "since": period.since, "until": period.until, "data": figures.of(period),
            "run_key": key, "run": run, "created_at": now,
        }  # fmt: skip
        # Of two that come at once one writes, and both read that one's figures.
        report, is_new = Report.objects.get_or_create(kind=period.kind, period=period.name, defaults=values)
        if is_new:
            made.append(report)
        else:
            known += 1
        if on_progress:
            on_progress(number, len(periods))
    return Made(made, known)
