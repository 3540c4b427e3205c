"""manage.py clean_inactive_customers: the entry point of the weekly cleanup for people, scripts and cron."""

from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from django.core.management import CommandError
from django.utils import timezone

from crm import cron, customers, progress
from crm.management.entry_point import EntryPoint


class Command(EntryPoint):
    """The cleanup, with a way above its caps."""

    entry = "clean_inactive_customers"
    help = (
        "Delete, archive or anonymise the customers without an order in the last year, as CRM_CLEANUP_POLICY says, "
        "recorded as a run of that job."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--force", action="store_true", help="go even above the caps of CRM_CLEANUP_MAX_…")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["force"] and options["scheduled"]:
            raise CommandError("--force is for a run that a person asks for. Leave out --scheduled.", returncode=2)
        super().handle(*args, **options)

    def preview(self, options: dict[str, Any]) -> list[str]:
        with progress.shown("Looking at customers") as on_progress:
            cleanup = customers.delete_inactive(
                now=timezone.now(), dry_run=True, force=options["force"], on_progress=on_progress
            )
        return cron.cleanup_lines(cleanup)

    def arguments(self, options: Mapping[str, Any]) -> dict[str, Any]:
        return {"force": True} if options["force"] else {}
