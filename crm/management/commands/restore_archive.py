"""manage.py restore_archive: what was archived comes back."""

from argparse import ArgumentParser
from typing import Any

from django.core.management import BaseCommand, CommandError
from django.utils import timezone

from crm import progress
from crm.archives.files import ArchiveRefused
from crm.archives.models import Archive
from crm.archives.moving import Moving
from crm.archives.restoring import Restored, named, restore
from crm.archives.tables import HELD
from crm.plain_text import one_line


class Command(BaseCommand):
    """Write archives back, once, however often it is called."""

    help = "Bring back what archives hold, after their files were checked; twice is the same as once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "names", nargs="*", metavar="NAME", help="an archive, such as orders/2023-04.1, or a window: orders/2023-04"
        )
        parser.add_argument("--list", action="store_true", help="show the archives, the newest first")
        parser.add_argument(
            "--only",
            type=int,
            action="append",
            metavar="ID",
            help="only the record with this id, such as a customer's",
        )
        parser.add_argument("--dry-run", action="store_true", help="check the files and show what would come back")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["list"]:
            for row in Archive.objects.iterator():
                state = row.get_state_display().lower()
                self.stdout.write(f"{row.name}  {row.records} records, {row.out} out of their table, {state}")
            return
        if not options["names"]:
            raise CommandError("Give the name of an archive or a window; --list shows them.", returncode=2)
        try:
            archives = [archive for name in options["names"] for archive in named(name)]
            with progress.shown("Restoring") as on_progress:
                moving = Moving(timezone.now(), on_progress=on_progress)
                for archive in archives:
                    done = restore(archive, moving, only=options["only"], dry_run=options["dry_run"])
                    self._say(done, dry_run=options["dry_run"])
        except ArchiveRefused as error:
            raise CommandError(one_line(str(error))) from error
        if not options["dry_run"]:
            self.stdout.write(f"What came back is left alone for {HELD.days} days.")

    def _say(self, done: Restored, *, dry_run: bool) -> None:
        verb = "would restore" if dry_run else "restored"
        self.stdout.write(f"{done.archive}: {verb} {done.restored} of {done.examined} records.")
        for reason, number in done.skipped.items():
            if number:
                self.stdout.write(f"  left {number}: {reason}")
