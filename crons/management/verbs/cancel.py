"""`crons cancel`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from crons import api
from crons.exceptions import Refused
from crons.management.verbs import Out, Verb, find_run, operator
from crons.models import Run
from crons.presentation import as_json
from crons.verdicts import State


class Cancel(Verb):
    """Stop a run, or all of an entry."""

    name = "cancel"
    help = (
        "Stop a run: at once if nothing runs yet; else its job is asked to at the next renewal of its lease,\n"
        "and killed if it does not end by itself. With a name: every run of that entry that goes or waits."
    )
    example = 'cancel 1042 --reason "wrong customer list"'

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("run", metavar="RUN_ID|NAME", help="A run's number, or an entry: all that goes or waits.")
        parser.add_argument("--reason", required=True, help="Why; it is kept with the run.")
        parser.add_argument("--backfill", action="store_true", help="With a name: only what was asked for after all.")

    def handle(self, options: Mapping[str, Any], out: Out) -> int:
        asked, how = options["run"], {"by": operator(), "reason": options["reason"]}
        if not asked.isdecimal():
            runs = api.cancel_entry(asked, **how, backfill=options["backfill"])
            if not runs and not out.json:
                out.line(f"no run of {asked} goes or waits" + (" that was asked for." if options["backfill"] else "."))
        elif options["backfill"]:
            raise Refused(f"--backfill goes with an entry's name, and {asked} is a run's number.")
        else:
            runs = [api.cancel(int(asked), **how)]
        for run in runs:
            _print(find_run(run.pk), out)
        return 0


def _print(run: Run, out: Out) -> None:
    if out.json:
        out.row(as_json(run))
    elif run.state == State.DONE:
        out.line(f"run {run.pk} of {run.entry.name} is cancelled.")
    else:
        out.line(f"run {run.pk} of {run.entry.name} was asked to stop. See: manage.py crons show {run.pk}")
