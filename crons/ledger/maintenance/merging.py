"""Merging: two entries that are one job under its former and its present name get one history.

It happens where `aliases=` was added only after the rename. The row of the former name stays, because most of the
history hangs on it, and takes over all that is so of the present one: its account, its rules, its pauses.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db.models import F, Value
from django.db.models.functions import Concat

from crons.ledger import rows
from crons.ledger.ending.verdict import ENDED, announce, end
from crons.ledger.entries import keep_keys, key_of
from crons.ledger.record import account_for, write_off_retired
from crons.ledger.transactions import note
from crons.models import Entry, Incident, Pause, Range, Run
from crons.presentation import incident_closed
from crons.verdicts import Kind, State, Verdict

LISTED = 100


def is_busy(entries: Sequence[Entry], using: str) -> bool:
    """Say whether a run of any of *entries* is with somebody: then they cannot be merged just now."""
    under_way = Run.objects.using(using).filter(entry__in=entries, state__in=[State.SENT, State.RUNNING])
    return under_way.exists()


def merge(former: Entry, present: Entry, now: datetime, by: str, using: str) -> Entry:
    """Give *former* the runs, ranges and the whole state of *present*, and return it; *present* is deleted.

    Both are locked, and neither is busy. A slot that both have keeps the run that succeeded, the present one's if
    both did; the other stays as a run without a slot that says whose slot it was. For use inside a transaction.
    Cost: some statements; as many rows as the present one has of its own.
    """
    account_for([former], now, "sync", using)
    for entry in (former, present):
        keep_keys(entry, using)
    doubled = _part_doubled(former, present, now, using)
    taken_out = _join_ranges(former, present, now, using)
    Run.objects.using(using).filter(entry=present).update(entry=former)
    _join_incidents(former, present, now, using)
    # What a person said of the one that goes by now holds; the former's pause went when it was declared no more.
    Pause.objects.using(using).filter(entry=former).delete()
    Pause.objects.using(using).filter(entry=present).update(entry=former, scope=f"entry:{former.pk}")
    old_name, first_seen_at = former.name, min(former.first_seen_at, present.first_seen_at)
    Entry.objects.using(using).filter(pk=present.pk).delete()
    for column in Entry._meta.concrete_fields:
        if not column.primary_key:
            setattr(former, column.attname, getattr(present, column.attname))
    former.first_seen_at, former.version = first_seen_at, max(former.version, present.version) + 1
    former.save(using=using)
    before: dict[str, Any] = {"name": old_name, "runs": doubled[:LISTED], "ranges": taken_out[:LISTED]}
    note("merge", "entry", former.name, by, now, using, before=before, after={"name": former.name})
    return former


def _part_doubled(former: Entry, present: Entry, now: datetime, using: str) -> list[int]:
    """Leave one run in each slot that both have; return the ids of those that lost theirs."""
    runs = Run.objects.using(using)
    theirs = runs.filter(entry=present, slot_at__isnull=False).values("slot_at")
    mine = {run.slot_at: run for run in runs.filter(entry=former, slot_at__in=theirs).select_related("entry")}
    parted, ended = [], []
    for run in runs.filter(entry=present, slot_at__in=list(mine)).select_related("entry").order_by("slot_at"):
        other = mine[run.slot_at]
        keeps_mine = other.verdict == Verdict.SUCCEEDED and run.verdict != Verdict.SUCCEEDED
        winner, loser = (other, run) if keeps_mine else (run, other)
        loser.effect_key = key_of(loser)
        detail = f"the slot {loser.slot_at:%Y-%m-%d %H:%M:%S} UTC has run {winner.pk}: both names of the job ran it"
        if loser.state != State.DONE:
            end(loser, Verdict.CANCELLED, now, detail=detail)
            ended.append(loser)
        loser.detail = loser.detail or detail
        loser.kind, loser.slot_at, loser.request_key = Kind.MANUAL, None, f"merged:{loser.pk}"
        loser.requested_by = "crons sync"
        parted.append(loser)
    rows.update(parted, [*ENDED, "kind", "slot_at", "request_key", "requested_by", "effect_key"], using)
    for run in ended:
        announce(run, using)
    return [run.pk for run in parted]


def _join_ranges(former: Entry, present: Entry, now: datetime, using: str) -> list[dict[str, Any]]:
    """Move the ranges, and leave neither a hole between the two accounts nor slots that are counted twice."""
    ranges = Range.objects.using(using)
    begun_at = present.first_seen_at
    twice = ranges.filter(entry=former, first_at__gt=begun_at)
    taken_out = [
        {"from": each.first_at.isoformat(), "to": each.last_at.isoformat(), "count": each.count, "reason": each.reason}
        for each in twice.order_by("first_at")
    ]
    twice.delete()
    ranges.filter(entry=present).update(entry=former)
    write_off_retired(former, begun_at, now, using)  # texts that cannot be read have no slots
    return taken_out


def _join_incidents(former: Entry, present: Entry, now: datetime, using: str) -> None:
    incidents = Incident.objects.using(using)
    # Of each rule one may be open: the former's is about a name that nobody knows any more.
    of_former = incidents.filter(entry=former, open_key=Concat(F("rule"), Value(f":{former.pk}")))
    for incident in of_former.order_by("pk"):
        incident.closed_at, incident.open_key, incident.gone_at = now, None, None
        incident.save(using=using, update_fields=["closed_at", "open_key", "gone_at"])
        incident_closed(incident, using)
    # Those that are of this entry by their key; one of many may name it as the only one so far.
    still_open = incidents.filter(entry=present, open_key=Concat(F("rule"), Value(f":{present.pk}")))
    renamed = Concat(F("rule"), Value(f":{former.pk}"))
    still_open.update(open_key=renamed, key=renamed)
    incidents.filter(entry=present).update(entry=former)
