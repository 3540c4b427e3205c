"""`crons cancel`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from crons import api
from crons.management import rows
from crons.management.output import Out
from crons.management.verbs.base import Verb, at_least_one, operator
from crons.management.verbs.show import find_run
from crons.verdicts import State


class Cancel(Verb):
    """Stop a run."""

    name = "cancel"
    help = (
        "Stop a run: at once if nothing runs yet; else its job is told at the next renewal of its lease,\n"
        "and killed if it does not end by itself."
    )
    example = 'cancel 1042 --reason "wrong customer list"'

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Take RUN_ID and --reason."""
        parser.add_argument("run", metavar="RUN_ID", type=at_least_one, help="A run's number, from crons history.")
        parser.add_argument("--reason", required=True, help="Why; it is kept with the run.")

    def handle(self, options: Mapping[str, Any], out: Out) -> int:
        """Cancel, and say what follows."""
        api.cancel(options["run"], by=operator(), reason=options["reason"])
        run = find_run(options["run"])
        if out.json:
            out.row(rows.as_json(run))
        elif run.state == State.DONE:
            out.line(f"run {run.pk} of {run.entry.name} is cancelled.")
        else:
            out.line(f"run {run.pk} of {run.entry.name} was asked to stop. See: manage.py crons show {run.pk}")
        return 0
