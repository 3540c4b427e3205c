"""manage.py demo_big: a shop with a million customers."""

from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.management import BaseCommand, CommandError
from django.utils import timezone

from crm import demo_big
from crm.management.commands.demo_data import count, moment

_STEPS = 10


def _many(text: str) -> int:
    if (number := count(text)) < demo_big.FEWEST:
        raise ArgumentTypeError(f"{text} customers are no big shop. Give {demo_big.FEWEST} or more.")
    return number


class Command(BaseCommand):
    """Write a shop whose size shows what jobs cost; one that was killed goes on."""

    help = "Write a shop of a million customers, 3 million orders, 100,000 products; one that was killed goes on."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--customers", type=_many, default=1_000_000, help="how many (default: %(default)s)")
        parser.add_argument("--now", type=moment, help="the last moment of the data (default: now)")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            shop = demo_big.begun(options["customers"], options["now"] or timezone.now())
        except demo_big.NotOurs as error:
            raise CommandError(str(error)) from error
        said: dict[str, int] = {}

        def say(what: str, done: int, of: int) -> None:
            step = done * _STEPS // of
            if step > said.get(what, 0):
                said[what] = step
                self.stdout.write(f"{done:,} of {of:,} {what}")
                self.stdout.flush()

        demo_big.write(shop, say)
        self.stdout.write(f"The shop is whole; its last moment is {timezone.localtime(shop.now):%Y-%m-%d %H:%M:%S %z}.")
