"""`crons sync`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from django.db import connections

from crons import api
from crons.declarations import Retire
from crons.jobs import registry
from crons.management.verbs import Out, Verb, operator
from crons.triggers.alert_sender import AlertSender

# A mail server that hangs must not hold a deploy: what is not out by then, the next scheduler sends.
SENDING_SECONDS = 5.0
DEEDS = (("created", "good"), ("changed", "warn"), ("renamed", "warn"), ("retired", "warn"))


class Sync(Verb):
    """Declarations → rows."""

    name = "sync"
    help = (
        "Bring the entries in step with what this code declares; `serve` adds and changes when it starts.\n"
        "What fell due under an old schedule is recorded under it first. Entries that are declared no more are\n"
        "retired, which a mail says; their history stays. More than 5 that are also more than a quarter of all,\n"
        "and those of another project, are left unless --retire is given. A line of CRONJOBS, CRON_CLASSES or a\n"
        "crontab file that cannot work is named, and changes nothing.\n"
        "Exit code 1 if a module of declarations cannot be imported, or if entries were left."
    )
    example = "sync"
    checks = "__all__"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--retire", action="store_true", help="Retire all that is not declared, however many entries that are."
        )

    def handle(self, options: Mapping[str, Any], out: Out) -> int:
        retire = Retire.ALL if options["retire"] else Retire.FEW
        done = api.sync(retire=retire, by=operator())
        if done.retired:
            _send()
        if out.json:
            out.row(asdict(done))
        else:
            for deed, tone in DEEDS:
                for name in getattr(done, deed):
                    out.line(f"{deed}  {name}", tone)
            known = len(done.created) + len(done.changed) + len(done.renamed) + len(done.unchanged)
            out.line(f"{known} declared, {len(done.unchanged)} unchanged.")
        for rename in done.renames:
            out.note(rename)
        for problem in done.problems:
            out.note(f"problem: {problem}")
        return 1 if registry.broken or done.undeclared else 0


def _send() -> None:
    """Send what says that entries were retired; within somebody's transaction nobody else could read it yet."""
    if any(each.in_atomic_block for each in connections.all(initialized_only=True)):
        return
    sender = AlertSender()
    sender.start()
    sender.finish(SENDING_SECONDS)
