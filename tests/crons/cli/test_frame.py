"""The frame of the verbs: parsing, errors, exit codes, and what they print with."""

import os
import re
import subprocess
import sys
from datetime import timedelta
from importlib.util import find_spec
from io import StringIO

import pytest
from django.core.management import call_command
from django.core.management.base import OutputWrapper
from django.db import OperationalError

from crons import api
from crons.exceptions import LedgerUnavailable
from crons.management.commands.crons import Command
from crons.management.output import Out
from crons.management.verbs import VERBS, load
from crons.presentation import Cell, distance, length, local
from tests.crons.cli.conftest import NOW, refuse

MINUTE = timedelta(minutes=1)
pytestmark = pytest.mark.django_db


# The frame


def test_no_verb_lists_the_verbs(crons):
    """Whoever does not know the tool starts here."""
    said = crons()

    assert said.code == 0
    for name, (_, text) in VERBS.items():
        assert re.search(rf"^  {name} +{re.escape(text)}$", said.out, re.MULTILINE)


def test_unknown_verb_is_a_usage_error_that_names_the_nearest(capsys):
    """Usage errors are 2, as argparse has it."""
    with pytest.raises(SystemExit) as ending:
        Command().run_from_argv(["manage.py", "crons", "histroy"])

    assert ending.value.code == 2
    assert capsys.readouterr().err.startswith("'histroy' is no verb of crons. Did you mean 'history'? Verbs: serve, ")


def test_a_reader_who_has_seen_enough_hears_no_complaint():
    """`crons list | head` is daily work, and a buffered line meets the closed pipe as late as Python's exit."""
    reader, writer = os.pipe()
    os.close(reader)

    with os.fdopen(writer, "w") as pipe:
        ended = subprocess.run(
            [sys.executable, "-m", "django", "crons"],
            stdout=pipe, stderr=subprocess.PIPE, text=True, check=False,
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
        )  # fmt: skip

    assert (ended.returncode, ended.stderr) == (0, "")


def test_notes_are_not_painted_as_errors(paint):
    """Django paints all that goes to stderr red; "4 places" is no error."""
    stderr = OutputWrapper(paint)
    stderr.style_func = lambda text: f"\x1b[31;1m{text}\x1b[0m"

    Out(OutputWrapper(StringIO()), stderr).note("crons serve: 4 places.")

    assert paint.getvalue() == "crons serve: 4 places.\n"


def test_every_verb_keeps_the_contract_of_its_name():
    """The frame finds a verb's class by its name; serve, tick and run come with the triggers."""
    for name, (module, _) in VERBS.items():
        if find_spec(f"crons.management.verbs.{module}") is not None:
            verb = load(name)
            assert verb.name == name
            assert verb.example.startswith(name)


def test_help_of_a_verb_has_an_example(capsys):
    """An example says more than a list of options."""
    with pytest.raises(SystemExit) as ending:
        call_command("crons", "history", "--help")

    assert ending.value.code == 0
    text = capsys.readouterr().out
    assert "example:\n  manage.py crons history nightly_report --verdict failed --since 2026-10-01\n" in text
    assert "--json" in text


def test_only_the_verb_asked_for_is_imported():
    """Cron starts a process each minute: tick must not pay for tables, rich, or the other verbs."""
    code = (
        "import django, sys; django.setup()\n"
        "from crons.management.commands.crons import Command\n"
        "options = Command().create_parser('manage.py', 'crons').parse_args(['next', 'report', '--json'])\n"
        "print(options.entry, options.json)\n"
        "print([name for name in sys.modules if name.startswith(('rich', 'crons.management.verbs.'))])\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == [
        "report True",
        "['crons.management.verbs.base', 'crons.management.verbs.upcoming']",
    ]


def test_tick_loads_no_mail_network_page_or_package_besides_django():
    """Each minute a process: mail, calls over the network, pages and the packages of channels wait until asked for."""
    code = (
        "import sys\n"
        "import django.core.management, django.db.models\n"
        "from django.conf import settings\n"
        "settings.configure(SECRET_KEY='-', USE_TZ=True, INSTALLED_APPS=['django.contrib.contenttypes', 'crons'], "
        "DATABASES={'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': ':memory:'}})\n"
        "import django.core.mail, django.http\n"  # any project's setup loads them, and http.client and ssl with them
        "before = set(sys.modules)\n"
        "django.setup()\n"
        "from crons.management.commands.crons import Command\n"
        "Command().create_parser('manage.py', 'crons').parse_args(['tick'])\n"
        "import crons.triggers.session, crons.triggers.tick\n"
        "new = set(sys.modules) - before\n"
        "heavy = {'http.client', 'ssl', 'smtplib', 'urllib.request', 'crons.web', 'crons.watch.alerts.mail'}\n"
        "names = {each.partition('.')[0] for each in new} - sys.stdlib_module_names - {'__mp_main__'}\n"
        "print(sorted(names - {'asgiref', 'crons', 'django', 'sqlparse'}), sorted(new & heavy))\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == ["[] []"]


def test_options_of_django_may_stand_before_the_verb():
    """What stands before the verb is not undone by silence after it."""
    parser = Command().create_parser("manage.py", "crons")

    before = parser.parse_args(["--traceback", "-v", "2", "list"])
    after = parser.parse_args(["list", "--traceback", "-v", "2"])

    assert (before.traceback, before.verbosity) == (after.traceback, after.verbosity) == (True, 2)


def test_verbs_that_write_declarations_run_the_system_checks():
    """A mistake must be seen before it is stored; the quick verbs do not wait for checks."""
    command = Command()

    call_command(command, "list", stdout=StringIO())
    quick = command.requires_system_checks
    parsed = command.create_parser("manage.py", "crons").parse_args(["sync", "--skip-checks"])

    assert quick == ()
    assert parsed.skip_checks is True
    assert load("sync").checks == "__all__"


def test_mistake_is_one_line(crons):
    """A line fits into a mail from cron."""
    said = crons("history", "reprot")

    assert said.code == 1
    assert said.out == ""
    assert said.err == "'reprot' is not declared. See: manage.py crons list\n"


def test_traceback_is_there_for_who_asks(monkeypatch):
    """One line is not enough for a bug report."""
    monkeypatch.setattr(api, "health", refuse(LedgerUnavailable("gone")))

    with pytest.raises(LedgerUnavailable):
        call_command("crons", "health", "--traceback", stdout=StringIO())


def test_missing_tables_are_said_to_be_missing(crons, monkeypatch):
    """The database's own words would send people looking for a table, not for migrate."""
    monkeypatch.setattr(api, "entries", refuse(OperationalError("no such table: crons_entry")))
    monkeypatch.setattr("crons.management.commandline._tables_are_missing", lambda: True)

    said = crons("list")

    assert (said.code, said.err) == (1, "the tables of crons are missing: run manage.py migrate\n")


def test_database_that_refuses_is_one_line(crons, monkeypatch):
    """Drivers write their errors over several lines."""
    monkeypatch.setattr(api, "entries", refuse(OperationalError("connection failed:\n\tIs it running?")))

    said = crons("list")

    assert (said.code, said.err) == (1, "the database refused: connection failed: Is it running?\n")


# Moments and tables


def test_both_hours_of_a_fold_are_told_apart():
    """02:30 happens twice that night."""
    assert local(NOW + 15 * MINUTE, "Europe/Berlin") == "2026-10-25 02:30:00 +02:00"
    assert local(NOW + 75 * MINUTE, "Europe/Berlin") == "2026-10-25 02:30:00 +01:00"


def test_zone_without_data_is_shown_in_utc():
    """A look must not fail where planning has parked the entry already."""
    assert local(NOW, "Mars/Olympus") == "2026-10-25 00:15:00 +00:00"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (1.24, "1.2 s"), (59.6, "1 min"), (11520, "3 h 12 min"), (7200, "2 h"), (90061, "1 d 1 h")],
)
def test_length_has_two_units_at_most(seconds, text):
    """More digits hide the size."""
    assert length(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "now"), (5, "in 5 s"), (11520, "in 3 h 12 min"), (-240, "4 min ago"), (-5, "5 s ago")]
)
def test_distance_says_which_way(seconds, text):
    """A slot may be overdue."""
    assert distance(NOW + timedelta(seconds=seconds), NOW) == text


def test_table_without_rich_is_aligned(monkeypatch, paint):
    """The base install has no rich."""
    monkeypatch.setitem(sys.modules, "rich.console", None)
    out = Out(Wrapped(paint), Wrapped(StringIO()))

    out.table(("name", "verdict"), [("a", Cell("failed", "bad")), ("longer", "due")])

    assert paint.getvalue() == (
        "\x1b[2mname  \x1b[0m  \x1b[2mverdict\x1b[0m\na       \x1b[31mfailed\x1b[0m\nlonger  due\n"
    )


def test_table_at_a_terminal_is_drawn_by_rich(paint):
    """Where it is installed, it folds long cells instead of breaking the columns."""
    pytest.importorskip("rich")
    out = Out(Wrapped(paint), Wrapped(StringIO()))

    out.table(("name", "verdict"), [("a", Cell("failed", "bad"))])

    assert "\x1b[1;31mfailed" in paint.getvalue()


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_no_colour_where_none_is_wanted(monkeypatch, paint, name, value):
    """https://no-color.org, and terminals that would show the codes."""
    monkeypatch.setenv(name, value)
    out = Out(Wrapped(paint), Wrapped(StringIO()))

    out.line("failed", "bad")
    out.table(("verdict",), [(Cell("failed", "bad"),)])

    assert "\x1b" not in paint.getvalue()
    assert "failed" in paint.getvalue()


def test_text_of_a_job_cannot_steer_the_terminal():
    """An error message may hold anything; only --raw prints it as it is."""
    stream = StringIO()
    out = Out(Wrapped(stream), Wrapped(StringIO()))

    out.table(("detail", "x"), [("\x1b[2Jgone\nnext", "y")])
    out.facts([("error", "\x1b]0;title\x07")])
    out.line("\x1b[31mred")

    assert stream.getvalue() == "detail     x\ngone next  y\nred\n"


class Wrapped:
    """What Django's OutputWrapper does."""

    def __init__(self, stream):
        self.stream = stream

    def isatty(self):
        return self.stream.isatty()

    def write(self, msg="", style_func=None, ending=None):
        ending = "\n" if ending is None else ending
        self.stream.write(msg if msg.endswith(ending) else msg + ending)
