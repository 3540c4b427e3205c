"""`crons pause`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from crons import api, ledger
from crons.exceptions import Refused
from crons.management import rows
from crons.management.output import Out
from crons.management.verbs.base import Verb, moment, operator
from crons.management.verbs.entries import state


class Pause(Verb):
    """Hold an entry."""

    name = "pause"
    help = "Skip the slots of an entry from now on; each is recorded as skipped. What runs already goes on."
    example = 'pause nightly_report --until 2026-10-26T06:00 --reason "warehouse is moving"'

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Take NAME, --reason and --until."""
        parser.add_argument("entry", metavar="NAME", help="The entry.")
        parser.add_argument("--reason", required=True, help="Why; whoever wonders will read it.")
        parser.add_argument("--until", type=moment, metavar="ISO", help="When to go on; until resumed unless told.")

    def handle(self, options: Mapping[str, Any], out: Out) -> int:
        """Pause, and say so."""
        if options["until"] and options["until"] <= ledger.database_now():
            raise Refused(f"--until {options['until'].isoformat()} is past: expected a moment to come.")
        api.pause(options["entry"], by=operator(), reason=options["reason"], until=options["until"])
        entry = api.entry(options["entry"])
        if out.json:
            out.row(rows.as_json(entry))
        else:
            out.line(f"{entry.name} is {state(entry).text}")
        return 0
