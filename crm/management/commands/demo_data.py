"""manage.py demo_data: a shop to look at."""

from argparse import ArgumentParser, ArgumentTypeError
from datetime import datetime
from typing import Any

from django.core.management import BaseCommand
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from crm import demo
from crm.models import Customer


def moment(text: str) -> datetime:
    try:
        parsed = parse_datetime(text)
    except ValueError:
        parsed = None
    if parsed is None:
        raise ArgumentTypeError(f"{text!r} is no moment. Give one such as 2026-11-22T02:00:00+00:00.")
    return parsed if timezone.is_aware(parsed) else timezone.make_aware(parsed)


def count(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise ArgumentTypeError(f"{text!r} is no number of customers. Give 1 or more.")
    return int(text)


class Command(BaseCommand):
    """Write demo data where there are no customers yet."""

    help = "Write demo customers, products and orders; does nothing where customers exist."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--customers", type=count, default=1000, help="how many (default: %(default)s)")
        parser.add_argument("--seed", type=int, default=1, help="another seed, another shop (default: %(default)s)")
        parser.add_argument("--now", type=moment, help="the last moment of the data (default: now)")

    def handle(self, *args: Any, **options: Any) -> None:
        if Customer.objects.exists():
            self.stdout.write("Customers are already there: nothing was written.")
            return
        counts = demo.create(customers=options["customers"], now=options["now"] or timezone.now(), seed=options["seed"])
        self.stdout.write("Wrote " + ", ".join(f"{count} {name}" for name, count in counts.items()) + ".")
