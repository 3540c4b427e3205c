"""`crons show`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from crons import api, ledger
from crons.exceptions import CronsError
from crons.management.verbs import Out, Verb, find_run, run_or_name
from crons.models import Attempt, AuditEvent, Run, WorkReport
from crons.presentation import (
    Cell,
    as_json,
    describe_given,
    describe_progress,
    describe_run,
    describe_second,
    describe_usual,
    describe_verdict,
    describe_watched,
    describe_work,
    local,
    progress_of,
    took,
    words,
    work_as_json,
    work_of,
)
from crons.verdicts import MEANINGS
from crons.watch import Usual, usual_besides


class Show(Verb):
    """One run and its attempts."""

    name = "show"
    help = "Show all that is known of one run: its slot, its verdict, and each attempt."
    example = "show nightly_report"
    ends_with_reader = True

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "run", metavar="RUN_ID|NAME", type=run_or_name, help="A run's number, or an entry: its newest."
        )

    def handle(self, options: Mapping[str, Any], out: Out) -> int:
        run = _run(options["run"])
        attempts = list(run.attempts.select_related("work").order_by("number"))
        deeds = AuditEvent.objects.filter(subject_type="run", subject=str(run.pk)).order_by("pk")
        usual = usual_besides(run.pk, run.entry_id)
        if out.json:
            tried = [{**as_json(each), "work": work_as_json(work_of(each))} for each in attempts]
            done = [as_json(each) for each in deeds]
            more = {"usual": usual and _usual_as_json(usual), "audit": done, "attempts": tried}
            out.row({"model": "run", **as_json(run), **more})
            return 0
        _print_run(run, out)
        for deed in deeds:
            out.line(f"  {_told(deed, run.entry.zone)}")
        now = ledger.database_now()
        for attempt in attempts:
            out.line()
            _print_attempt(attempt, run.entry.zone, now, usual, out)
        return 0


def _run(asked: int | str) -> Run:
    if isinstance(asked, int):
        return find_run(asked)
    newest = api.history(asked).first()
    if newest is None:
        raise CronsError(f"{asked!r} has no run yet. See: manage.py crons history {asked}")
    return newest


def _print_run(run: Run, out: Out) -> None:
    zone = run.entry.zone
    slot = f"{local(run.slot_at, zone)} ({zone})" if run.slot_at else "none: somebody asked for it"
    by = f" ({run.requested_by})" if run.requested_by else ""
    out.line(f"run {run.pk} of {run.entry.name}")
    out.facts(
        [
            ("slot", slot),
            ("verdict", describe_run(run)),
            ("meaning", Cell(MEANINGS.get(run.reason or run.verdict, ""), "quiet")),
            ("recorded", f"{local(run.recorded_at, zone)} by {run.trigger}{by}"),
            ("came second", describe_second(run)),
            ("ended", local(run.ended_at, zone) if run.ended_at else ""),
            ("waits", api.why_waiting([run]).get(run.pk, "")),
            ("next try", local(run.wake_at, zone) if run.wake_at and run.tries else ""),
            ("arguments", describe_given(run)),
            ("owner", run.entry.owner),
            ("alert on", describe_watched(ledger.policy_or_default(run.entry))),
        ]
    )


def _told(deed: AuditEvent, zone: str) -> str:
    was = f"; it was {words(deed.before['verdict'])}" if deed.before and deed.before.get("verdict") else ""
    reason = f": {deed.reason}" if deed.reason else ""
    return f"{deed.verb} by {deed.actor} at {local(deed.at, zone)}{reason}{was}"


def _print_attempt(attempt: Attempt, zone: str, now: datetime, usual: Usual | None, out: Out) -> None:
    outcome = describe_verdict(attempt.outcome) if attempt.outcome else Cell("still going")
    late = f"{words(attempt.late_outcome)} (reported after it had ended: changed nothing)"
    work = work_of(attempt)
    asked = attempt.cancel_requested_at
    cancel = f"{local(asked, zone)}: {attempt.cancel_reason}" if asked else ""
    out.line(f"attempt {attempt.number} (id {attempt.pk})")
    out.facts(
        [
            ("outcome", outcome),
            ("late outcome", late if attempt.late_outcome else ""),
            ("where", f"{attempt.host}, instance {attempt.instance} (pid {attempt.pid}), executor {attempt.executor}"),
            ("begun", local(attempt.begun_at, zone)),
            ("ended", local(attempt.ended_at, zone) if attempt.ended_at else ""),
            ("took", _took(attempt, now, usual)),
            ("reported", describe_work(work)),
            ("progress", _progress(work, zone)),
            ("cancel asked", cancel),
            ("exit code", "" if attempt.exit_code is None else str(attempt.exit_code)),
            ("processor", "" if attempt.cpu_seconds is None else f"{attempt.cpu_seconds:.2f} s"),
            ("memory", _megabytes(attempt.peak_memory_bytes)),
        ]
    )
    for line in attempt.error.rstrip().split("\n") if attempt.error else ():
        out.line(f"    {line}".rstrip())


def _usual_as_json(usual: Usual) -> dict[str, float]:
    return {
        "p50_seconds": usual.p50.total_seconds(), "p95_seconds": usual.p95.total_seconds(), "count": usual.count
    }  # fmt: skip


def _took(attempt: Attempt, now: datetime, usual: Usual | None) -> str:
    if usual is None:
        return took(attempt, now)
    text = describe_usual(usual.p50, usual.p95)
    if usual.is_beyond((attempt.ended_at or now) - attempt.begun_at):
        return f"{took(attempt, now)}, longer than usual ({text})"
    return f"{took(attempt, now)} (usually {text})"


def _progress(work: WorkReport | None, zone: str) -> str:
    progress = describe_progress(progress_of(work))
    return f"{progress} ({local(work.progress_at, zone)})" if work and work.progress_at and progress else progress


def _megabytes(size_bytes: int | None) -> str:
    return "" if size_bytes is None else f"{size_bytes / 1_000_000:.1f} MB at most"
