"""`crons run NAME`: the trigger of one entry, for crontab lines, scripts and people."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from crons.exceptions import Refused
from crons.management.output import Out
from crons.management.verbs.base import Verb, argument, operator
from crons.side_output import Echo, is_terminal


class Run(Verb):
    """Runs the slot that is due, or one run more; never one that somebody else has."""

    name = "run"
    help = "run one entry: its due slot with --scheduled, one run besides its schedule from a terminal"
    example = "run clean_inactive_customers --scheduled"
    output_decides = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the entry's name and how to run it."""
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
        """Run; 0 when it succeeded or somebody else has it, 1 when it failed or was refused."""
        from crons.management.verbs.history import run_as_json
        from crons.triggers.entry import EntryTrigger, do_the_work
        from crons.triggers.session import Session

        name, args = options["entry"], _args(options)
        if os.environ.get("CRONS_ATTEMPT"):
            # Called from within an attempt: that one is the run, this is its work.
            return do_the_work(name)
        if args:
            from crons import api
            from crons.declarations import arguments

            arguments.check(api.entry(name), args)  # before processes are started for it
        at_terminal = is_terminal(sys.stdin) or is_terminal(sys.stdout)
        scheduled = options["scheduled"] or not (options["manual"] or at_terminal or args)
        trigger = "crontab" if scheduled else "manual"
        # With --json stdout belongs to the row at the end; inline, the job writes to the terminal itself.
        echo = None if options["foreground"] or out.json else Echo(as_written=out.as_written)
        with Session("run", trigger, _executors(name, options["foreground"]), echo=echo) as session:
            named = EntryTrigger(session, out.note, wait=options["wait"], echo=Echo(as_written=out.as_written))
            guess = not options["scheduled"]
            code = named.scheduled(name, guess=guess) if scheduled else named.manual(name, by=operator(), args=args)
        if out.json and named.run is not None:
            out.row(run_as_json(named.run.pk))
        return code


def _args(options: Mapping[str, Any]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for key, value in options["args_given"]:
        if key in given:
            raise Refused(f"--arg {key}=… is given twice.")
        given[key] = value
    if given and options["scheduled"]:
        raise Refused("--arg is for manual runs: a slot runs with the arguments that its entry was declared with.")
    if given and os.environ.get("CRONS_ATTEMPT"):
        raise Refused("--arg is for starting a run; this process works for one that was started with its arguments.")
    return given


def _executors(name: str, foreground: bool) -> dict[str, Any] | None:
    if not foreground:
        return None
    from crons.executors.inline import InlineExecutor
    from crons.jobs import registry

    wanted = {job.policy.executor for job in registry.jobs.values()}
    return {alias: InlineExecutor(alias=alias) for alias in sorted(wanted)}
