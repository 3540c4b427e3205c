"""django-cron's command: runs what is due of CRON_CLASSES, through the ledger."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import CommandError
from django.db.models import QuerySet

from crons import api, ledger
from crons.contrib.django_cron.source import CronClassesSource, paths
from crons.exceptions import CronsError, LedgerUnavailable, UnknownJob, nearest
from crons.hosts import operator
from crons.management.commandline import CommandLine
from crons.side_output import Echo
from crons.triggers.entry import EntryTrigger
from crons.triggers.session import Session
from crons.verdicts import State, Verdict

DID, DUE_NOT, FAILED = "[✔]", "[ ]", "[✘]"
OPEN = (State.DUE, State.SENT, State.WAITING)


class Command(CommandLine):
    """One look at the clock for the classes named, or for all: a slot that somebody else has is left to them."""

    help = "Run the due slots of CRON_CLASSES; exit code 1 when one that was run here did not succeed."
    output_decides = False
    requires_system_checks = []  # a slot must not wait for them, nor be lost for a warning elsewhere

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take django-cron's arguments."""
        parser.add_argument("cron_classes", nargs="*", metavar="CLASS", help="paths of classes, or their codes")
        parser.add_argument("--force", action="store_true", help="run each once, besides its schedule")
        parser.add_argument("--dry-run", action="store_true", help="say what is due, and run nothing")
        parser.add_argument(
            "--silent", action="store_true", help="print nothing of what ran; the exit code says how it went"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run, and end with 1 where something that was begun here failed or a line of the setting cannot work."""
        try:
            names, broken = _names(options["cron_classes"])
            ledger.permit()
            for name in names:
                _require_row(name)
            failed = self._dry(names) if options["dry_run"] else self._run(names, options)
        except LedgerUnavailable as error:
            raise CommandError(f"{error}. Nothing was run. Where tables are missing: manage.py migrate") from error
        except CronsError as error:
            raise CommandError(str(error)) from error
        if not names and not broken:
            broken = [
                "CRON_CLASSES names no class, so nothing was run. Is the setting spelt right? See: manage.py check"
            ]
        for text in broken:
            self.stderr.write(text)
        if failed or broken:
            sys.exit(1)

    def _dry(self, names: Sequence[str]) -> list[str]:
        now = ledger.database_now()
        for name in names:
            entry = api.entry(name)
            account = ledger.account_of(entry)
            has_fallen_due = account.schedule.latest(now, account.tz) > account.accounted_until
            is_on = entry.retired_at is None and entry.paused_at is None
            if _waiting(name, now).exists() or (has_fallen_due and is_on):
                self.stdout.write(f"{DID} {name}: due, and not run, because this is a dry run")
            else:
                self.stdout.write(f"{DUE_NOT} {name}: not due")
        return []

    def _run(self, names: Sequence[str], options: dict[str, Any]) -> list[str]:
        silent = options["silent"]
        failed = []
        with Session("run", "runcrons", echo=None if silent else Echo()) as session:
            for name in names:
                if session.stopping is not None:
                    break
                mark = _forced(session, name, self._say(silent)) if options["force"] else _due(session, name)
                if mark == FAILED:
                    failed.append(name)
                if not silent:
                    self.stdout.write(f"{mark} {name}")
            session.drain()
            session.report()
        return failed

    def _say(self, silent: bool) -> Callable[[str], None]:
        return (lambda text: None) if silent else (lambda text: self.stderr.write(text, style_func=str))


def _names(asked: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the entries asked for, and what is wrong with the setting where all of it is asked for."""
    known = paths()
    if not asked:
        return list(dict.fromkeys(known.values())), [
            each.text for each in CronClassesSource().read().problems if each.is_broken
        ]
    return [_named(each, known) for each in asked], []


def _named(asked: str, known: dict[str, str]) -> str:
    if asked in known or asked in known.values():
        return known.get(asked, asked)
    hint = nearest(asked, [*known, *known.values()])
    listed = ", ".join(known) or "nothing that can be imported"
    raise UnknownJob(
        f"{asked!r} is no class of CRON_CLASSES.{hint} It has: {listed}. "
        "Add the class there and run manage.py crons sync; manage.py check says what is wrong with a line."
    )


def _require_row(name: str) -> None:
    try:
        api.entry(name)
    except UnknownJob:
        raise UnknownJob(f"{name!r} is declared but not in the database yet. Run: manage.py crons sync") from None


def _waiting(name: str, now: datetime) -> QuerySet[Any]:
    return api.history(name).filter(state__in=OPEN, wake_at__lte=now)


def _due(session: Session, name: str) -> str:
    """Record what has fallen due of the entry and see through what nobody else has begun."""
    now = ledger.database_now()
    ledger.record_entry(name, now, session.dispatcher.trigger)
    due = _waiting(name, now).order_by("wake_at", "pk")
    marks = [_see_through(session, run) for run in due.values_list("pk", flat=True)]
    return next((mark for mark in (FAILED, DID) if mark in marks), DUE_NOT)


def _see_through(session: Session, run: int) -> str:
    if not session.dispatcher.begin(ledger.database_now(), only_run=run):
        return DUE_NOT
    session.supervise()
    session.drain()
    mine = api.history().filter(pk=run, attempts__instance=session.instance.name).order_by("-attempts__number")
    return DID if mine.values_list("attempts__outcome", flat=True).first() == Verdict.SUCCEEDED else FAILED


def _forced(session: Session, name: str, say: Callable[[str], None]) -> str:
    # The next call begins the retries: this one must not stay for minutes.
    trigger = EntryTrigger(session, say, wait=True, patience=timedelta(0), show=Echo().show)
    return FAILED if trigger.manual(name, by=f"runcrons --force by {operator()}") else DID
