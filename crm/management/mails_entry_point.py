"""What the commands that send mails share: a way above the cap of one run."""

from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from django.core.management import CommandError

from crm.management.entry_point import EntryPoint


class MailsEntryPoint(EntryPoint):
    """A command whose job sends mails, at most CRM_MAIL_MAX_COUNT unless a person says otherwise."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--force", action="store_true", help="send even more than CRM_MAIL_MAX_COUNT")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["force"] and options["scheduled"]:
            raise CommandError("--force is for a run that a person asks for. Leave out --scheduled.", returncode=2)
        super().handle(*args, **options)

    def arguments(self, options: Mapping[str, Any]) -> dict[str, Any]:
        return {"force": True} if options["force"] else {}
