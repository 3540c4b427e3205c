"""`crons resume`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from crons import api
from crons.management import rows
from crons.management.output import Out
from crons.management.verbs.base import Verb, operator


class Resume(Verb):
    """Let an entry go on."""

    name = "resume"
    help = "End a pause: run the slots of an entry again from now on. Those of the pause stay skipped."
    example = "resume nightly_report"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Take NAME."""
        parser.add_argument("entry", metavar="NAME", help="The entry.")

    def handle(self, options: Mapping[str, Any], out: Out) -> int:
        """Resume, and say so."""
        was_paused = api.entry(options["entry"]).paused_at is not None
        api.resume(options["entry"], by=operator())
        if out.json:
            out.row(rows.as_json(api.entry(options["entry"])))
        else:
            out.line(f"{options['entry']} runs again." if was_paused else f"{options['entry']} was not paused.")
        return 0
