"""What the commands share whose process ends with them: crontab lines, scripts and timers start them each minute."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, TextIO, cast

from django.core.management.base import BaseCommand, CommandError
from django.db import Error as DatabaseTrouble
from django.db import connections

from crons import side_output
from crons.conf import conf
from crons.exceptions import CronsError, LedgerUnavailable
from crons.presentation import readable_line
from crons.side_output import BestEffort, Encoded

TABLES_MISSING = "the tables of crons are missing: run manage.py migrate"


class CommandLine(BaseCommand):
    """A command that ends sooner, where it is the whole process; called from code it is like any other.

    What it says on stderr never decides how it ends; what it prints on stdout does where *output_decides*, and that its
    reader is gone only where it *ends_with_reader*.
    """

    output_decides = True
    ends_with_reader = False
    failure_code = 1

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

    @contextmanager
    def refusals_in_one_line(self, options: Mapping[str, Any]) -> Iterator[None]:
        """Have what crons or the database refuses inside end the command in one line, unless --traceback asks for more.

        Raises: CommandError, with *failure_code* for the exit code.
        """
        try:
            yield
        except (CronsError, DatabaseTrouble) as error:
            if options.get("traceback"):
                raise
            raise CommandError(_refusal(error), returncode=self.failure_code) from error


def _refusal(error: Exception) -> str:
    if isinstance(error, LedgerUnavailable | DatabaseTrouble) and _tables_are_missing():
        return TABLES_MISSING
    text = readable_line(str(error))
    return text if isinstance(error, CronsError) else f"the database refused: {text}"


def _tables_are_missing() -> bool:
    try:
        return "crons_entry" not in connections[conf.database].introspection.table_names()
    except (CronsError, DatabaseTrouble):
        return False
