"""manage.py clean_inactive_customers: the entry point of the weekly cleanup for people, scripts and cron."""

import os
from argparse import ArgumentParser
from typing import Any

from django.core.management import BaseCommand, CommandError, call_command
from django.utils import timezone

from crm import cron, customers


class Command(BaseCommand):
    """Enter the ledger, which runs the job; inside an attempt, or for a dry run, do the work."""

    help = "Delete the customers without an order in the last year, recorded as a run of that job."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="count only; nothing is deleted or recorded")
        parser.add_argument("--force", action="store_true", help="delete even above the caps of CRM_CLEANUP_MAX_…")
        parser.add_argument("--scheduled", action="store_true", help="this is the slot due now, not a manual run")
        parser.add_argument("--wait", action="store_true", help="if another has this slot, wait for how it ends")

    def handle(self, *args: Any, **options: Any) -> None:
        force = options["force"] or cron.FORCE in os.environ
        try:
            if options["dry_run"]:
                self.print(customers.delete_inactive(now=timezone.now(), dry_run=True, force=force))
            elif "CRONS_ATTEMPT" in os.environ:
                self.print(cron.clean_inactive_customers(force=force, on_progress=self.show_progress))
            else:
                self.enter_ledger(**options)
        except customers.CleanupRefused as error:
            raise CommandError(str(error)) from error

    def enter_ledger(self, *, scheduled: bool, wait: bool, force: bool, **options: Any) -> None:
        flags = [flag for flag, is_set in (("--scheduled", scheduled), ("--wait", wait)) if is_set]
        if force:
            os.environ[cron.FORCE] = "1"  # inherited by the attempt, which has no command line of its own
        try:
            call_command("crons", "run", "clean_inactive_customers", *flags)
        finally:
            os.environ.pop(cron.FORCE, None)

    def print(self, cleanup: customers.Cleanup) -> None:
        """Print the counts by reason."""
        cut_at = timezone.localtime(cleanup.cut_at)
        verb = "Would delete" if cleanup.dry_run else "Deleted"
        self.stdout.write(
            f"{verb} {cleanup.deleted} of {cleanup.examined} customers: no order since {cut_at:%Y-%m-%d %H:%M:%S %z}."
        )
        for reason, count in cleanup.skipped.items():
            self.stdout.write(f"Kept {count}: {reason}.")

    def show_progress(self, done: int, of: int) -> None:
        if self.stderr.isatty():
            self.stderr.write(f"\r{done} of {of} candidates looked at", ending="\n" if done == of else "")
