"""`crons next`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from crons import api, ledger
from crons.management.verbs import Out, Verb, at_least_one
from crons.presentation import Cell, distance, local

# Each is reckoned: a slip of the finger must not take the memory of the machine that the jobs run on.
MOST = 10_000
COLUMNS = ("slot", "when", "entry", "")


class Next(Verb):
    """The slots that have not come yet."""

    name = "next"
    help = "List the slots that come next, of one entry or of all together, soonest first."
    example = "next nightly_report --count 3"
    ends_with_reader = True

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("entry", metavar="NAME", nargs="?", help="Only this entry.")
        help_text = f"How many; 10 by default, {MOST} at most."
        parser.add_argument("--count", type=_count, default=10, metavar="N", help=help_text)

    def handle(self, options: Mapping[str, Any], out: Out) -> int:
        now = ledger.database_now()
        slots = api.upcoming(options["entry"], count=options["count"], after=now)
        if out.json:
            for slot in slots:
                row = {"at": slot.at, "entry": slot.entry, "zone": slot.zone, "paused": slot.paused}
                out.row({**row, "opens_at": slot.opens_at})
            return 0
        if not slots:
            out.line("Nothing is due any more. See: manage.py crons list --all")
            return 0
        out.table(
            COLUMNS, [(local(slot.at, slot.zone), distance(slot.at, now), slot.entry, _note(slot)) for slot in slots]
        )
        return 0


def _note(slot: ledger.UpcomingSlot) -> Cell | str:
    if slot.paused:
        return Cell("paused: will be skipped", "warn")
    return f"begins when its window opens: {local(slot.opens_at, slot.zone)}" if slot.opens_at else ""


def _count(text: str) -> int:
    count = at_least_one(text)
    if count > MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is too many, expected at most {MOST}")
    return count
