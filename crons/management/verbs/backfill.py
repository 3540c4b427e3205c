"""`crons backfill`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from crons import api, ledger
from crons.management.verbs import Out, Verb, confirm, moment, operator
from crons.presentation import local


class Backfill(Verb):
    """Fill a hole."""

    name = "backfill"
    help = (
        "Run the slots of an entry in a span that have no success: missed, skipped, failed, or from before\n"
        "it was declared. Oldest first, one at a time unless the job allows overlap, and after what falls due.\n"
        "Each has the context.key and the window of its slot. Repeating it adds nothing that waits or has succeeded."
    )
    example = "backfill nightly_report --since 2026-10-01 --until 2026-10-08 --dry-run"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("entry", metavar="NAME", help="The entry.")
        parser.add_argument(
            "--since", dest="first", type=moment, required=True, metavar="ISO", help="Slots from this moment on."
        )
        parser.add_argument("--until", dest="last", type=moment, metavar="ISO", help="Slots before it; now by default.")
        parser.add_argument("--dry-run", action="store_true", help="Only list the slots.")
        parser.add_argument("--yes", action="store_true", help="Do not ask.")

    def handle(self, options: Mapping[str, Any], out: Out) -> int:
        name = options["entry"]
        span = (options["first"], options["last"] or ledger.database_now())
        slots = api.backfill(name, *span, by=operator(), dry_run=True)
        zone = api.entry(name).zone
        if options["dry_run"] or not slots:
            for at in slots:
                out.row({"entry": name, "at": at}) if out.json else out.line(local(at, zone))
            if not out.json:
                out.line(f"{len(slots)} slots of {name} in this span have no success." if slots else NOTHING)
            return 0
        if not options["yes"]:
            span_told = f"from {local(slots[0], zone)} to {local(slots[-1], zone)}"
            confirm(out, f"Run {len(slots)} slots of {name}, {span_told}?", f"backfill {name} … --yes")
        slots = api.backfill(name, *span, by=operator())
        for at in slots if out.json else ():
            out.row({"entry": name, "at": at})
        if not out.json:
            out.line(f"{len(slots)} slots of {name} are run, oldest first. See: manage.py crons history {name}")
        return 0


NOTHING = "Every slot in this span has succeeded, or waits for its turn already."
