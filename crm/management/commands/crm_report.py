"""manage.py crm_report: the entry point of the weekly report for people, scripts and cron."""

from typing import Any

from django.utils import timezone

from crm import cron
from crm.management.entry_point import EntryPoint


class Command(EntryPoint):
    """The report."""

    entry = "generate_crm_report"
    help = "Log how many customers, orders and how much revenue there are, recorded as a run of that job."

    def preview(self, options: dict[str, Any]) -> list[str]:
        return [cron.report_line(timezone.now())]
