"""USE_TZ = False is said in the words of its check, whatever is asked."""

from __future__ import annotations

import html
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.urls import reverse

from crons import api
from crons.conf import NO_ZONES
from crons.exceptions import InvalidSetting
from crons.management.verbs import VERBS

pytestmark = pytest.mark.django_db
WORDS = " ".join(NO_ZONES)
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
# What a verb cannot be called without.
NEEDED = {
    "run": ["report", "--manual"],
    "show": ["1"],
    "log": ["1"],
    "why": ["report"],
    "pause": ["report", "--reason", "moving"],
    "resume": ["report"],
    "cancel": ["1", "--reason", "moving"],
    "retry": ["1"],
    "backfill": ["report", "--since", "2026-03-01", "--until", "2026-03-02"],
    "reconcile": ["--since", "2026-03-01"],
}
# What a function cannot be called without.
CALLS = {
    "run_now": ("report", {"by": "ann"}),
    "reschedule": ("report", None, {"by": "ann"}),
    "pause": ("report", {"by": "ann", "reason": "moving"}),
    "pause_all": ({"by": "ann", "reason": "moving"},),
    "resume": ("report", {"by": "ann"}),
    "resume_all": ({"by": "ann"},),
    "wide_pauses": ({},),
    "pauses": ({},),
    "cancel": (1, {"by": "ann", "reason": "moving"}),
    "retry": (1, {"by": "ann"}),
    "backfill": ("report", NOON, NOON, {"by": "ann"}),
    "cancel_entry": ("report", {"by": "ann", "reason": "moving"}),
    "prune": ({"by": "ann"},),
    "reconcile": (NOON, {"by": "ann"}),
    "why": ("report", {}),
    "sync": ({},),
    "entry": ("report", {}),
    "entries": ({},),
    "upcoming": ({},),
    "history": ({},),
    "ranges": ({},),
    "schedulers": ({},),
    "health": ({},),
}


@pytest.fixture
def no_zones(settings):
    """A project that has switched them off."""
    settings.USE_TZ = False


@pytest.mark.parametrize("name", CALLS)
def test_every_call_says_it(no_zones, name):
    """An error of Django's about naive moments names neither the setting nor the remedy."""
    *args, options = CALLS[name]

    with pytest.raises(InvalidSetting) as error:
        getattr(api, name)(*args, **options)

    assert str(error.value) == WORDS


def test_first_page_says_it(no_zones, admin_client):
    """Whoever looks there sees what to mend, and no error page."""
    page = admin_client.get(reverse("crons:home"))

    assert (page.status_code, html.escape(WORDS) in page.content.decode()) == (503, True)


PROGRAM = """
import io, sys, django
from contextlib import redirect_stderr, redirect_stdout
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "crons"], USE_TZ=False, SECRET_KEY="x",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[2]}},
)
django.setup()
from django.core.management import call_command, execute_from_command_line
from django.db import connections
from crons.management.verbs import VERBS
call_command("migrate", skip_checks=True, verbosity=0)
needed = eval(sys.argv[1])
for verb in VERBS:
    told = io.StringIO()
    connections.close_all()
    with redirect_stderr(told), redirect_stdout(told):
        try:
            execute_from_command_line(["manage.py", "crons", verb, *needed.get(verb, [])])
            code = 0
        except SystemExit as error:
            code = error.code
    print(verb, code, "|", " ".join(told.getvalue().split()))
"""


def test_every_verb_says_it(tmp_path):
    """At the terminal, in one line, and never as a traceback."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, repr(NEEDED), str(tmp_path / "db.sqlite3")],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "CRONS_IN_TESTS": "0"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    lines = [line for line in done.stdout.splitlines() if " | " in line]
    told = {line.split()[0]: line.partition(" | ")[2] for line in lines}
    assert (list(told), done.stderr) == (list(VERBS), "")
    assert [verb for verb, text in told.items() if NO_ZONES[0] not in text or NO_ZONES[1] not in text] == []
    assert [line for line in lines if line.split()[1] == "0"] == []
