"""manage.py archive_old_records: the entry point of the nightly archiving for people, scripts and cron."""

from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from django.core.management import CommandError
from django.utils import timezone

from crm import progress
from crm.archives import nightly
from crm.archives.moving import Moving
from crm.management.entry_point import EntryPoint


class Command(EntryPoint):
    """The archiving, with a way above its cap."""

    entry = "archive_old_records"
    help = "Move old orders, stock movements and rotated logs to archive files, recorded as a run of that job."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--force", action="store_true", help="archive even above CRM_ARCHIVE_MAX_SHARE")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["force"] and options["scheduled"]:
            raise CommandError("--force is for a run that a person asks for. Leave out --scheduled.", returncode=2)
        super().handle(*args, **options)

    def preview(self, options: dict[str, Any]) -> list[str]:
        with progress.shown("Looking at old records") as on_progress:
            moving = Moving(timezone.now(), on_progress=on_progress)
            return nightly.lines_of(nightly.archive_old(moving, dry_run=True, force=options["force"]))

    def arguments(self, options: Mapping[str, Any]) -> dict[str, Any]:
        return {"force": True} if options["force"] else {}
