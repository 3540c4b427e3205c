"""django-crontab's command; `run HASH` enters the ledger instead of calling the function unseen."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.utils.module_loading import import_string
from django_crontab.management.commands.crontab import Command as RealCommand

from crons.contrib.django_crontab.lines import Line, hash_of, read_line
from crons.contrib.django_crontab.source import CronjobsSource
from crons.exceptions import CronsError, DeclarationError
from crons.management.commandline import CommandLine
from crons.management.output import Out
from crons.management.verbs.base import operator
from crons.side_output import Echo, is_terminal
from crons.sources.base import without_secrets
from crons.triggers.by_name import run_entry


class Command(CommandLine, RealCommand):  # type: ignore[misc] # the real package has no types
    """The real command, with another `run`: its exit code is that of `crons run`."""

    def execute(self, *args: Any, **options: Any) -> Any:
        """Skip the system checks where cron calls, and let no output decide: a slot must wait for neither."""
        if options["subcommand"] == "run":
            self.requires_system_checks: list[str] = []
            self.output_decides = False
        return super().execute(*args, **options)

    def handle(self, *args: Any, **options: Any) -> None:
        """Run a line through the ledger; leave the rest to the real package."""
        if options["subcommand"] != "run":
            super().handle(*args, **options)
            return
        raw = _line(options["jobhash"])
        line = read_line(0, raw)
        if os.environ.get("CRONS_ATTEMPT"):
            # The ledger has begun this attempt and called this command: entering it again would never end.
            import_string(line.path)(*line.args, **line.kwargs)
            return
        try:
            name = CronjobsSource().entry_name(raw)
        except CronsError as error:
            raise CommandError(without_secrets(str(error))) from error
        out = Out(self.stdout, self.stderr)
        with self.refusals_in_one_line(options):
            ran = run_entry(name, out.note, by=operator(), scheduled=_is_scheduled(line), echo=Echo())
        if ran.code:
            sys.exit(ran.code)


def _line(asked: str | None) -> Sequence[Any]:
    lines = dict(_hashed())
    if asked in lines:
        return lines[asked]
    known = "; ".join(f"{mark} is {raw[1]} at {raw[0]}" for mark, raw in lines.items()) or "CRONJOBS is empty"
    raise CommandError(
        f"no line of CRONJOBS has the hash {asked}, so nothing was run: the installed crontab is not what the "
        f"settings say. Install it anew: manage.py crontab add. Known: {known}."
    )


def _hashed() -> Iterator[tuple[str, Sequence[Any]]]:
    for raw in getattr(settings, "CRONJOBS", ()):
        # A line that is none stands in nobody's way: crons.W030 says it, and django-crontab wrote no hash of it.
        with suppress(DeclarationError, TypeError):
            read_line(0, raw)
            yield hash_of(raw), raw


def _is_scheduled(line: Line) -> bool:
    # A start of the machine is no slot: what cron fires then is one run more.
    if line.is_at_reboot:
        return False
    # django-crontab writes this command into crontabs; by hand it is only called from a terminal.
    return not (is_terminal(sys.stdin) or is_terminal(sys.stdout))
