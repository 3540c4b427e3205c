"""`crons run NAME`: the trigger of one entry, for crontab lines, scripts and people."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from crons.exceptions import Refused
from crons.management.verbs import Out, Verb, argument, operator
from crons.side_output import Echo


class Run(Verb):
    """Runs the slot that is due, or one run more; never one that somebody else has."""

    name = "run"
    help = "run one entry: its due slot with --scheduled, one run besides its schedule from a terminal"
    example = "run clean_inactive_customers --scheduled"
    output_decides = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("entry", metavar="NAME", help="the entry, as manage.py crons list names it")
        kind = parser.add_mutually_exclusive_group()
        kind.add_argument("--scheduled", action="store_true", help="run the slot that is due; written on crontab lines")
        kind.add_argument(
            "--manual", action="store_true", help="run once besides the schedule, also without a terminal"
        )
        parser.add_argument(
            "--arg",
            dest="args_given",
            action="append",
            type=argument,
            default=[],
            metavar="KEY=VALUE",
            help="a keyword argument for this run only, JSON or else text; may be repeated; means --manual",
        )
        parser.add_argument(
            "--wait", action="store_true", help="if somebody has it: show its output, end with its exit code"
        )
        parser.add_argument(
            "--foreground", action="store_true", help="in this very process, so that a debugger works; no timeout"
        )

    def handle(self, options: Mapping[str, Any], out: Out) -> int:
        from crons.management.verbs.history import run_as_json
        from crons.triggers.by_name import run_entry

        ran = run_entry(
            options["entry"],
            out.note,
            by=operator(),
            scheduled=True if options["scheduled"] else False if options["manual"] else None,
            args=_args(options),
            wait=options["wait"],
            foreground=options["foreground"],
            # With --json stdout belongs to the row at the end.
            echo=None if out.json else Echo(as_written=out.as_written),
        )
        if out.json and ran.run is not None:
            out.row(run_as_json(ran.run))
        return ran.code


def _args(options: Mapping[str, Any]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for key, value in options["args_given"]:
        if key in given:
            raise Refused(f"--arg {key}=… is given twice.")
        given[key] = value
    return given
