"""`crons undo`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from crons.ledger import deployment
from crons.management.verbs import Out, Verb, operator
from crons.management.verbs.plan import add_target, make_target, show


class Undo(Verb):
    """One step back, or all of them."""

    name = "undo"
    help = (
        "Have our lines, or units, as they were before the last apply; each call goes one apply further back.\n"
        "What others changed since then stays. The rows of the entries stay too: pause what must not run."
    )
    example = "undo --to crontab"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        add_target(parser)
        parser.add_argument("--all", action="store_true", help="Take our lines out altogether.")
        parser.add_argument(
            "--take-over", action="store_true", help="Undo what this IDENTITY installed though its database moved."
        )

    def handle(self, options: Mapping[str, Any], out: Out) -> int:
        deployment.refuse_a_copy()
        target = make_target(options)
        plan = target.plan_undo(everything=options["all"])
        if options["all"] and plan.is_in_step:
            show(plan, out, kept=None)
            return 0
        kept = target.undo(plan, operator())
        show(plan, out, kept=str(kept))
        if not out.json:
            out.line(f"Undone. What it was before: {kept}", "good")
        return 0
