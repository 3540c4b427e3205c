"""`manage.py beat`: the same function as a management command, for a bare crontab line."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from benchmarks.ways_jobs.cron import beat


class Command(BaseCommand):
    """Calls the job past the ledger."""

    help = "Note the time."

    def handle(self, *args: Any, **options: Any) -> None:
        """Beat once."""
        beat()
