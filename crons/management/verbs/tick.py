"""`crons tick`: one look at the clock."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from crons.management.verbs import Out, Verb
from crons.side_output import is_terminal


class Tick(Verb):
    """What a crontab line, a systemd timer or a hand calls; each minute is often enough for most."""

    name = "tick"
    help = "do what is due now, see it through, and end"
    example = "tick"
    output_decides = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--while-busy",
            action="store_true",
            help="As long as something runs, look again each minute: for a timer that starts no second one.",
        )

    def handle(self, options: Mapping[str, Any], out: Out) -> int:
        from crons.triggers.session import Session
        from crons.triggers.tick import tick

        with Session("tick", "tick") as session:
            done = tick(session, while_busy=options["while_busy"])
        counts = {**done.summary(session.dispatcher.publishers.sent), "begun": len(done.begun)}
        if out.json:
            out.row(counts)
        elif any(counts.values()) or is_terminal(sys.stderr):
            # Cron mails whatever a line prints: with nothing to do it must be silent.
            sent = f", {counts['sent']} sent" if counts["sent"] else ""
            out.note(
                f"{counts['recorded']} slot(s) recorded, {counts['written_off']} missed or skipped, "
                f"{counts['begun']} attempt(s) begun, {counts['lost']} found lost{sent}."
            )
        for name in done.parked:
            out.note(f"{name} is parked: see manage.py crons health")
        return 0
