"""The statements behind an answer: MOST_STATEMENTS at most, each along an index, each ending after a few rows.

tests/crons/why/test_growth.py counts them and holds their plans.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db.models import Model, Q, QuerySet
from django.db.models.expressions import RawSQL

from crons import ledger
from crons.conf import conf
from crons.models import Attempt, AuditEvent, Entry, Range, Run, is_text
from crons.schedules import FAR_FUTURE, FAR_PAST
from crons.verdicts import Kind

# Of one answer, on whichever database, with whatever settings.
MOST_STATEMENTS = 12
ATTEMPTS = 5
DEEDS = 200
SIGNS = 20
REQUESTED = 3
GOING = 100
# So many renames in a row are followed, among the newest.
RENAMES = 5
RENAMES_READ = 2_000


def entry_called(name: str) -> tuple[Entry, AuditEvent | None]:
    """Return the entry called *name*, or that was called so once, and the event that renamed it first.

    Raises: UnknownJob. Cost: one statement; three for a former name, however often it was renamed.
    """
    entries = Entry.objects.using(conf.database)
    entry = entries.filter(name=name).first() if is_text(name) else None
    if entry is not None:
        return entry, None
    events = _renames_from(name) if is_text(name) else []
    found = {each.name: each for each in entries.filter(name__in={each.subject for each in events})} if events else {}
    for event in events:
        if event.subject in found:
            return found[event.subject], events[0]
    raise ledger.unknown_entry(name, conf.database)


def _renames_from(name: str) -> list[AuditEvent]:
    """Follow the name: the newest event that renamed it, then the newest that renamed what it was called then."""
    renames = AuditEvent.objects.using(conf.database).filter(subject_type="entry", verb__in=["rename", "merge"])
    newest: dict[str, AuditEvent] = {}
    for event in renames.order_by("-pk")[:RENAMES_READ]:
        newest.setdefault(str((event.before or {}).get("name")), event)
    found: list[AuditEvent] = []
    while name in newest and len(found) < RENAMES:
        found.append(newest[name])
        name = found[-1].subject
    return found


def deeds(entry: Entry, run: Run | None) -> tuple[list[AuditEvent], list[AuditEvent]]:
    """List what was done to the entry, under its former names and through its tags too; and what to *run*."""
    tags = [str(tag) for tag in entry.tags][:SIGNS]
    of_run = [str(run.pk)] if run is not None else []
    asked = [("entry", [entry.name], DEEDS), ("tag", tags, SIGNS), ("all", ["all"], SIGNS), ("run", of_run, SIGNS)]
    found = list(_any_of(AuditEvent, [_newest(*each) for each in asked]))
    own = [each for each in found if each.subject_type == "entry" and each.verb in ("rename", "merge")]
    former = [str(each.before["name"]) for each in own if isinstance(each.before, dict) and "name" in each.before]
    older = list(_newest("entry", former, DEEDS)) if former else []
    # At one moment: the older name's first, then its own, its tags', everybody's.
    ranks = {"entry": 1, "tag": 2, "all": 3}
    known = [(each.at, 0, each.pk, each) for each in older]
    known += [(each.at, ranks[each.subject_type], each.pk, each) for each in found if each.subject_type in ranks]
    of_it = sorted((each for each in found if each.subject_type == "run"), key=lambda each: each.pk)
    return [each for *_, each in sorted(known, key=lambda each: each[:3])], of_it


def _newest(kind: str, subjects: Sequence[str], limit: int) -> QuerySet[AuditEvent]:
    rows = AuditEvent.objects.using(conf.database).filter(subject_type=kind, subject__in=subjects)
    return rows.order_by("-pk")[:limit]


def runs_of(entry: Entry) -> QuerySet[Run]:
    """The runs of *entry*, of which a few are asked for."""
    return Run.objects.using(conf.database).filter(entry=entry)


def some_runs(parts: Iterable[QuerySet[Run] | None]) -> list[Run]:
    """Find the runs of all *parts* at once, the oldest first."""
    wanted = [each for each in parts if each is not None]
    return sorted(_any_of(Run, wanted), key=lambda each: (each.planned_at, each.pk)) if wanted else []


def requested_at(entry: Entry, at: datetime) -> QuerySet[Run]:
    """The runs that somebody asked for in the minute that begins at *at*."""
    until = at + timedelta(minutes=1) if at < FAR_FUTURE else at
    return runs_of(entry).filter(planned_at__gte=at, planned_at__lt=until).order_by("planned_at", "pk")[:REQUESTED]


def ranges_at(entry: Entry, moments: Collection[datetime]) -> dict[datetime, Range]:
    """Find what wrote the slots at *moments* off: of the ranges that begin before each, the last."""
    of_entry = Range.objects.using(conf.database).filter(entry=entry)
    parts = [of_entry.filter(first_at__lte=at).order_by("-first_at")[:1] for at in moments]
    found = list(_any_of(Range, parts)) if parts else []
    return {at: each for at in moments for each in found if each.first_at <= at <= each.last_at}


def attempts_of(runs: Iterable[Run | None]) -> list[Attempt]:
    """Find the last tries of each of *runs*."""
    rows = Attempt.objects.using(conf.database)
    parts = [rows.filter(run=run).order_by("-number")[:ATTEMPTS] for run in runs if run is not None]
    return list(_any_of(Attempt, parts)) if parts else []


def signs_around(at: datetime, recorded_at: datetime) -> tuple[tuple[datetime | None, str], int]:
    """Find the last sign of a look at the clock before *at*, of which entry; and how many came until *recorded_at*.

    Each look that finds something due leaves rows: the newest before it, of whichever entry, is the last sign of one.
    """
    rows = Run.objects.using(conf.database).exclude(kind=Kind.BACKFILL)
    before = rows.filter(planned_at__lt=at).order_by("-planned_at", "-pk")[:SIGNS]
    meanwhile = rows.filter(planned_at__gte=at, planned_at__lt=recorded_at).order_by("planned_at", "pk")[:SIGNS]
    found = list(_any_of(Run, [before, meanwhile]).values_list("planned_at", "recorded_at", "entry__name"))
    signs = [(recorded, name) for planned, recorded, name in found if planned < at and recorded <= at]
    others = sum(planned >= at and recorded < recorded_at for planned, recorded, _ in found)
    return max(signs, default=(None, "")), others


def going_attempts() -> list[Attempt]:
    """Find the attempts that are going, over all hosts, with their runs and entries; the longest first."""
    # The range is for PostgreSQL: of IS NOT NULL it thinks, until it has statistics, that it holds for all rows.
    leased = Q(lease_until__isnull=False, lease_until__range=(FAR_PAST, FAR_FUTURE))
    rows = Attempt.objects.using(conf.database).filter(leased).select_related("run__entry")
    return list(rows.order_by("begun_at")[:GOING])


def running_in_full_group(entry: Entry) -> int:
    """Say how many runs go on in the group of *entry*, where it is full. Cost: none where CRONS["GROUPS"] is empty."""
    group = entry.policy.get("group")
    return ledger.full_groups(conf.database).get(group, 0) if isinstance(group, str) else 0


def _any_of(model: type[Model], parts: Iterable[QuerySet[Any]]) -> QuerySet[Any]:
    """Ask for the rows of all *parts* in one statement; each part finds its few along its own index.

    With OR in their stead the databases read all that fits any part, and sort it.
    """
    written: list[str] = []
    values: list[Sequence[Any]] = []
    for part in parts:
        try:
            sql, given = part.values("pk").query.get_compiler(conf.database).as_sql()
        except EmptyResultSet:  # a condition that nothing meets, such as one of no tags
            continue
        number = len(written)
        written.append(f"SELECT part{number}.* FROM ({sql}) part{number}")  # noqa: S608 (written by Django)
        values.append(given)
    rows = model._default_manager.using(conf.database)
    return rows.filter(pk__in=RawSQL(" UNION ALL ".join(written), list(chain(*values)))) if written else rows.none()
