"""What the rows say: whose they are, and which jobs take longer than they have."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise

from django.db import connections

from crons import api, ledger
from crons.columns import UNREAD
from crons.conf import conf
from crons.doctor.findings import BAD, Finding
from crons.exceptions import CronsError
from crons.ledger import deployment
from crons.ledger.sql import moment
from crons.models import Deployment, Entry
from crons.schedules import FAR_FUTURE

RECENT, NEWEST, ENOUGH = timedelta(days=30), 100, 3
# A job that takes an hour and is due each minute has begun one of 60 runs: the others are skipped (overlap).
WALKED = 2_000
# The newest runs of each entry that were begun, read along crons_run_entry_planned, and their attempts along the
# unique (run, number). A window function over all runs read the whole history: 9.5 s for a million.
# CROSS JOIN keeps SQLite from another order; LATERAL does it on PostgreSQL, and SQLite has no such thing.
DURATIONS = {
    "sqlite": """
        SELECT e.id, a.begun_at, a.ended_at FROM crons_entry e
        CROSS JOIN crons_run t ON t.id IN (
            SELECT n.id FROM (
                SELECT r.id, r.tries FROM crons_run r
                WHERE r.entry_id = e.id AND r.planned_at >= %s ORDER BY r.planned_at DESC LIMIT %s
            ) n WHERE n.tries > 0 LIMIT %s
        )
        CROSS JOIN crons_attempt a ON a.run_id = t.id AND a.ended_at IS NOT NULL
        WHERE e.retired_at IS NULL AND (%s = 0 OR e.id = %s)
    """,
    "postgresql": """
        SELECT e.id, a.begun_at, a.ended_at FROM crons_entry e
        CROSS JOIN LATERAL (
            SELECT n.id FROM (
                SELECT r.id, r.tries FROM crons_run r
                WHERE r.entry_id = e.id AND r.planned_at >= %s ORDER BY r.planned_at DESC LIMIT %s
            ) n WHERE n.tries > 0 LIMIT %s
        ) t
        CROSS JOIN LATERAL (
            SELECT begun_at, ended_at FROM crons_attempt WHERE run_id = t.id AND ended_at IS NOT NULL OFFSET 0
        ) a
        WHERE e.retired_at IS NULL AND (%s = 0 OR e.id = %s)
    """,
}
SLOTS_LOOKED_AT = 20
# Problems that come and go with what runs, or that another part looks at: `health` says them.
OF_THE_MOMENT = ("overdue", "waiting", "stuck", "failing", "scheduler")


def examine(name: str | None) -> Iterator[Finding]:
    """Yield whose the rows are, what is wrong with them, and which jobs take longer than they have."""
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
    now = ledger.database_now()
    for each, p95 in _durations(entries if name is None else {name: entries[name]} if name in entries else {}):
        interval = _interval(each, now)
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
    """Return each entry's 95th percentile over the attempts at its newest runs. Cost: one statement for all."""
    connection = connections[conf.database]
    since = connection.ops.adapt_datetimefield_value(ledger.database_now() - RECENT)
    by_id = {each.pk: each for each in entries.values()}
    only = next(iter(by_id)) if len(by_id) == 1 else 0
    took: dict[int, list[timedelta]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(DURATIONS[connection.vendor], [since, WALKED, NEWEST, only, only])
        for pk, begun, ended in cursor.fetchall():
            begun_at, ended_at = moment(begun), moment(ended)
            if begun_at and ended_at and UNREAD not in (begun_at, ended_at):
                took[pk].append(ended_at - begun_at)
    # The nearest rank: at least 95 of 100 took no longer.
    found = [
        (by_id[pk], sorted(lengths)[-(-len(lengths) * 95 // 100) - 1])
        for pk, lengths in took.items()
        if pk in by_id and len(lengths) >= ENOUGH
    ]
    return sorted(found, key=lambda each: each[0].name)


def _interval(entry: Entry, now: datetime) -> timedelta | None:
    """Return the smallest distance of an entry's next slots; None where it has none, or cannot be read."""
    try:
        account = ledger.account_of(entry)
    except CronsError:
        return None  # it is parked, which is a problem of its own
    slots = [account.schedule.next_after(now, account.tz)]
    while slots[-1] < FAR_FUTURE and len(slots) < SLOTS_LOOKED_AT:
        slots.append(account.schedule.next_after(slots[-1], account.tz))
    return min((later - earlier for earlier, later in pairwise(slots) if later < FAR_FUTURE), default=None)


def _seconds(length: timedelta) -> str:
    return f"{length.total_seconds():.1f} s"
