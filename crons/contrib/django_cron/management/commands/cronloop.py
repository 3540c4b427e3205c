"""django-cron's loop; `crons serve` is what it is for."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    """Says what to start instead: a loop of its own would be a second scheduler that knows less."""

    help = "Replaced by: manage.py crons serve"
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take django-cron's options, so that an old command line gets the answer and not a mistake of usage."""
        parser.add_argument("-s", "--sleep", help="Not read.")
        parser.add_argument("-r", "--repeat", help="Not read.")
        parser.add_argument("-c", "--cron_classes", nargs="+", help="Not read.")

    def handle(self, *args: Any, **options: Any) -> NoReturn:
        """Refuse, naming the two ways to go on."""
        raise CommandError(
            "cronloop is not run: nothing was started. A scheduler that stays is manage.py crons serve, which runs "
            "the classes of CRON_CLASSES too; one look at the clock is manage.py runcrons."
        )
