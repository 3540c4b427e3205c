"""Arguments for one run: checked before anything is recorded, and never a way to name code."""

from __future__ import annotations

import pytest

from crons import api, command, job, shell
from crons.exceptions import CronsError, Refused
from crons.models import AuditEvent, Run
from tests.crons.conftest import NOON

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def report(empty_registry, make_entry):
    """A job that takes a city, a number of days, and its context."""

    @job(name="report", args={"city": "Paris"})
    def report(city: str, days: int = 7, *, context=None) -> None:
        """Report."""

    make_entry("report", args={"city": "Paris"})


def refused(name: str, **args) -> str:
    """Return the words in which a run is refused."""
    with pytest.raises(CronsError) as error:
        api.run_now(name, by="dana", args=args)
    assert (Run.objects.count(), AuditEvent.objects.count()) == (0, 0)
    return str(error.value)


def test_a_run_gets_its_own_over_the_entrys(led):
    """For this run only; the entry keeps what it was declared with."""
    run = api.run_now("report", by="dana", args={"days": 30})

    [begun] = led.begin(run.wake_at)

    assert (run.args, begun.args) == ({"days": 30}, {"city": "Paris", "days": 30})
    assert AuditEvent.objects.get().after == {"entry": "report", "args": {"days": 30}}


def test_an_unknown_argument_is_refused_with_the_nearest():
    """At the terminal, and not by an attempt that fails an hour later."""
    assert refused("report", day=30) == ("'report' takes no argument 'day'. Did you mean 'days'? It takes: city, days.")


def test_the_context_is_not_for_callers():
    """It says who and when; a forged one would say anything."""
    assert refused("report", context={"key": "x"}) == "'report' takes no argument 'context'. It takes: city, days."


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (float("nan"), "cannot be kept as JSON"),
        ({1, 2}, "cannot be kept as JSON"),
        ("\ud800", "cannot be kept as JSON"),
        ("a\x00b", "have a NUL in them"),
        ((1, 2), "changes on its way through JSON"),
    ],
)
def test_what_cannot_be_kept_is_refused(value, told):
    """What a database takes for another value, or for none, is no argument."""
    assert told in refused("report", days=value)


def test_a_job_that_this_process_does_not_know_cannot_be_checked(make_entry):
    """Nothing is recorded that may turn out to be nonsense."""
    make_entry("elsewhere")

    assert refused("elsewhere", days=1).startswith("'elsewhere' is not declared.")


def test_a_program_takes_no_arguments(make_entry):
    """Its command line was declared in code, and stays as it was."""
    shell(["/bin/true"], name="program")
    make_entry("program")

    assert refused("program", x="; rm -rf /") == (
        "'program' runs a program with the arguments it was declared with; it takes no others."
    )


@pytest.mark.parametrize("name", ["settings", "pythonpath", "stdout"])
def test_a_command_takes_its_own_options_and_none_that_choose_code(make_entry, name):
    """Nothing in the database can name code that was not declared."""
    command("clearsessions", name="clear")
    make_entry("clear")

    assert refused("clear", **{name: "evil"}).startswith(f"'clear' takes no argument {name!r}.")
    assert api.run_now("clear", by="dana", args={"verbosity": 2}).args == {"verbosity": 2}


def test_whoever_takes_anything_is_given_anything(make_entry):
    """A function with **options says so."""

    @job(name="open")
    def takes_all(**options) -> None:
        """Take all."""

    make_entry("open", since=NOON)

    assert api.run_now("open", by="dana", args={"x": [1, {"y": None}]}).args == {"x": [1, {"y": None}]}


def test_a_command_that_is_gone_is_refused(make_entry):
    """A row may outlive what it names."""
    command("no_such_command", name="gone")
    make_entry("gone")

    with pytest.raises(Refused, match=r"^the command 'no_such_command' does not exist"):
        api.run_now("gone", by="dana", args={"x": 1})
