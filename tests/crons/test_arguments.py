"""Arguments for one run: checked before anything is recorded, and never a way to name code."""

from __future__ import annotations

import pytest

from crons import api, command, cron, entry, job, shell
from crons.exceptions import CronsError, InvalidJob, Refused
from crons.models import AuditEvent, Run
from crons.redaction import for_people
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
        ("a\x00b", "has a NUL in it"),
        ((1, 2), "changes on its way through JSON"),
    ],
)
def test_what_cannot_be_kept_is_refused(value, told):
    """What a database takes for another value, or for none, is no argument."""
    assert told in refused("report", days=value)


@pytest.mark.parametrize("levels", [100, 985, 100_000])
def test_what_is_nested_without_end_is_refused(levels):
    """Databases and pages that show it give up at some depth, each at its own."""
    value = 1
    for _ in range(levels):
        value = [value]

    assert refused("report", city="Paris", days=value) == (
        "arguments of 'report': 'days' has lists and dicts nested 100 levels deep or more, expected fewer. "
        "Pass a flat value, or the path of a file."
    )


@pytest.mark.parametrize("levels", [100, 985, 100_000])
def test_a_declaration_is_refused_for_what_a_run_is(levels):
    """It is written to a row and shown on pages, too."""
    value = 1
    for _ in range(levels):
        value = {"a": value}

    with pytest.raises(InvalidJob) as declared:
        entry("deep", "report", cron("@daily"), args={"city": "Paris", "days": value})

    assert str(declared.value) == (
        "deep: of its args, 'days' has lists and dicts nested 100 levels deep or more, expected fewer. "
        "Pass a flat value, or the path of a file."
    )


@pytest.mark.parametrize("odd", [float("nan"), {1, 2}, "\ud800", "a\x00b", (1, 2), [["tk-0123456789", {1}]]])
@pytest.mark.parametrize("key", ["api_token", "days"])
def test_a_refusal_says_no_values(odd, key):
    """It is mailed by cron, logged, and pasted into tickets; the other arguments are none of its business."""
    args = {"city": "tk-0123456789", "days": 1} | {key: ["tk-0123456789", odd]}

    with pytest.raises(CronsError) as given:
        api.run_now("report", by="dana", args=args)
    with pytest.raises(InvalidJob) as declared:
        entry("odd", "report", cron("@daily"), args=args)
    with pytest.raises(InvalidJob) as unfit:
        entry("unfit", "report", cron("@daily"), args={"city": "tk-0123456789", "dais": "tk-0123456789"})

    for error in (given, declared, unfit):
        assert "tk-0123456789" not in str(error.value)
    assert repr(key) in str(declared.value)
    assert "cannot be called: got an unexpected keyword argument 'dais'. Given: city, dais." in str(unfit.value)


@pytest.mark.parametrize("text", ["\\u0000", r"[^\u0000-\u007f]", "\\\\u0000"])
def test_a_text_that_only_names_a_nul_is_none(text):
    """A pattern of six characters was refused for the one that it stands for."""
    assert api.run_now("report", by="dana", args={"city": text}).args == {"city": text}


def test_what_is_nested_as_deep_as_may_be_is_kept_and_shown():
    """What is refused begins where what is shown ends."""
    value = 1
    for level in range(99):
        value = {"a": value} if level % 2 else [value]

    assert for_people(api.run_now("report", by="dana", args={"days": value}).args) == {"days": value}


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


@pytest.fixture
def invoice(make_entry):
    """A job without a schedule, which needs to be told for whom."""

    @job(args={"copies": 2})
    def invoice(customer: int, copies: int, *, month: str, context) -> None:
        """Write an invoice."""

    return make_entry("invoice", args={"copies": 2}, schedule="")


def test_a_job_without_a_schedule_leaves_arguments_to_who_runs_it(invoice, led):
    """Nobody else calls it: it was refused at its declaration, for want of what only the caller knows."""
    run = api.run_now("invoice", by="dana", args={"customer": 7, "month": "2026-11"})

    [begun] = led.begin(run.wake_at)

    assert begun.args == {"copies": 2, "customer": 7, "month": "2026-11"}


@pytest.mark.parametrize(
    ("args", "missing", "how"),
    [
        ({}, "customer, month", "--arg customer=… --arg month=…"),
        ({"customer": 7}, "month", "--arg month=…"),
    ],
)
def test_missing_arguments_are_named_before_anything_is_recorded(invoice, args, missing, how):
    """From code, a page or a terminal alike."""
    assert refused("invoice", **args) == (
        f"'invoice' cannot run without {missing}, which its declaration leaves to who runs it: "
        f"manage.py crons run invoice {how}"
    )


def test_a_slot_gives_no_arguments_so_no_schedule_is_put_on_such_a_job(invoice):
    """Each of its slots would fail."""
    with pytest.raises(Refused, match="'invoice' cannot run without customer, month, "):
        api.reschedule("invoice", "0 2 * * *", by="dana")
    with pytest.raises(InvalidJob, match="missing a required argument: 'customer'"):
        entry("monthly", "invoice", cron("@monthly"))

    assert api.entry("invoice").schedule == ""


def test_what_no_keyword_can_give_is_refused_at_the_declaration():
    """Nobody could ever run it."""
    with pytest.raises(InvalidJob, match="'customer'"):

        @job()
        def invoice(customer, /):
            pass
