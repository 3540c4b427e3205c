"""`crons list`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db.models import Exists, OuterRef, Subquery

from crons import api, ledger
from crons.conf import conf
from crons.jobs import OURS
from crons.management.verbs import Out, Verb
from crons.models import Attempt, Entry, Range, Run
from crons.presentation import (
    Cell,
    as_json,
    describe_full_group,
    describe_schedule,
    describe_state,
    describe_verdict,
    distance,
    last_attempts,
    local,
    next_slot_at,
    took,
    took_seconds,
)
from crons.verdicts import State
from crons.watch import reaches_ahead

COLUMNS = ("name", "schedule", "next slot", "last verdict", "state")


class List(Verb):
    """Every entry in one line; the last column says what keeps it from running."""

    name = "list"
    help = "List the entries: when they are due, what became of the last slot, and whether they are paused."
    example = "list --all"
    ends_with_reader = True

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--all", action="store_true", help="List retired entries too: those nobody declares now.")

    def handle(self, options: Mapping[str, Any], out: Out) -> int:
        now = ledger.database_now()
        entries = _with_last(api.entries(retired=options["all"]))
        lasts = _Lasts(entries)
        if out.json:
            for entry in entries:
                out.row({**as_json(entry), "next_at": next_slot_at(entry), "last": lasts.as_json(entry)})
            return 0
        if not entries:
            out.line("There are no entries. Declare a job, then: manage.py crons sync")
            return 0
        waits = _waits_for_group(now) | _ahead(entries, now)
        table = [
            (
                entry.name,
                describe_schedule(entry),
                _next(entry, now),
                lasts.cell(entry, now),
                waits.get(entry.pk) or _state(entry),
            )
            for entry in entries
        ]
        out.table(COLUMNS, table)
        for pause in api.wide_pauses():
            out.note(ledger.describe_pause(pause))
        return 0


def _state(entry: Entry) -> Cell:
    """Return the entry's state; of an active one also that its attempts may run for ever."""
    shown = describe_state(entry)
    is_endless = entry.policy.get("timeout", OURS.timeout) is None if isinstance(entry.policy, dict) else False
    return Cell(f"{shown.text}, no timeout", shown.tone) if shown.text == "active" and is_endless else shown


def _waits_for_group(now: datetime) -> dict[int, Cell]:
    """Return, by entry, which full group its runs wait for. Cost: no query where no group has a limit."""
    full = ledger.full_groups(conf.database)
    if not full:
        return {}
    # Whether there is one, along crons_run_open: to list all that wait would take as long as the backlog is.
    ready = Run.objects.filter(entry=OuterRef("pk"), state__in=[State.DUE, State.WAITING], wake_at__lte=now)
    found = api.entries(retired=True).filter(Exists(ready), paused_at=None).values_list("pk", "policy__group")
    return {
        pk: Cell(f"active: waits {describe_full_group(group, full[group])}", "warn")
        for pk, group in found
        if isinstance(group, str) and group in full
    }


def _ahead(entries: list[Entry], now: datetime) -> dict[int, Cell]:
    """Return, by entry, that a clock was ahead and nothing plans it."""
    found = [(entry.pk, problem) for entry in entries for problem in reaches_ahead(entry, now)]
    return {pk: Cell(f"{each.text}. {each.next_step}", "bad") for pk, each in found}


def _next(entry: Entry, now: datetime) -> str:
    at = next_slot_at(entry)
    if at is None:
        return "not planned yet" if entry.wake_at is None else "none"
    return f"{local(at, entry.zone)} ({distance(at, now)})"


def _with_last(entries: Any) -> list[Entry]:
    # Not by its state: until PostgreSQL has statistics it thinks that few rows are "done", and sorts all of an entry's.
    done = Run.objects.filter(entry=OuterRef("pk")).exclude(verdict="").order_by("-planned_at", "-pk")
    missed = Range.objects.filter(entry=OuterRef("pk")).order_by("-last_at", "-pk")
    return list(
        entries.annotate(last_run=Subquery(done.values("pk")[:1]), last_range=Subquery(missed.values("pk")[:1]))
    )


class _Lasts:
    """The newest run or range of each entry. Cost: three queries for all of them."""

    def __init__(self, entries: list[Any]) -> None:
        runs = Run.objects.using(conf.database).in_bulk([entry.last_run for entry in entries if entry.last_run])
        ranges = Range.objects.using(conf.database).in_bulk([entry.last_range for entry in entries if entry.last_range])
        self._attempts: dict[int, Attempt] = last_attempts(runs.values())
        self._last: dict[int, Run | Range] = {}
        for entry in entries:
            run, missed = runs.get(entry.last_run), ranges.get(entry.last_range)
            newest = run or missed
            if run and missed and missed.last_at > run.planned_at:
                newest = missed
            if newest:
                self._last[entry.pk] = newest

    def cell(self, entry: Entry, now: datetime) -> Cell:
        last = self._last.get(entry.pk)
        if last is None:
            return Cell("none yet", "quiet")
        late = last.late_seconds if isinstance(last, Run) else None
        ending = describe_verdict(last.verdict, last.reason, late_seconds=late)
        if isinstance(last, Range):
            return Cell(f"{ending.text}, {distance(last.last_at, now)}", ending.tone)
        length = took(self._attempts.get(last.pk), now)
        after = f", took {length}" if length else ""
        return Cell(f"{ending.text}, {distance(last.planned_at, now)}{after}", ending.tone)

    def as_json(self, entry: Entry) -> dict[str, Any] | None:
        last = self._last.get(entry.pk)
        if last is None:
            return None
        kept: dict[str, Any] = {"model": "range" if isinstance(last, Range) else "run", "id": last.pk}
        kept |= {"verdict": last.verdict, "reason": last.reason}
        kept["at"] = last.last_at if isinstance(last, Range) else last.planned_at
        kept["took_seconds"] = None if isinstance(last, Range) else took_seconds(self._attempts.get(last.pk))
        return kept
