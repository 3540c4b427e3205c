"""A project's own command that is a way into one entry: the plug-in point crons.management.entry_command."""

from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError

from crons.exceptions import Refused
from crons.management import entry_command
from crons.management.entry_command import EntryCommand
from crons.triggers.by_name import Ran, run_entry


class Command(EntryCommand):
    """As in docs/reference/python.md, with an option of its own."""

    entry = "report"

    def add_arguments(self, parser: Any) -> None:
        super().add_arguments(parser)
        parser.add_argument("--region", default="")

    def arguments(self, options: Any) -> dict[str, Any]:
        return {"region": options["region"]} if options["region"] else {}


class Asked:
    """Stands in for `run_entry`: notes what it is asked for."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.ends_with: int | Exception = 0

    def run_entry(self, name, say, *, echo, **options):
        self.calls.append((name, options))
        if isinstance(self.ends_with, Exception):
            raise self.ends_with
        say("somebody has it\x07")
        return Ran(self.ends_with)


@pytest.fixture
def asked(monkeypatch):
    """What `run_entry` was asked for, but for where it echoes to; `ends_with` gives it another exit code."""
    asked = Asked()
    monkeypatch.setattr(entry_command, "run_entry", asked.run_entry)
    monkeypatch.setattr(entry_command, "operator", lambda: "ada@host")
    return asked


@pytest.fixture(autouse=True)
def outside_attempts(monkeypatch):
    monkeypatch.delenv("CRONS_ATTEMPT", raising=False)


def command(*words: str) -> str:
    stderr = StringIO()
    call_command(Command(stdout=StringIO(), stderr=stderr), *words)
    return stderr.getvalue()


def test_it_asks_for_what_crons_run_would(asked):
    said = command()
    command("--scheduled", "--wait", "--foreground")

    assert asked.calls == [
        ("report", {"by": "ada@host", "scheduled": None, "args": {}, "wait": False, "foreground": False}),
        ("report", {"by": "ada@host", "scheduled": True, "args": {}, "wait": True, "foreground": True}),
    ]
    assert said == "somebody has it\N{REPLACEMENT CHARACTER}\n"


def test_its_own_options_become_arguments_of_the_run(asked):
    """So the ledger has them: an environment would leave no trace."""
    command("--region", "north")

    [(_, options)] = asked.calls
    assert options["args"] == {"region": "north"}


def test_its_exit_code_is_that_of_the_run(asked):
    asked.ends_with = 3

    with pytest.raises(SystemExit) as ended:
        command()

    assert ended.value.code == 3


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (Refused("report is\nretired."), "report is retired."),
        (OperationalError("failed:\n\tIs it running?"), "the database refused: failed: Is it running?"),
    ],
)
def test_it_refuses_in_the_words_of_the_frame(asked, monkeypatch, error, line):
    """One line fits into a mail from cron; --traceback shows all of it."""
    monkeypatch.setattr("crons.management.commandline._tables_are_missing", lambda: False)
    asked.ends_with = error

    with pytest.raises(CommandError) as refused:
        command()
    with pytest.raises(type(error)):
        command("--traceback")

    assert (str(refused.value), refused.value.returncode) == (line, 1)


def test_missing_tables_are_said_to_be_missing(asked, monkeypatch):
    monkeypatch.setattr("crons.management.commandline._tables_are_missing", lambda: True)
    asked.ends_with = OperationalError("no such table: crons_entry")

    with pytest.raises(CommandError, match=r"^the tables of crons are missing: run manage\.py migrate$"):
        command()


def test_arguments_within_an_attempt_are_refused(monkeypatch):
    """The attempt's run has its own: to leave these out silently would do another work than was asked for."""
    monkeypatch.setenv("CRONS_ATTEMPT", "7")

    with pytest.raises(CommandError, match=r"^arguments start a run; this process works for one that"):
        command("--region", "north")


def test_arguments_of_a_slot_are_refused():
    """A slot's are those of the declaration, whoever runs it."""
    with pytest.raises(Refused, match=r"^arguments are for manual runs: a slot runs with those that its entry"):
        run_entry("report", print, by="ada", scheduled=True, args={"region": "north"})
