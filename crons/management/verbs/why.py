"""`crons why`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from crons import api
from crons.management.output import Out
from crons.management.verbs.base import Verb, run_number
from crons.presentation import UNWANTED


class Why(Verb):
    """One slot: what became of it, and the chain of facts that led there."""

    name = "why"
    help = (
        "Say why a slot of an entry was not run, or was run late, or what will become of it: the verdict, the facts "
        "that led to it, and what to do."
    )
    example = "why nightly_report 02:00"
    ends_with_reader = True

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("entry", metavar="NAME", help="The entry.")
        parser.add_argument(
            "moment",
            metavar="MOMENT",
            nargs="*",  # as crons prints them: a day, a time and an offset, without quotes
            help="The slot, on the entry's clock: 02:00 (the last one that has come), 2026-10-25 (that day's first), "
            "2026-10-25 02:00, or with an offset. The newest slot by default.",
        )
        parser.add_argument("--run", type=run_number, metavar="RUN_ID", help="A run of it, also one that has no slot.")

    def handle(self, options: Mapping[str, Any], out: Out) -> int:
        moment = " ".join(options["moment"]) if options["moment"] else None
        answer = api.why(options["entry"], moment, run=options["run"])
        if out.json:
            out.row(
                {
                    "entry": answer.entry,
                    "at": answer.at,
                    "zone": answer.zone,
                    "status": answer.status,
                    "reason": answer.reason,
                    "run": answer.run,
                    "headline": answer.headline,
                    "because": list(answer.because),
                    "do": list(answer.next_steps),
                }
            )
            return 0
        out.line(
            answer.headline, "bad" if answer.status in UNWANTED else "good" if answer.status == "succeeded" else "warn"
        )
        for sentence in answer.because:
            out.line(f"  {sentence}")
        for step in answer.next_steps:
            out.line(f"To do: {step}")
        return 0
