"""`crons history`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db.models import Count

from crons import api, ledger
from crons.management.verbs import Out, Verb, at_least_one, moment
from crons.models import Attempt, Range, Run, not_well, well
from crons.presentation import (
    as_json,
    describe_arguments,
    describe_progress,
    describe_run,
    describe_verdict,
    describe_work,
    last_attempts,
    local,
    progress_of,
    took,
    took_seconds,
    work_as_json,
    work_of,
)
from crons.verdicts import Kind, Verdict

COLUMNS = ("run", "slot", "entry", "verdict", "tries", "took", "trigger", "host")


class History(Verb):
    """What became of every slot."""

    name = "history"
    help = "List what became of past slots, newest first: runs, and ranges of slots missed or skipped together."
    example = "history nightly_report --verdict failed --since 2026-10-01"
    ends_with_reader = True

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("entry", metavar="NAME", nargs="?", help="Only this entry.")
        parser.add_argument("--count", type=at_least_one, default=20, metavar="N", help="How many; 20 by default.")
        parser.add_argument("--verdict", choices=[word.value for word in Verdict], help="Only what ended so.")
        parser.add_argument("--since", type=moment, metavar="ISO", help="Only slots from this moment on.")
        parser.add_argument("--until", type=moment, metavar="ISO", help="Only slots before this moment.")

    def handle(self, options: Mapping[str, Any], out: Out) -> int:
        found = _merged(options)
        runs = [row for row in found if isinstance(row, Run)]
        attempts = last_attempts(runs)
        if out.json:
            counts = _attempt_counts(runs)
            for row in found:
                out.row(_as_json(row, attempts, counts))
            return 0
        if not found:
            out.line("No slot is recorded that fits.")
            return 0
        now = ledger.database_now()
        lines = [_line(row, attempts, now) for row in found]
        works = [_work(attempts.get(row.pk)) if isinstance(row, Run) else "" for row in found]
        if any(works):
            out.table((*COLUMNS, "work"), [(*line, text) for line, text in zip(lines, works, strict=True)])
        else:
            out.table(COLUMNS, lines)
        return 0


def run_as_json(pk: int) -> dict[str, Any]:
    """Return one run as `history --json` prints it."""
    run = api.history().get(pk=pk)
    return _as_json(run, last_attempts([run]), _attempt_counts([run]))


def _merged(options: Mapping[str, Any]) -> list[Run | Range]:
    runs, ranges = api.history(options["entry"]), api.ranges(options["entry"])
    if options["verdict"]:
        runs, ranges = runs.filter(verdict=options["verdict"]), ranges.filter(verdict=options["verdict"])
        # An index holds just these, those of one entry in order too; without it, to find none a million were read.
        runs = well(runs, "verdict") if options["verdict"] == Verdict.SUCCEEDED else not_well(runs, "verdict")
    if options["since"]:
        runs, ranges = runs.filter(planned_at__gte=options["since"]), ranges.filter(last_at__gte=options["since"])
    if options["until"]:
        runs, ranges = runs.filter(planned_at__lt=options["until"]), ranges.filter(first_at__lt=options["until"])
    count = options["count"]
    both: list[Run | Range] = [*runs[:count], *ranges[:count]]
    return sorted(both, key=_at, reverse=True)[:count]


def _at(row: Run | Range) -> datetime:
    at: datetime = row.planned_at if isinstance(row, Run) else row.last_at
    return at


def _attempt_counts(runs: Sequence[Run]) -> dict[int, int]:
    """Count the attempts of *runs*: of these only, for counted in the query of the runs all of them would be."""
    tried = Attempt.objects.filter(run__in=[run.pk for run in runs])
    return dict(tried.order_by().values_list("run").annotate(Count("pk")))


def _as_json(row: Run | Range, attempts: Mapping[int, Attempt], counts: Mapping[int, int]) -> dict[str, Any]:
    if isinstance(row, Range):
        return {"model": "range", **as_json(row)}
    last = attempts.get(row.pk)
    more = {
        "attempts": counts.get(row.pk, 0),
        "took_seconds": took_seconds(last),
        "host": last.host if last else "",
        "work": work_as_json(work_of(last)),
    }
    return {"model": "run", **as_json(row), **more}


def _line(row: Run | Range, attempts: Mapping[int, Attempt], now: datetime) -> tuple[Any, ...]:
    zone = row.entry.zone
    if isinstance(row, Range):
        span = f"{row.count} slots since {local(row.first_at, zone)}" if row.count > 1 else ""
        ending = describe_verdict(row.verdict, row.reason, span)
        return ("", local(row.last_at, zone), row.entry.name, ending, "", "", row.trigger, "")
    last = attempts.get(row.pk)
    by_hand = "" if row.kind == Kind.SLOT else f" {row.kind}"
    if row.args:
        by_hand += f" ({describe_arguments(row.args)})"
    return (
        str(row.pk),
        local(row.planned_at, zone) + by_hand,
        row.entry.name,
        describe_run(row),
        str(row.tries),
        took(last, now),
        row.trigger,
        last.host if last else "",
    )


def _work(attempt: Attempt | None) -> str:
    """Say what the job reported; of one that still goes, how far it is."""
    work = work_of(attempt)
    is_going = attempt is not None and attempt.ended_at is None
    return (is_going and describe_progress(progress_of(work))) or describe_work(work, briefly=True)
