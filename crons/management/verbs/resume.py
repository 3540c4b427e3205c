"""`crons resume`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from crons import api
from crons.management.verbs import Out, Verb, add_scope, operator
from crons.presentation import as_json, describe_state


class Resume(Verb):
    """Let an entry go on, those with a tag, or all of them."""

    name = "resume"
    help = (
        "End a pause: run the slots of an entry again from now on. Those of the pause stay skipped.\n"
        "--all and --tag end what `crons pause` with the same word began, and no other pause."
    )
    example = "resume nightly_report"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        add_scope(parser)

    def handle(self, options: Mapping[str, Any], out: Out) -> int:
        if options["entry"]:
            return _resume_one(options["entry"], out)
        names = api.resume_all(by=operator(), tag=options["tag"] or "")
        for entry in api.entries().filter(name__in=names):
            if out.json:
                out.row(as_json(entry))
            else:
                out.line(f"{entry.name} runs again.")
        if not out.json:
            what = f"--tag {options['tag']}" if options["tag"] else "--all"
            left = api.entries().filter(paused_at__isnull=False).count()
            out.line(f"{len(names)} entries run again after crons pause {what}; {left} are paused still.")
        return 0


def _resume_one(name: str, out: Out) -> int:
    was_paused = api.entry(name).paused_at is not None
    entry = api.resume(name, by=operator())
    if out.json:
        out.row(as_json(entry))
    elif entry.paused_at is not None:
        out.line(f"{name} has no pause of its own any more, and is {describe_state(entry).text}")
    else:
        out.line(f"{name} runs again." if was_paused else f"{name} was not paused.")
    return 0
