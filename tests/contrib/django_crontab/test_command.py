"""Standing in for django-crontab: what its crontab lines fire goes through the ledger."""

import io
import sys

import pytest
from django.core.management import CommandError, call_command, get_commands, load_command_class

from crons.contrib.django_crontab.management.commands import crontab
from crons.exceptions import Refused
from crons.jobs import job
from crons.schedules import cron
from crons.sources.crontab_files import CrontabFilesSource
from crons.triggers.by_name import Ran
from tests.crons import cronjobs
from tests.crons.cli.test_commandline import ends_sooner

real = pytest.importorskip("django_crontab.crontab")
pytestmark = pytest.mark.usefixtures("empty_registry")
HERE = "tests.crons.cronjobs"
BEAT = ("*/5 * * * *", f"{HERE}.beat")
LOAD = ["0 8 * * *", f"{HERE}.load", ["eu"], {"fast": True}, ">> x.log"]
FAIL = ("0 9 * * *", f"{HERE}.fail")


@pytest.fixture(autouse=True)
def lines(settings, monkeypatch):
    """Three lines, of both forms, outside of an attempt."""
    settings.CRONJOBS = [BEAT, LOAD, FAIL]
    settings.CRONS = {}
    settings.CRONTAB_EXECUTABLE = "true"  # no crontab is touched, nor needed
    monkeypatch.delenv("CRONS_ATTEMPT", raising=False)
    cronjobs.calls.clear()


@pytest.fixture
def ledger_calls(monkeypatch):
    """What enters the ledger, without a ledger."""
    calls = []

    def run_entry(name, say, *, by, scheduled, echo):
        calls.append((name, scheduled))
        return Ran(0)

    monkeypatch.setattr(crontab, "run_entry", run_entry)
    return calls


class Terminal(io.StringIO):
    """A stream with a person at it."""

    def isatty(self):
        return True


@pytest.fixture
def streams(monkeypatch):
    """Put streams in place of the process's."""

    def put(stdin, stdout):
        monkeypatch.setattr(sys, "stdin", stdin)
        monkeypatch.setattr(sys, "stdout", stdout)

    return put


@pytest.mark.parametrize("raw", [BEAT, LOAD, FAIL])
def test_hash_is_the_real_packages(raw):
    """The lines it has installed must be found."""
    assert crontab.hash_of(raw) == real.Crontab(readonly=True)._Crontab__hash_job(raw)


def test_cron_enters_the_ledger_as_scheduled(ledger_calls, streams):
    """No terminal: the command line that django-crontab wrote is one that only cron fires."""
    streams(io.StringIO(), io.StringIO())

    call_command(crontab.Command(), "run", crontab.hash_of(BEAT))

    assert ledger_calls == [(f"{HERE}.beat", True)]
    assert cronjobs.calls == []


@pytest.mark.parametrize(("stdin", "stdout"), [(Terminal(), io.StringIO()), (io.StringIO(), Terminal())])
def test_person_enters_the_ledger_by_hand(ledger_calls, streams, stdin, stdout):
    """Trying a line out at a terminal is no slot, also when the output goes elsewhere."""
    streams(stdin, stdout)

    call_command(crontab.Command(), "run", crontab.hash_of(BEAT))

    assert ledger_calls == [(f"{HERE}.beat", False)]


def test_start_of_the_machine_is_a_manual_run(ledger_calls, streams, settings):
    """cron fires the line, and no slot is due: before, nothing was run."""
    streams(io.StringIO(), io.StringIO())
    settings.CRONJOBS = [("@reboot", f"{HERE}.beat")]

    call_command(crontab.Command(), "run", crontab.hash_of(settings.CRONJOBS[0]))

    assert ledger_calls == [(f"{HERE}.beat", False)]


def test_line_that_is_none_stands_in_nobodys_way(ledger_calls, streams, settings):
    """Before: a set among the arguments of one line ended every line in a traceback."""
    streams(io.StringIO(), io.StringIO())
    settings.CRONJOBS = [5, ("@daily", f"{HERE}.load", [{1}]), BEAT]

    call_command(crontab.Command(), "run", crontab.hash_of(BEAT))

    assert ledger_calls == [(f"{HERE}.beat", True)]


def test_cron_without_streams_enters_as_scheduled(ledger_calls, streams):
    """Some starters close them."""
    streams(None, None)

    call_command(crontab.Command(stdout=io.StringIO(), stderr=io.StringIO()), "run", crontab.hash_of(BEAT))

    assert ledger_calls == [(f"{HERE}.beat", True)]


def test_line_of_a_declared_function_enters_its_entry(ledger_calls, streams):
    """One function, one history."""
    streams(io.StringIO(), io.StringIO())
    job(cron("*/5 * * * *"), name="heartbeat")(cronjobs.beat)

    call_command(crontab.Command(), "run", crontab.hash_of(BEAT))

    assert ledger_calls == [("heartbeat", True)]


def test_inside_an_attempt_the_function_is_called(ledger_calls, monkeypatch):
    """Entering the ledger again would never end."""
    monkeypatch.setenv("CRONS_ATTEMPT", "7")

    call_command(crontab.Command(), "run", crontab.hash_of(LOAD))

    assert cronjobs.calls == [("load", "eu", {"fast": True})]
    assert ledger_calls == []


def test_what_the_function_raises_is_not_swallowed(monkeypatch):
    """The real package logs it and exits with 0."""
    monkeypatch.setenv("CRONS_ATTEMPT", "7")

    with pytest.raises(ValueError, match=r"^no$"):
        call_command(crontab.Command(), "run", crontab.hash_of(FAIL))


def test_exit_code_is_that_of_crons_run(monkeypatch, streams):
    """Cron mails, and monitoring counts, by it."""
    streams(io.StringIO(), io.StringIO())
    monkeypatch.setattr(crontab, "run_entry", lambda *args, **kwargs: Ran(3))

    with pytest.raises(SystemExit) as ending:
        call_command(crontab.Command(), "run", crontab.hash_of(BEAT))

    assert ending.value.code == 3


def test_what_the_ledger_refuses_is_one_line(monkeypatch, streams):
    """As with `crons run`: cron mails it."""
    streams(io.StringIO(), io.StringIO())

    def refuses(*args, **kwargs):
        raise Refused("it is retired.")

    monkeypatch.setattr(crontab, "run_entry", refuses)

    with pytest.raises(CommandError, match=r"^it is retired\.$"):
        call_command(crontab.Command(), "run", crontab.hash_of(BEAT))


@pytest.mark.parametrize("asked", ["0" * 32, None])
def test_unknown_hash_names_the_lines_there_are(ledger_calls, asked):
    """A line of an older release is still in the crontab."""
    with pytest.raises(CommandError) as refused:
        call_command(crontab.Command(), "run", *([asked] if asked else []))

    assert refused.value.returncode == 1
    assert str(refused.value) == (
        f"no line of CRONJOBS has the hash {asked}, so nothing was run: the installed crontab is not what the "
        "settings say. Install it anew: manage.py crontab add. Known: "
        f"{crontab.hash_of(BEAT)} is {HERE}.beat at */5 * * * *; {crontab.hash_of(LOAD)} is {HERE}.load at 0 8 * * *; "
        f"{crontab.hash_of(FAIL)} is {HERE}.fail at 0 9 * * *."
    )
    assert ledger_calls == []


def test_unknown_hash_with_no_lines_says_so(settings):
    """As after a misspelt setting."""
    settings.CRONJOBS = []

    with pytest.raises(CommandError, match=r"Known: CRONJOBS is empty\.$"):
        call_command(crontab.Command(), "run", "0" * 32)


def test_line_that_names_nothing_is_an_error(settings, ledger_calls):
    """The slot is not lost in silence: cron mails what a command says."""
    settings.CRONJOBS = [("@daily", "no.such.beat")]

    with pytest.raises(CommandError) as refused:
        call_command(crontab.Command(), "run", crontab.hash_of(settings.CRONJOBS[0]))

    assert str(refused.value) == "CRONJOBS[0] names 'no.such.beat', which cannot be imported: No module named 'no'."


def test_other_subcommands_are_the_real_packages(capsys):
    """They are called unchanged."""
    call_command(crontab.Command(), "show")

    assert "Currently active jobs in crontab:" in capsys.readouterr().out


def test_app_that_stands_first_has_the_command(settings):
    """Django takes a command from the first app that has it."""
    settings.INSTALLED_APPS = ["crons.contrib.django_crontab", "django_crontab", "crons"]
    get_commands.cache_clear()
    try:
        app = get_commands()["crontab"]
    finally:
        get_commands.cache_clear()

    assert app == "crons.contrib.django_crontab"
    assert isinstance(load_command_class(app, "crontab"), crontab.Command)


def test_run_waits_for_neither_checks_nor_readers():
    """A slot must not wait for them, nor be lost for a warning elsewhere; add is done by people."""
    command = crontab.Command()

    command.execute(**DEFAULTS, subcommand="show", jobhash=None)
    at_show = command.requires_system_checks, command.output_decides
    with pytest.raises(CommandError):
        command.execute(**DEFAULTS, subcommand="run", jobhash="0")

    assert at_show == ("__all__", True)
    assert (command.requires_system_checks, command.output_decides) == ([], False)


DEFAULTS = {"force_color": False, "no_color": False, "skip_checks": True, "verbosity": 0}


def test_a_crontab_line_of_ours_needs_no_job(settings, tmp_path):
    """It enters the ledger, and says by its hash which line of CRONJOBS it is."""
    settings.CRONS = {"CRONTAB_FILES": [tmp_path / "crontab.txt"]}
    (tmp_path / "crontab.txt").write_text(f"* * * * * manage.py crontab run {crontab.hash_of(BEAT)}\n")

    assert CrontabFilesSource().read().problems == ()


def test_what_the_command_starts_ends_sooner():
    """See tests/crons/cli/test_commandline.py."""
    assert ends_sooner("crontab", "--help")
