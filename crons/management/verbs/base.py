"""The contract of a verb, and how verbs read their arguments."""

from __future__ import annotations

import argparse
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime, time
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from django.utils.dateparse import parse_date, parse_datetime

from crons.conf import conf
from crons.exceptions import CronsError, Refused
from crons.hosts import operator as operator
from crons.jobs import value_of
from crons.management.output import Out
from crons.models import Run
from crons.side_output import is_terminal


class Verb(ABC):
    """One thing that `manage.py crons` does.

    An implementer promises: with `out.json` nothing but one JSON object per line goes to stdout; what
    cannot be done is raised as a CronsError; importing its module costs no more than the verb needs.
    It may assume: the frame has parsed the arguments, has run *checks*, and prints what it raises as one line.
    """

    name: ClassVar[str]
    help: ClassVar[str]
    example: ClassVar[str]
    checks: ClassVar[Sequence[str] | str] = ()
    """Which system checks must pass first, as in Django's requires_system_checks."""
    leaves_zones: ClassVar[bool] = False
    """Whether entries in zones that this machine has no data of do not stop it: other hosts may have them."""
    output_decides: ClassVar[bool] = True
    """Whether it fails where stdout cannot be written; not for a verb that sees jobs through."""
    ends_with_reader: ClassVar[bool] = False
    """Whether it ends, well, once nobody reads on; not where it does something, or its exit code is the answer."""
    failure_code: ClassVar[int] = 1
    """The exit code when it raises."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:  # noqa: B027 (most verbs take few, some none)
        """Declare the verb's own arguments; --json and Django's are there already."""

    @abstractmethod
    def handle(self, options: Mapping[str, Any], out: Out) -> int:
        """Do it; return the exit code."""


def confirm(out: Out, question: str, without_asking: str) -> None:
    """Ask the person at the terminal; *without_asking* is the command line that needs none.

    Raises: Refused unless the answer is yes.
    """
    if out.json or not (out.is_terminal and is_terminal(sys.stdin)):
        raise Refused(f"this needs a yes, and nobody is here to ask: manage.py crons {without_asking}")
    out.text(f"{question} [y/N] ")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Refused("nothing was changed.")


def add_scope(parser: argparse.ArgumentParser) -> None:
    """Take one of NAME, --tag and --all."""
    scope = parser.add_mutually_exclusive_group(required=True)
    scope.add_argument("entry", metavar="NAME", nargs="?", help="The entry.")
    scope.add_argument("--tag", metavar="TAG", help="All entries with this tag.")
    scope.add_argument("--all", action="store_true", help="All entries.")


def moment(text: str) -> datetime:
    """Read a moment given on the command line; without an offset it is local to CRONS["TIME_ZONE"]."""
    try:
        found = parse_datetime(text)
        day = None if found else parse_date(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no moment: {error}") from error
    if found is None and day is not None:
        found = datetime.combine(day, time())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no moment, expected one such as 2026-10-25T02:30+01:00")
    return found if found.tzinfo else found.replace(tzinfo=ZoneInfo(conf.time_zone))


def argument(text: str) -> tuple[str, Any]:
    """Read KEY=VALUE given on the command line; the value is JSON where it reads as such, else a text."""
    key, sign, value = text.partition("=")
    if not sign or not key.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is no argument, expected KEY=VALUE such as city=Paris or days=7")
    try:
        return key, value_of(value)
    except Refused as error:
        raise argparse.ArgumentTypeError(f"{key!r} cannot be read: {error}") from error


def at_least_one(text: str) -> int:
    """Read a count given on the command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no count, expected a whole number of at least 1")
    return int(text)


def run_number(text: str) -> int:
    """Read the number of a run given on the command line."""
    if not text.isdecimal() or len(text) > 19 or int(text) < 1:  # the largest number of a row has 19 digits
        raise argparse.ArgumentTypeError(
            f"{text[:40]!r} is no run, expected its number: manage.py crons history shows it"
        )
    return int(text)


def incident_number(text: str) -> int:
    """Read the number of an incident given on the command line."""
    if not text.isdecimal() or len(text) > 18 or int(text) < 1:
        raise argparse.ArgumentTypeError(
            f"{text[:40]!r} is no incident, expected its number: manage.py crons alert shows it"
        )
    return int(text)


def run_or_name(text: str) -> int | str:
    """Read what names a run on the command line: its number, or the name of an entry."""
    return run_number(text) if text.isdecimal() else text


def find_run(run_id: int) -> Run:
    """Return a run with its entry.

    Raises: CronsError if there is none.
    """
    run = Run.objects.using(conf.database).select_related("entry").filter(pk=run_id).first()
    if run is None:
        raise CronsError(f"run {run_id} does not exist. See: manage.py crons history")
    return run
