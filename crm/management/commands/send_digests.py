"""manage.py send_digests: the reports by mail, for people: what would go, and more than one run may send."""

from argparse import ArgumentParser
from collections import Counter
from collections.abc import Mapping
from typing import Any

from django.core.management import CommandError
from django.utils import timezone

from crm.digests import digests, outbox
from crm.management.entry_point import EntryPoint


class Command(EntryPoint):
    """The digests, with a way above their cap."""

    entry = "send_digests"
    help = "Send the reports to those who get them by mail, recorded as a run of that job."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--force", action="store_true", help="send even more than CRM_MAIL_MAX_COUNT")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["force"] and options["scheduled"]:
            raise CommandError("--force is for a run that a person asks for. Leave out --scheduled.", returncode=2)
        super().handle(*args, **options)

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

    def arguments(self, options: Mapping[str, Any]) -> dict[str, Any]:
        return {"force": True} if options["force"] else {}
