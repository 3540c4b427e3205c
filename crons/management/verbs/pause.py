"""`crons pause`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from crons import api, ledger
from crons.exceptions import Refused
from crons.management.verbs import Out, Verb, add_scope, moment, operator
from crons.presentation import as_json, describe_state


class Pause(Verb):
    """Pause an entry, those with a tag, or all of them."""

    name = "pause"
    help = (
        "Skip the slots of an entry from now on; each is recorded as skipped. What runs already goes on.\n"
        "With --tag or --all also those of entries that are declared later; pauses that are there stay."
    )
    example = 'pause nightly_report --until 2026-10-26T06:00 --reason "warehouse is moving"'

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        add_scope(parser)
        parser.add_argument("--reason", required=True, help="Why; whoever wonders will read it.")
        parser.add_argument("--until", type=moment, metavar="ISO", help="When to go on; by default, on resume.")

    def handle(self, options: Mapping[str, Any], out: Out) -> int:
        if options["until"] and options["until"] <= ledger.database_now():
            raise Refused(f"--until {options['until'].isoformat()} is past: expected a moment to come.")
        given: dict[str, Any] = {"by": operator(), "reason": options["reason"], "until": options["until"]}
        if options["entry"]:
            api.pause(options["entry"], **given)
            names = [options["entry"]]
        else:
            names = api.pause_all(**given, tag=options["tag"] or "")
        print_entries(names, out)
        if not out.json and not options["entry"]:
            what = f"with the tag {options['tag']!r}" if options["tag"] else "of all"
            out.line(f"{len(names)} entries {what} are paused. What runs already goes on; crons cancel stops it.")
        return 0


def print_entries(names: list[str], out: Out) -> None:
    """Print the row of each entry as JSON, or for people whether it is paused, and by whom."""
    for entry in api.entries(retired=True).filter(name__in=names):
        if out.json:
            out.row(as_json(entry))
        else:
            out.line(f"{entry.name} is {describe_state(entry).text}")
