"""manage.py mail_order_reminders: the reminders by mail, for people: what would go, and more than one run may send."""

from collections import Counter
from typing import Any

from django.utils import timezone

from crm.digests import outbox, reminding
from crm.management.mails_entry_point import MailsEntryPoint


class Command(MailsEntryPoint):
    """The reminders by mail."""

    entry = "mail_order_reminders"
    help = "Remind customers by mail of orders that wait for their payment, recorded as a run of that job."

    def preview(self, options: dict[str, Any]) -> list[str]:
        now = timezone.now()
        looked = list(reminding.looked_at(now, reminding.Cadence.of_settings()))
        due = [mail.key for mail in outbox.due("reminder", now)]
        due += [each.key for each in looked if not each.reason]
        skipped = Counter(each.reason for each in looked if each.reason)
        return [
            f"Would send {len(due)} mails.",
            *due,
            *(f"Would not remind of {count} orders: {reason}." for reason, count in skipped.items()),
        ]
