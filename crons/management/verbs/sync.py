"""`crons sync`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from crons import api
from crons.jobs import registry
from crons.management.output import Out
from crons.management.verbs.base import Verb

DEEDS = (("created", "good"), ("changed", "warn"), ("renamed", "warn"), ("retired", "warn"))


class Sync(Verb):
    """Declarations → rows."""

    name = "sync"
    help = (
        "Bring the entries in step with what this code declares; `serve` does it when it starts.\n"
        "What fell due under an old schedule is recorded under it first. Undeclared entries are retired,\n"
        "their history stays. A line of CRONJOBS, CRON_CLASSES or a crontab file that cannot work is named, and\n"
        "changes nothing. Exit code 1 if a module of declarations cannot be imported."
    )
    example = "sync"
    checks = "__all__"

    def handle(self, options: Mapping[str, Any], out: Out) -> int:
        """Sync, and print what that did."""
        done = api.sync()
        if out.json:
            out.row(asdict(done))
        else:
            for deed, tone in DEEDS:
                for name in getattr(done, deed):
                    out.line(f"{deed}  {name}", tone)
            known = len(done.created) + len(done.changed) + len(done.renamed) + len(done.unchanged)
            out.line(f"{known} declared, {len(done.unchanged)} unchanged.")
        for problem in done.problems:
            out.note(f"problem: {problem}")
        return 1 if registry.broken else 0
