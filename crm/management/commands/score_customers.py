"""manage.py score_customers: the entry point of the scoring for people, scripts and cron."""

from typing import Any

from django.utils import timezone

from crm import progress
from crm.management.entry_point import EntryPoint
from crm.scores import scoring


class Command(EntryPoint):
    """The scoring of all customers."""

    entry = "score_customers"
    help = (
        "Score all customers by how recently, how often and for how much they ordered, recorded as a run of that job."
    )

    def preview(self, options: dict[str, Any]) -> list[str]:
        with progress.shown("Counting") as on_progress:
            row, skipped = scoring.look(timezone.now(), working=scoring.Working(on_progress=on_progress))
        return scoring.lines_of(row, skipped)
