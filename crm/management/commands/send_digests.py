"""manage.py send_digests: the reports by mail, for people: what would go, and more than one run may send."""

from collections import Counter
from typing import Any

from django.utils import timezone

from crm.digests import digests, outbox
from crm.management.mails_entry_point import MailsEntryPoint


class Command(MailsEntryPoint):
    """The digests."""

    entry = "send_digests"
    help = "Send the reports to those who get them by mail, recorded as a run of that job."

    def preview(self, options: dict[str, Any]) -> list[str]:
        now = timezone.now()
        found = list(digests.planned(now))
        waiting = [(mail.key, mail.recipient) for mail in outbox.due("digest", now).select_related("recipient")]
        waiting += [(each.key, each.recipient) for each in found if not each.reason and each.due_at <= now]
        later = sum(not each.reason and each.due_at > now for each in found)
        skipped = Counter(each.reason for each in found if each.reason)
        return [
            f"Would send {len(waiting)} mails.",
            *(f"{key} to {recipient}" for key, recipient in waiting),
            *([f"Would plan {later} for later."] if later else []),
            *(f"Would not send {count}: {reason}." for reason, count in skipped.items()),
        ]
