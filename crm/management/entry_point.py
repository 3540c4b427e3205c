"""What the commands share that are ways into a job: enter the ledger, or look what the job would do."""

from argparse import ArgumentParser
from typing import Any

from django.core.management import CommandError

from crm import progress
from crm.api_client import ApiFailed
from crm.archives.files import ArchiveRefused
from crm.customers import CleanupRefused
from crm.logs import LogRefused
from crm.plain_text import one_line
from crons.management.entry_command import EntryCommand


class EntryPoint(EntryCommand):
    """Runs its entry as `crons run` does, with a bar at a terminal; or, for a dry run, looks only."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="show what would be done; nothing is, or recorded")
        super().add_arguments(parser)

    def execute(self, *args: Any, **options: Any) -> Any:
        # What a dry run prints is all that it does.
        self.output_decides = options["dry_run"]
        return super().execute(*args, **options)

    def handle(self, *args: Any, **options: Any) -> None:
        if not options["dry_run"]:
            with progress.lent():
                super().handle(*args, **options)
            return
        try:
            for line in self.preview(options):
                self.stdout.write(one_line(line))
        except (ApiFailed, ArchiveRefused, CleanupRefused, LogRefused) as error:
            raise CommandError(str(error)) from error

    def preview(self, options: dict[str, Any]) -> list[str]:
        """Give the lines that say what a run would do now, found by the code that a run uses."""
        raise NotImplementedError
