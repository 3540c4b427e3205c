"""manage.py clean_inactive_customers: the entry point of the weekly cleanup for people, scripts and cron."""

import os
from argparse import ArgumentParser
from typing import Any

from django.utils import timezone

from crm import cron, customers
from crm.management.entry_point import EntryPoint


class Command(EntryPoint):
    """The cleanup, with a way above its caps."""

    job = "clean_inactive_customers"
    help = "Delete the customers without an order in the last year, recorded as a run of that job."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--force", action="store_true", help="delete even above the caps of CRM_CLEANUP_MAX_…")

    def preview(self, options: dict[str, Any]) -> list[str]:
        force = options["force"] or cron.FORCE in os.environ
        return cron.told_of_cleanup(customers.delete_inactive(now=timezone.now(), dry_run=True, force=force))

    def enter_ledger(self, options: dict[str, Any]) -> None:
        given = os.environ.get(cron.FORCE)
        if options["force"]:
            os.environ[cron.FORCE] = "1"  # inherited by the attempt, which has no command line of its own
        try:
            super().enter_ledger(options)
        finally:
            if given is None:
                os.environ.pop(cron.FORCE, None)
