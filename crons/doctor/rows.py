"""What the rows say: whose they are, and which jobs take longer than they have."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise

from django.db.models import DurationField, ExpressionWrapper, F, Window
from django.db.models.functions import RowNumber

from crons import api, ledger
from crons.conf import conf
from crons.doctor.findings import BAD, Finding
from crons.exceptions import CronsError
from crons.ledger import deployment
from crons.models import Attempt, Deployment, Entry
from crons.schedules import FAR_FUTURE

RECENT, NEWEST, ENOUGH = timedelta(days=30), 100, 3
SLOTS_LOOKED_AT = 20
# Problems that come and go with what runs, or that another part looks at: `health` says them.
OF_THE_MOMENT = ("overdue", "waiting", "stuck", "failing", "scheduler")


def look(name: str | None) -> Iterator[Finding]:
    """Look at what the rows say: whose they are, and which jobs take longer than they have."""
    adopted = Deployment.objects.using(conf.database).filter(pk=deployment.ONLY).first()
    here = deployment.here()
    if adopted is not None and adopted.identity != here.identity:
        yield Finding(
            "deployment", BAD, f"the database belongs to {adopted.described}", here.described, "manage.py crons adopt"
        )
    for problem in api.health():
        if problem.kind not in OF_THE_MOMENT and (name is None or problem.entry == name):
            what = f"{problem.kind} {problem.entry}".strip()
            yield Finding(what, BAD, problem.text, "", problem.next_step)
    entries = {each.name: each for each in api.entries()}
    for each, p95 in _durations(entries if name is None else {name: entries[name]} if name in entries else {}):
        interval = _interval(each)
        if interval is not None and p95 > interval:
            yield Finding(
                f"duration of {each.name}",
                BAD,
                f"of its newest attempts one in twenty took {_seconds(p95)} or longer",
                f"less than {_seconds(interval)}, the distance of its slots",
                "Make it quicker, declare it rarer, or look at skipped (overlap): manage.py crons history "
                f"{each.name} --verdict skipped",
            )


def _durations(entries: dict[str, Entry]) -> list[tuple[Entry, timedelta]]:
    """Return each entry's 95th percentile over the newest attempts of a month. Cost: one statement for all."""
    ended = Attempt.objects.using(conf.database).filter(
        ended_at__isnull=False, run__planned_at__gte=ledger.database_now() - RECENT
    )
    place = Window(RowNumber(), partition_by=F("run__entry"), order_by=F("pk").desc())
    length = ExpressionWrapper(F("ended_at") - F("begun_at"), output_field=DurationField())
    newest = ended.annotate(place=place, length=length).filter(place__lte=NEWEST)
    took: dict[str, list[timedelta]] = defaultdict(list)
    for each, lasted in newest.values_list("run__entry__name", "length"):
        took[each].append(lasted)
    # The nearest rank: at least 95 of 100 took no longer.
    return [
        (entries[each], sorted(lengths)[-(-len(lengths) * 95 // 100) - 1])
        for each, lengths in sorted(took.items())
        if each in entries and len(lengths) >= ENOUGH
    ]


def _interval(entry: Entry) -> timedelta | None:
    """Return the smallest distance of an entry's next slots; None where it has none, or cannot be read."""
    try:
        account = ledger.account_of(entry)
    except CronsError:
        return None  # it is parked, which is a problem of its own
    slots = [account.schedule.next_after(ledger.database_now(), account.tz)]
    while slots[-1] < FAR_FUTURE and len(slots) < SLOTS_LOOKED_AT:
        slots.append(account.schedule.next_after(slots[-1], account.tz))
    return min((later - earlier for earlier, later in pairwise(slots) if later < FAR_FUTURE), default=None)


def _seconds(length: timedelta) -> str:
    return f"{length.total_seconds():.1f} s"
