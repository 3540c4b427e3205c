"""manage.py send_order_reminders: the entry point of the daily reminders for people, scripts and cron."""

from typing import Any

from django.utils import timezone

from crm import progress, reminders
from crm.api_client import ApiClient
from crm.management.entry_point import EntryPoint


class Command(EntryPoint):
    """The reminders."""

    entry = "send_order_reminders"
    help = "Note whom to remind of a pending order of the last 7 days, recorded as a run of that job."

    def preview(self, options: dict[str, Any]) -> list[str]:
        with progress.shown("Asking for orders") as on_progress:
            due = reminders.due(ApiClient.of_jobs(), until=timezone.now(), on_progress=on_progress)
        return [f"Would log {len(due)} reminders.", *(str(each) for each in due)]
