"""`crons prune`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from crons import api
from crons.management.verbs import Out, Verb, operator


class Prune(Verb):
    """Delete what nobody needs any more."""

    name = "prune"
    help = (
        "Delete runs, ranges, incidents and audit events that are older than CRONS['KEEP'] says.\n"
        "The built-in job crons.prune does the same each night."
    )
    example = "prune --dry-run"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Count what would go, and delete nothing.")

    def handle(self, options: Mapping[str, Any], out: Out) -> int:
        done = api.prune(by=operator(), dry_run=options["dry_run"])
        if out.json:
            out.row({**asdict(done), "dry_run": options["dry_run"]})
        else:
            out.line(("would go: " if options["dry_run"] else "deleted: ") + done.described())
        return 0
