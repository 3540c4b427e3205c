"""`crons reconcile`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from crons import api
from crons.ledger import Reconciled
from crons.management.verbs import Out, Verb, moment, operator
from crons.presentation import utc


class Reconcile(Verb):
    """Make a database safe to run: after a restore, or after its clock was wrong."""

    name = "reconcile"
    help = (
        "After a backup was restored: what may have run since it was made is written off as lost, but for jobs\n"
        "that are idempotent, and fencing tokens go on above any that may have been issued.\n"
        "With CRONS_ENABLED=0 and no scheduler running; then switch on.\n"
        "With --clock, after the clock was wrong: accounts that reach into the future end now, and nothing that\n"
        "has run is run again."
    )
    example = "reconcile --since 2026-11-23T02:00Z --dry-run"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--since", metavar="MOMENT", type=moment, help="When the backup was made.")
        what.add_argument(
            "--clock",
            action="store_true",
            help="The clock is right now: set back what was written while it was ahead, repeating nothing.",
        )
        parser.add_argument(
            "--until",
            metavar="MOMENT",
            type=moment,
            help="When the lost database stopped; now by default.",
        )
        parser.add_argument("--dry-run", action="store_true", help="Say what would be done, and change nothing.")

    def handle(self, options: Mapping[str, Any], out: Out) -> int:
        dry_run = options["dry_run"]
        if options["clock"]:
            return _correct_clock(dry_run, out)
        done = api.reconcile(options["since"], by=operator(), until=options["until"], dry_run=dry_run)
        if out.json:
            out.row({**asdict(done), "dry_run": dry_run})
            return 0
        for text in _lines(done):
            out.line(text)
        out.line("Nothing was changed: this was a dry run." if dry_run else "Reconciled. Now switch on, and start.")
        return 0


def _correct_clock(dry_run: bool, out: Out) -> int:
    done = api.correct_clock(by=operator(), dry_run=dry_run)
    if out.json:
        out.row({**asdict(done), "dry_run": dry_run})
        return 0
    for name, until in done.accounts.items():
        out.line(f"{name}: was accounted for until {utc(until)}; now until this moment")
    for name, why in done.unreadable.items():
        out.line(f"{name}: left as it is, it cannot be read: {why}")
    out.line(
        f"{done.ranges} range(s) end now, {done.runs} run(s) and {done.attempts} lease(s) no longer wait for a moment "
        f"of the wrong clock, {done.heartbeats} heartbeat(s) of it are gone"
    )
    out.line("Nothing was changed: this was a dry run." if dry_run else "From now on this clock is believed.")
    return 0


def _lines(done: Reconciled) -> list[str]:
    lines = [f"run {pk} of {name}: lost, it may have run since the backup" for pk, name in done.lost_runs]
    lines += [f"run {pk} of {name}: will be run again, the job is idempotent" for pk, name in done.runs_to_repeat]
    lines += [f"{name}: {count} slot(s) lost, they may have run" for name, count in done.slots_written_off.items()]
    lines += [
        f"{name}: {count} slot(s) are caught up as the job declares, it is idempotent"
        for name, count in done.slots_to_catch_up.items()
    ]
    lines += [f"{name}: left as it is, it cannot be read: {why}" for name, why in done.unreadable.items()]
    lines.append(f"{done.lost_attempts} attempt(s) were running in the backup: lost")
    lines.append(f"tokens go on above {done.tokens_above}")
    return lines
