"""`crons tick`: one look at the clock."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from crons.management.output import Out
from crons.management.verbs.base import Verb


class Tick(Verb):
    """What a crontab line, a systemd timer or a hand calls; each minute is often enough for most."""

    name = "tick"
    help = "do what is due now, see it through, and end"
    example = "tick"

    def handle(self, options: Mapping[str, Any], out: Out) -> int:
        """Tick; 0 whatever became of the jobs: their verdicts are in the ledger."""
        from crons.triggers.session import Session
        from crons.triggers.tick import tick

        with Session("tick", "tick") as session:
            done = tick(session)
        counts = {
            "recorded": done.runs,
            "written_off": done.written_off,
            "begun": len(done.begun),
            "sent": session.dispatcher.sent,
            "lost": len(done.lost),
            "parked": len(done.parked),
        }
        if out.json:
            out.row(counts)
        elif any(counts.values()) or sys.stderr.isatty():
            # Cron mails whatever a line prints: with nothing to do it must be silent.
            sent = f", {counts['sent']} sent" if counts["sent"] else ""
            out.note(
                f"{done.runs} slot(s) recorded, {done.written_off} written off, {len(done.begun)} attempt(s) begun, "
                f"{len(done.lost)} found lost{sent}."
            )
        for name in done.parked:
            out.note(f"{name} is parked: see manage.py crons health")
        return 0
