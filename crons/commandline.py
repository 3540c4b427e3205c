"""What the commands share whose process ends with them: crontab lines, scripts and timers start them each minute."""

from __future__ import annotations

import gc

from django.core.management.base import BaseCommand


class CommandLine(BaseCommand):
    """A command that ends sooner, where it is the whole process; called from code it is like any other."""

    def run_from_argv(self, argv: list[str]) -> None:
        """Run a command line. What was imported by now stays to its end: no collection need look at it again."""
        gc.freeze()
        super().run_from_argv(argv)
