"""What the commands share whose process ends with them: crontab lines, scripts and timers start them each minute."""

from __future__ import annotations

import gc
import sys
from contextlib import nullcontext
from typing import Any, TextIO, cast

from django.core.management.base import BaseCommand

from crons import side_output
from crons.side_output import BestEffort, Encoded


class CommandLine(BaseCommand):
    """A command that ends sooner, where it is the whole process; called from code it is like any other.

    What it says on stderr never decides how it ends; what it prints on stdout does where *output_decides*, and that its
    reader is gone only where it *ends_with_reader*.
    """

    output_decides = True
    ends_with_reader = False

    def __init__(self, stdout: TextIO | None = None, stderr: TextIO | None = None, **options: Any) -> None:
        self._asked_stdout = stdout or sys.stdout
        # The stubs ask for the whole of TextIO; Django writes, flushes, and asks whether it is a terminal.
        out, beside = Encoded(stdout or sys.stdout), BestEffort(stderr or sys.stderr)
        super().__init__(cast(TextIO, out), cast(TextIO, beside), **options)

    def run_from_argv(self, argv: list[str]) -> None:
        """Run a command line. What was imported by now stays to its end: no collection need look at it again."""
        gc.freeze()
        try:
            super().run_from_argv(argv)
        finally:
            side_output.flush_at_exit(waits=self.output_decides)

    def execute(self, *args: Any, **options: Any) -> Any:
        """Run it with streams that take every text."""
        stdout = options.get("stdout") or self._asked_stdout
        asked = Encoded(stdout, outlives_reader=not self.ends_with_reader)
        options["stdout"] = asked if self.output_decides else BestEffort(stdout)
        if options.get("stderr"):
            options["stderr"] = BestEffort(options["stderr"])
        with nullcontext() if self.output_decides else side_output.logging_with_best_effort():
            return super().execute(*args, **options)
