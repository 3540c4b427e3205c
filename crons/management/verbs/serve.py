"""`crons serve`: the built-in scheduler."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from crons.management.verbs import Out, Verb


class Serve(Verb):
    """Looks at the clock the moment something is due, until it is stopped."""

    name = "serve"
    help = "run the built-in scheduler until SIGTERM or Ctrl-C; any number may run at once"
    example = "serve"
    checks = "__all__"
    leaves_zones = True
    output_decides = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--reload", action="store_true", help="start anew when code changes; with DEBUG only")

    def handle(self, options: Mapping[str, Any], out: Out) -> int:
        from django.conf import settings

        from crons.exceptions import CronsError
        from crons.triggers.serve import Scheduler, start_anew
        from crons.triggers.session import Session

        if options["reload"] and not settings.DEBUG:
            raise CronsError("--reload needs DEBUG = True: in production a deploy restarts the scheduler.")
        with Session("serve", "serve") as session:
            anew = Scheduler(session, out.note, reload=options["reload"]).run()
        if anew:
            start_anew()
        return 0
