"""django-crontab's own lines that call a function past the ledger, while an entry of ours calls it too."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from django.apps import apps
from django.conf import settings

from crons import ledger
from crons.conf import conf
from crons.contrib.django_crontab.lines import hash_of, read_line
from crons.contrib.django_crontab.source import CronjobsSource
from crons.exceptions import CronsError
from crons.hosts import operator
from crons.models import Entry, Pause

DJANGO_CRONTAB, COMPAT = "django_crontab", "crons.contrib.django_crontab"
WAYS_OUT = (
    f"Put {COMPAT!r} before {DJANGO_CRONTAB!r} in INSTALLED_APPS: its lines then go through the ledger. "
    "Or take the lines away: manage.py crontab remove."
)
BY = "crons sync"
TWICE = "django-crontab's own line runs it past the ledger, from the crontab of"
_HASH = re.compile(r"\bcrontab run ([0-9a-f]{32})\b")
_TIMEOUT_SECONDS = 10


@dataclass(frozen=True)
class PastLedger:
    """What the crontab of *account* fires past the ledger, by entry; *is_known* is whether it could be read."""

    account: str
    entries: frozenset[str] = frozenset()
    is_known: bool = True

    @property
    def reason(self) -> str:
        """Why an entry that a line runs too is created paused."""
        return f"{TWICE} {self.account}, so it would run twice: manage.py check says how to choose (crons.W034)"


def has_the_command() -> bool:
    """Say whether `manage.py crontab run` is django-crontab's own: Django takes the command of the first app."""
    installed = [config.name for config in apps.get_app_configs()]
    if DJANGO_CRONTAB not in installed:
        return False
    return COMPAT not in installed or installed.index(COMPAT) > installed.index(DJANGO_CRONTAB)


def find() -> PastLedger:
    """Return the entries that lines of this account's crontab run past the ledger.

    Cost: a call of the program crontab, where django-crontab's own command is in use, else nothing.
    """
    account = operator()
    if not has_the_command():
        return PastLedger(account)
    content = _crontab()
    if content is None:
        return PastLedger(account, is_known=False)
    lines = (line for line in content.splitlines() if not line.lstrip().startswith("#"))
    installed = {mark for line in lines for mark in _HASH.findall(line)}
    found = set()
    for raw in getattr(settings, "CRONJOBS", None) or ():
        # A line that is none is an error of its own, and django-crontab has installed nothing for it.
        with suppress(CronsError, TypeError):
            # What cron fires at its start has no slots here, so nothing runs it twice.
            if hash_of(raw) in installed and not read_line(0, raw).is_at_reboot:
                found.add(CronjobsSource().entry_name(raw))
    return PastLedger(account, frozenset(found))


def describe_twice(found: PastLedger) -> list[str]:
    """Say of each entry that a line runs past the ledger that it runs twice, and which of them are paused."""
    rows = Entry.objects.using(conf.database).filter(name__in=found.entries, paused_at__isnull=False)
    paused = set(rows.values_list("name", flat=True)) if found.entries else set()
    return [
        f"{name} runs twice, by django-crontab's line in the crontab of {found.account} too"
        f"{', so it is paused' if name in paused else ''}. {WAYS_OUT}"
        for name in sorted(found.entries)
    ]


def end_pauses(found: PastLedger, now: datetime) -> None:
    """End the pauses of what no line runs past the ledger any more.

    It is over when the command is ours, or when the crontab that the pause names holds the line no more.
    """
    pauses = Pause.objects.using(conf.database).filter(by=BY, reason__startswith=TWICE).select_related("entry")
    for each in pauses:
        is_here = each.reason.startswith(f"{TWICE} {found.account},") and found.is_known
        if each.entry and each.entry.name not in found.entries and (is_here or not has_the_command()):
            ledger.resume(each.entry.name, now, by=BY)


def _crontab() -> str | None:
    # django-crontab hands it to a shell, so that it may be a program with arguments.
    program = str(getattr(settings, "CRONTAB_EXECUTABLE", "/usr/bin/crontab"))
    # Messages are matched, so they must not be translated.
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        words = [*shlex.split(program), "-l"]
        done = subprocess.run(words, capture_output=True, timeout=_TIMEOUT_SECONDS, check=False, env=environment)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    if done.returncode and b"no crontab for" not in done.stderr:
        return None
    return done.stdout.decode("utf-8", "replace")
