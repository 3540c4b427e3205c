"""manage.py service_token: the tokens that programs use the API with."""

from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import BaseCommand, CommandError
from django.utils import timezone

from crm import token_files, tokens
from crm.models import ServiceToken


def _days(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text[:9]) <= tokens.LONGEST_LIFE.days):
        raise ArgumentTypeError(f"{text!r} is no number of days. Give 1 to {tokens.LONGEST_LIFE.days}.")
    return int(text)


def _hours(text: str) -> timedelta:
    if not (text.isascii() and text.isdigit() and len(text) <= 4):
        raise ArgumentTypeError(f"{text!r} is no number of hours. Give 0 or more, such as 24.")
    return timedelta(hours=int(text))


class Command(BaseCommand):
    """Issue, list, rotate and revoke service tokens. A token's text is shown once, at its making."""

    help = "Issue, list, rotate or revoke the service tokens that programs use the API with."

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
        issue = verbs.add_parser("issue", help="make a token; its text is shown once")
        issue.add_argument("name", help="who will use it, such as reports")
        issue.add_argument(
            "--scope", action="append", required=True, dest="scopes", metavar="SCOPE",
            help=f"what it may do; again for more: {', '.join(tokens.SCOPES)}",
        )  # fmt: skip
        issue.add_argument("--trusted-only", action="store_true", help="it may ask nothing but trusted documents")
        issue.add_argument("--days", type=_days, default=365, help="how long it opens (default: %(default)s)")
        issue.add_argument("--out", type=Path, metavar="FILE", help="write it there, mode 0600, instead of showing it")
        verbs.add_parser("list", help="prefix, scopes, last use, expiry and state of all tokens")
        rotate = verbs.add_parser("rotate", help="replace a token; the old one opens a while longer")
        rotate.add_argument("prefix", help="the eight letters after crm_")
        rotate.add_argument(
            "--overlap-hours", type=_hours, default=tokens.OVERLAP, metavar="HOURS",
            help="how long the old one still opens (default: 24)",
        )  # fmt: skip
        rotate.add_argument("--out", type=Path, metavar="FILE", help="write it there, mode 0600, instead of showing it")
        verbs.add_parser("jobs", help="give the scheduled jobs a token in CRM_TOKEN_FILE, unless a good one is there")
        revoke = verbs.add_parser("revoke", help="close a token at once")
        revoke.add_argument("prefix", help="the eight letters after crm_")

    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        actions: dict[str, Callable[..., None]] = {
            "issue": self.issue, "list": self.list, "rotate": self.rotate, "revoke": self.revoke, "jobs": self.jobs,
        }  # fmt: skip
        try:
            actions[verb](**options)
        except (tokens.TokenRefused, token_files.FileRefused) as error:
            raise CommandError(str(error)) from error

    def issue(
        self, *, name: str, scopes: list[str], days: int, out: Path | None, trusted_only: bool, **options: Any
    ) -> None:
        now = timezone.now()
        ends = now + timedelta(days=days)
        row = self.make(lambda: tokens.issue(name, scopes, ends, trusted_only=trusted_only, now=now), out)
        self.stderr.write(f"Issued {row}: {_described(row)}.")

    def list(self, **options: Any) -> None:
        rows, now = list(ServiceToken.objects.all()), timezone.now()
        if not rows:
            self.stdout.write("There are no tokens. Make one: manage.py service_token issue NAME --scope SCOPE")
        for row in rows:
            used = _moment(row.last_used_at) if row.last_used_at else "never"
            state = f"{tokens.state_of(row, now):<7}"
            self.stdout.write(f"{row.prefix}  {state}  {row.name}: {_described(row)}; last used {used}")

    def rotate(self, *, prefix: str, overlap_hours: timedelta, out: Path | None, **options: Any) -> None:
        row = self.make(lambda: tokens.rotate(prefix, overlap=overlap_hours), out)
        old = ServiceToken.objects.get(prefix=prefix)
        self.stderr.write(f"Issued {row}: {_described(row)}. {prefix} still opens until {_moment(old.expires_at)}.")

    def revoke(self, *, prefix: str, **options: Any) -> None:
        row = tokens.revoke(prefix)
        assert row.revoked_at is not None
        self.stdout.write(f"{row} is revoked since {_moment(row.revoked_at)}.")

    def jobs(self, **options: Any) -> None:
        path = Path(settings.CRM_TOKEN_FILE)
        row = token_files.ensure_for_jobs(path, now=timezone.now())
        self.stdout.write(
            f"The token of the jobs in {path} is good."
            if row is None
            else f"Issued {row} for the jobs, into {path}: {_described(row)}."
        )

    def make(self, make: Callable[[], tuple[ServiceToken, str]], out: Path | None) -> ServiceToken:
        """Put the token into the file *out*, or show it: alone on stdout, so that a pipe gets nothing else."""
        if out is not None:
            return token_files.store(out, make)
        row, text = make()
        self.stdout.write(text)
        self.stderr.write("This is shown only now.")
        return row


def _described(row: ServiceToken) -> str:
    only = "; trusted documents only" if row.trusted_only else ""
    return f"{', '.join(row.scopes)}{only}; expires {_moment(row.expires_at)}"


def _moment(moment: datetime) -> str:
    return f"{timezone.localtime(moment):%Y-%m-%d %H:%M %z}"
