"""What the commands share that are ways into a job: enter the ledger, or look what the job would do."""

import os
from argparse import ArgumentParser
from typing import Any, ClassVar

from django.core.management import CommandError, call_command

from crm import progress
from crm.api_client import ApiFailed
from crm.customers import CleanupRefused
from crm.logs import LogRefused
from crm.plain_text import one_line
from crons.management.commandline import CommandLine


class EntryPoint(CommandLine):
    """Have `crons run` run *job*, which does the work itself inside an attempt; or, for a dry run, look only.

    Whoever has the slot, the exit code is that of `crons run`: 0 when it succeeded or somebody else has it.
    """

    job: ClassVar[str]

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="show what would be done; nothing is, or recorded")
        parser.add_argument("--scheduled", action="store_true", help="this is the slot due now, not a manual run")
        parser.add_argument("--wait", action="store_true", help="if another has this slot, wait for how it ends")
        parser.add_argument(
            "--foreground", action="store_true", help="run in this process, so that a debugger works; no time-out"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not options["dry_run"]:
            self.enter_ledger(options)
            return
        try:
            for line in self.preview(options):
                self.stdout.write(one_line(line))
        except (ApiFailed, CleanupRefused, LogRefused) as error:
            raise CommandError(str(error)) from error

    def preview(self, options: dict[str, Any]) -> list[str]:
        """Give the lines that say what a run would do now, found by the code that a run uses."""
        raise NotImplementedError

    def arguments(self, options: dict[str, Any]) -> list[str]:
        """Give what the run is to be called with, each as NAME=VALUE; such a run is one besides the schedule."""
        return []

    def enter_ledger(self, options: dict[str, Any]) -> None:
        """Run the job as a run of its entry; within an attempt, as that attempt's work.

        Raises: SystemExit with the exit code of `crons run`, where that is not 0.
        """
        flags = [f"--{name}" for name in ("scheduled", "wait", "foreground") if options[name]]
        if os.environ.get("CRONS_ATTEMPT"):
            flags = []
        flags += [f"--arg={each}" for each in self.arguments(options)]
        with progress.lent():
            call_command("crons", "run", self.job, *flags)
