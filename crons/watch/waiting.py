"""Runs that should have begun and have not: which, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Exists, OuterRef, Q, Subquery

from crons import ledger
from crons.conf import conf
from crons.models import Attempt, Entry, Run
from crons.verdicts import Kind, State

# The newest attempts that are looked through for a sign that an entry's runs are begun, one after the other.
READ = 300
# Runs that wait are few columns each, and those of one entry must not hide the others.
WAITING_READ = 10_000


@dataclass
class Waiting:
    """Runs of one entry, of which *run_id* is the first, that nobody begins. The entry is not whole."""

    entry: Entry
    run_id: int
    since: datetime
    count: int = 0
    at_least: bool = False
    sends: int = 0
    detail: str = ""
    full_group: str = ""

    @property
    def why(self) -> str:
        """Say what may keep the first of them; of one that travels, what became of its last message."""
        if self.full_group:
            return self.full_group
        if not self.sends:
            return f"no place has come free, or no running process knows the job {self.entry.job!r}"
        return f"no worker begins it, after {self.sends} message(s); of the last: {self.detail or 'nothing known'}"


def waiting(late: datetime) -> list[Waiting]:
    """List the entries whose runs should have begun before *late*, and none of whose has been going since.

    Slots, and what somebody asked for again or after all; where one after the other is run, they wait well.
    Cost: one statement, two where any wait, four where CRONS["GROUPS"] has limits too; of a million runs that are
    over it reads none.
    """
    runs = Run.objects.using(conf.database)
    active = runs.filter(active_key=OuterRef("entry_id"))
    held = Entry.objects.filter(pk=OuterRef("entry_id"), paused_at__isnull=False)
    # Joined or grouped, SQLite begins with the entries and then reads all their runs: a second for a million.
    # What is sent again and again moves its moment on: that nobody takes it, or the broker nothing, shows by the count.
    returned = Q(state__in=[State.DUE, State.WAITING], sends=1, planned_at__lt=late)
    unended = runs.filter(state__in=[State.DUE, State.SENT, State.WAITING], wake_at__isnull=False)
    resent = unended.filter(Q(sends__gte=2) | returned).values("pk")
    due = unended.filter(wake_at__lt=late)
    # Either by its index: of one condition with an OR in it, SQLite makes a scan.
    unbegun = runs.filter(pk__in=due.values("pk").union(resent))
    stuck = unbegun.filter(~Exists(active), ~Exists(held)).order_by("wake_at")
    named = stuck.annotate(**{f"entry_{name}": _of_entry(name) for name in ("name", "job", "zone")})
    found: dict[int, Waiting] = {}
    columns = ("pk", "entry_id", "wake_at", "planned_at", "sends", "detail", "entry_name", "entry_job", "entry_zone")
    rows = list(named.values_list(*columns)[: WAITING_READ + 1])
    for pk, entry_id, wake_at, planned_at, sends, detail, name, job, zone in rows[:WAITING_READ]:
        if entry_id not in found:
            entry = Entry(pk=entry_id, name=name, job=job, zone=zone)
            since = planned_at if sends else wake_at
            found[entry_id] = Waiting(entry, pk, since, at_least=len(rows) > WAITING_READ, sends=sends, detail=detail)
        found[entry_id].count += 1
    served = _served_since(late) if found else set()
    stuck_ones = [each for entry_id, each in found.items() if entry_id not in served]
    _name_full_groups(stuck_ones)
    return stuck_ones


def _served_since(late: datetime) -> set[int]:
    newest = Attempt.objects.using(conf.database).order_by("-pk")
    rows = newest.values_list("run__entry_id", "begun_at", "ended_at")[:READ]
    return {entry_id for entry_id, begun_at, ended_at in rows if (ended_at or begun_at) >= late}


def _name_full_groups(found: list[Waiting]) -> None:
    full = ledger.full_groups(conf.database) if found else {}
    if not full:
        return
    named = Entry.objects.using(conf.database).filter(pk__in=[each.entry.pk for each in found])
    groups = dict(named.values_list("pk", "policy__group"))
    for each in found:
        group = groups.get(each.entry.pk)
        if isinstance(group, str) and group in full:
            each.full_group = f"the group {group!r} is full, {full[group]} of its runs are going"


def _of_entry(column: str) -> Subquery:
    return Subquery(Entry.objects.filter(pk=OuterRef("entry_id")).values(column)[:1])


def why_waiting(runs: Iterable[Run]) -> dict[int, str]:
    """Say of each run that could begin now why it has not, by its id; runs are read with their entries.

    Cost: two queries, and one more where CRONS["GROUPS"] limits any.
    """
    now = ledger.database_now()
    runs = list(runs)
    sent = {run.pk: _why_sent(run) for run in runs if run.state == State.SENT}
    ready = [run for run in runs if run.state in (State.DUE, State.WAITING) and run.wake_at and run.wake_at <= now]
    going = Run.objects.using(conf.database).filter(active_key__in={run.entry_id for run in ready})
    in_the_way = dict(going.values_list("active_key", "pk"))
    full = ledger.full_groups(conf.database)
    return sent | {run.pk: _why_waiting(run, in_the_way.get(run.entry_id), full, now) for run in ready}


def _why_sent(run: Run) -> str:
    again = f"again at {run.wake_at:%Y-%m-%d %H:%M:%S} UTC" if run.wake_at else "and not again"
    return f"for a worker of the executor {run.entry.policy.get('executor')!r}: sent {run.sends} time(s), {again}"


def _why_waiting(run: Run, in_the_way: int | None, full: Mapping[str, int], now: datetime) -> str:
    held_by, group = run.entry, run.entry.policy.get("group")
    since, until = held_by.paused_at, held_by.paused_until
    # What somebody asks for during a pause is let through.
    is_let_through = run.kind == Kind.MANUAL or (since and run.asked_at is not None and run.asked_at >= since)
    if since is not None and (until is None or until > now) and not is_let_through:
        reason = f": {held_by.pause_reason}" if held_by.pause_reason else ""
        return f"for the end of the pause by {held_by.paused_by or 'somebody'}{reason}"
    if in_the_way is not None:
        return f"for run {in_the_way} of the same entry, which is going"
    if isinstance(group, str) and group in full:
        return f"for the group {group!r}, which is full: {full[group]} of its runs are going"
    return f"for a free place, or for a process that knows the job {held_by.job!r}"
