"""CRONJOBS as a source: what each line of django-crontab becomes, and what is said of one that cannot work."""

from datetime import timedelta
from itertools import permutations

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from crons.contrib.django_crontab.lines import Line, plain_name, read_line
from crons.contrib.django_crontab.source import FIX, TIMES, CronjobsSource
from crons.exceptions import DeclarationError
from crons.jobs import Declaration, command, entry, job, registry
from crons.jobs.callables import CommandBody
from crons.redaction import Redaction
from crons.schedules import NEVER, cron, every
from crons.sources.base import LEFT, NOT_IMPORTED, Binding, Reading
from crons.sources.code import CodeSource
from tests.crons import cronjobs

pytestmark = pytest.mark.usefixtures("empty_registry")
HERE = "tests.crons.cronjobs"


@pytest.fixture(autouse=True)
def no_other_lines(settings):
    """What the project's own settings say is not under test."""
    settings.CRONJOBS = []
    settings.CRONS = {}


@pytest.mark.parametrize("lines", [None, "*/5 * * * *", {"@daily": "a.b"}])
def test_setting_that_is_no_list_is_one_problem(settings, lines):
    """Not a site that does not start, nor a problem per letter."""
    settings.CRONJOBS = lines

    [problem] = CronjobsSource().read().problems

    assert (problem.id, problem.text) == ("W030", f"CRONJOBS is {lines!r}, expected a list of tuples.")


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        (("* * * * *", "a.b"), Line(3, "* * * * *", "a.b")),
        (["* * * * *", "a.b", ">> /x.log 2>&1"], Line(3, "* * * * *", "a.b", suffix=">> /x.log 2>&1")),
        (("* * * * *", "a.b", [1]), Line(3, "* * * * *", "a.b", (1,))),
        (("* * * * *", "a.b", [1], {"k": 2}), Line(3, "* * * * *", "a.b", (1,), {"k": 2})),
        (("* * * * *", "a.b", [], {}, ">> /x.log"), Line(3, "* * * * *", "a.b", suffix=">> /x.log")),
        (("* * * * *", "a.b", [], {}, None), Line(3, "* * * * *", "a.b")),
        (("* * * * *", "a.b", (1,), {"k": 2}, "> x", "not read"), Line(3, "* * * * *", "a.b", (1,), {"k": 2}, "> x")),
    ],
)
def test_line_has_the_two_forms_of_django_crontab(raw, line):
    """Its redirections belong to the crontab; the ledger keeps the output itself."""
    assert read_line(3, raw) == line


@pytest.mark.parametrize("raw", [(), ("* * * * *",), ("* * * * *", 5), ("a", "b", "c", "d"), ("a", "b", [], []), "ab"])
def test_line_of_another_form_says_what_was_expected(raw):
    """And which line it was."""
    with pytest.raises(DeclarationError) as refused:
        read_line(3, raw)

    assert str(refused.value) == (
        f"CRONJOBS[3] is {raw!r}, expected (schedule, 'path.to.function') "
        "or (schedule, 'path.to.function', [args], {kwargs})."
    )


def test_line_of_an_undeclared_function_declares_a_job(empty_registry, settings):
    """Its name is its path, so that moving to @job(aliases=…) keeps the history."""
    settings.CRONJOBS = [("*/5 * * * *", f"{HERE}.beat")]

    reading = CronjobsSource().read()

    made = Declaration(f"{HERE}.beat", f"{HERE}.beat", cron("*/5 * * * *"), {}, "cronjobs", f"CRONJOBS[0] {HERE}.beat")
    assert reading == Reading((made,))
    assert empty_registry.get(f"{HERE}.beat").body is cronjobs.beat


def test_reading_twice_gives_the_same(settings):
    """Checks, sync and the start of a process all read."""
    settings.CRONJOBS = [("*/5 * * * *", f"{HERE}.beat"), ("@daily", f"{HERE}.load", [1], {"k": 2})]

    assert CronjobsSource().read() == CronjobsSource().read()


def test_line_with_positional_arguments_calls_with_them(empty_registry, settings):
    """They have no names to keep in a row, so the job holds them."""
    settings.CRONJOBS = [("@daily", f"{HERE}.load", ["eu", 2], {"fast": True})]

    (made,) = CronjobsSource().read().declarations
    cronjobs.calls.clear()
    empty_registry.get(made.job).body(**made.args)

    assert cronjobs.calls == [("load", "eu", 2, {"fast": True})]
    assert made.name.startswith(f"{HERE}.load:")


def names(settings, *lines):
    """Return what the entries of these lines are called, and that a crontab line finds them so."""
    settings.CRONJOBS = list(lines)
    found = [made.name for made in CronjobsSource().read().declarations]
    assert [CronjobsSource().entry_name(raw) for raw in lines] == found
    return found


def test_lines_that_differ_have_names_that_differ(settings):
    """By their arguments; where the same is called at several times, by these too."""
    found = names(
        settings,
        ("0 8 * * *", f"{HERE}.load"),
        ("0 17 * * *", f"{HERE}.load"),
        ("0 8 * * *", f"{HERE}.load", ["eu"]),
        ("0 8 * * *", f"{HERE}.load", [], {"fast": True}),
        ("0 9 * * *", f"{HERE}.load", [], {"fast": True}),
    )

    assert len(set(found)) == 5
    assert all(name.startswith(f"{HERE}.load:") for name in found)


def test_name_does_not_depend_on_the_order_of_lines(settings, monkeypatch):
    """Before: the first of two was called by its path alone, and the next one when that was deleted."""
    monkeypatch.setattr("crons.sources.base.of_project", lambda: Redaction(()))  # slow, and not under test
    calls = (("0 7 * * *", []), ("30 12 * * *", []), ("0 0 * * SUN", []), ("0 7 * * *", [1]), ("30 12 * * *", [1]))
    lines = [(text, f"{HERE}.load", args) for text, args in calls]
    before = dict(zip(map(str, lines), names(settings, *lines), strict=True))

    for other in permutations(lines, 3):
        assert sorted(names(settings, *other)) == sorted(
            before[str(line)] if sum(each[2] == line[2] for each in other) > 1 else plain(line) for line in other
        )


def plain(line):
    """Return what a line is called that alone makes its call."""
    return plain_name(read_line(0, line))


def test_line_that_alone_makes_its_call_keeps_its_name_when_its_schedule_changes(settings):
    """A schedule is what people change most."""
    assert names(settings, ("0 7 * * *", f"{HERE}.load")) == names(settings, ("5 7 * * *", f"{HERE}.load"))


def test_schedules_that_are_one_are_one_line(settings):
    """Blanks and capitals make no second entry."""
    settings.CRONJOBS = [("0 7 * * sun", f"{HERE}.load"), ("0  7 * * SUN", f"{HERE}.load")]

    both = [CronjobsSource().entry_name(raw) for raw in settings.CRONJOBS]

    assert both == [f"{HERE}.load", f"{HERE}.load"]


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        (("@daily",), FIX),
        (("@daily", f"{HERE}.nope"), NOT_IMPORTED),
        (("@daily", f"{HERE}:load"), NOT_IMPORTED),
        (("@daly", f"{HERE}.load"), TIMES),
        (("@daily", f"{HERE}"), LEFT),
        (("@daily", "django.core.management.call_command", ["clearsession"]), LEFT),
    ],
)
def test_hint_says_what_to_do_about_this_mistake(settings, line, hint):
    """Which forms a line has helps nobody whose module is gone."""
    settings.CRONJOBS = [line]

    [problem] = CronjobsSource().read().problems

    assert problem.hint == hint


COMMAND = "django.core.management.call_command"


@pytest.mark.parametrize(
    ("args", "kwargs", "name", "told", "body"),
    [
        (["clearsessions"], {}, "call_command:clearsessions", "manage.py clearsessions", ("clearsessions", ())),
        (
            ["check", "--deploy", ["--tag", 5]],
            {"fail_level": "ERROR"},
            "call_command:check:7333f8",
            "manage.py check --deploy --tag 5 --fail-level=ERROR",
            ("check", ("--deploy", "--tag", "5")),
        ),
    ],
)
def test_line_of_a_management_command_carries_its_name(empty_registry, settings, args, kwargs, name, told, body):
    """Before: each was called django.core.management.call_command:1f2e3d, and a list of them said nothing."""
    assert names(settings, ("0 1 * * *", COMMAND, args, kwargs)) == [name]

    made = empty_registry.get(name)
    assert (made.description, made.body, empty_registry.entries[name].args) == (told, CommandBody(*body), kwargs)


def test_description_says_what_a_line_calls_with(empty_registry, settings):
    """The mark in its name says nothing to people; a secret of the project is none of it."""
    settings.PAYMENT_API_KEY = "sk_live_12345678"
    [name] = names(settings, ("0 1 * * *", f"{HERE}.load", ["eu", "sk_live_12345678"], {"fast": True}))

    assert empty_registry.get(name).description == f"{HERE}.load('eu', '********', fast=True)"


def test_line_of_a_declared_command_is_a_door_to_its_entry(settings):
    """As one of a declared function is."""
    command("clearsessions", schedule=cron("0 1 * * *"), name="sessions")
    command("check", "--deploy", schedule=cron("0 2 * * *"))
    job(cron("0 3 * * *"), name="flush")(cronjobs.beat)
    settings.CRONJOBS = [
        ("0 1 * * *", COMMAND, ["clearsessions"]),
        ("0 2 * * *", COMMAND, ["check", "--deploy"]),
        ("0 3 * * *", COMMAND, ["flush"]),
    ]

    reading = CronjobsSource().read()

    assert [each.entry for each in reading.bindings] == ["sessions", "check", "flush"]
    assert (reading.declarations, reading.problems) == ((), ())


def test_command_that_no_app_has_is_a_problem_of_its_line(settings, empty_registry):
    """Before: an error of the whole project, which is not what a line of others may be."""
    settings.CRONJOBS = [("0 1 * * *", COMMAND, ["clearsession"])]

    [problem] = CronjobsSource().read().problems

    assert problem.text == (
        "CRONJOBS[0] calls manage.py clearsession, which no installed app has. Did you mean 'clearsessions'?"
    )
    assert empty_registry.jobs == {}


def test_command_without_a_name_is_a_problem(settings):
    """It would fail each night."""
    settings.CRONJOBS = [("0 1 * * *", COMMAND)]

    [problem] = CronjobsSource().read().problems

    assert problem.text == (f"CRONJOBS[0] calls {COMMAND} without the name of a command, expected ['clearsessions'].")


def test_line_at_the_start_of_the_machine_has_no_slots(settings, empty_registry):
    """cron fires it when it starts, which is a moment that no schedule has."""
    assert names(settings, ("@reboot", f"{HERE}.load")) == [f"{HERE}.load"]
    assert empty_registry.entries[f"{HERE}.load"].schedule is NEVER


def test_line_at_the_start_of_the_machine_is_no_second_schedule_of_a_job(settings):
    """Code says when it is due; that cron calls it once more is no disagreement."""
    job(every(minutes=5), name="heartbeat")(cronjobs.beat)
    settings.CRONJOBS = [("@reboot", f"{HERE}.beat")]

    assert CronjobsSource().read() == Reading()
    assert CronjobsSource().entry_name(settings.CRONJOBS[0]) == "heartbeat"


def test_line_does_not_take_the_name_of_another_job(settings, empty_registry):
    """Before: it took that job's place, silently."""
    job(every(minutes=5), name=f"{HERE}.load")(cronjobs.beat)
    settings.CRONJOBS = [("0 1 * * *", f"{HERE}.load")]

    [problem] = CronjobsSource().read().problems

    assert problem.text == (
        f"CRONJOBS[0] {HERE}.load would be called '{HERE}.load', as another job is ({HERE}.beat): give that one "
        "another name=."
    )
    assert empty_registry.get(f"{HERE}.load").body is cronjobs.beat


def test_secret_in_a_line_is_not_in_what_is_said_of_it(settings):
    """Checks are printed by every command, and kept by monitoring."""
    settings.CRONJOBS = [("@daily", f"{HERE}.beat", [], {"api_token": "tk-0123456789"})]

    [problem] = CronjobsSource().read().problems

    assert "tk-0123456789" not in problem.text
    assert problem.text.endswith("unexpected keyword argument 'api_token'. Given: api_token.")


def test_line_of_a_declared_function_is_a_door_to_its_entry(settings):
    """One function, one entry, however many lines name it."""
    job(every(minutes=5), name="heartbeat")(cronjobs.beat)
    settings.CRONJOBS = [("*/5 * * * *", f"{HERE}.beat")]

    assert CronjobsSource().read() == Reading((), (Binding("heartbeat", "*/5 * * * *", "CRONJOBS[0]"),))
    assert CronjobsSource().entry_name(settings.CRONJOBS[0]) == "heartbeat"


def test_door_leads_to_the_entry_with_the_same_arguments_and_schedule(settings):
    """A job may have several."""
    job(cron("0 8 * * *"), name="load")(cronjobs.load)
    entry("load_late", "load", cron("0 17 * * *"))
    entry("load_fast", "load", cron("0 17 * * *"), args={"fast": True})
    lines = [
        ("0 17 * * *", f"{HERE}.load"),
        ("0 8 * * *", f"{HERE}.load"),
        ("0 9 * * *", f"{HERE}.load", [], {"fast": True}),
        ("0 9 * * *", f"{HERE}.load"),
    ]

    assert [CronjobsSource().entry_name(raw) for raw in lines] == ["load_late", "load", "load_fast", "load"]


def test_line_that_stands_there_twice_is_a_problem(settings):
    """Cron calls it twice; before, crons did once, and nothing said so."""
    twice = ("0 7 * * *", f"{HERE}.load", ["eu"])
    settings.CRONJOBS = [twice, ("0 8 * * *", f"{HERE}.load", ["eu"]), ("0  7 * * *", *twice[1:], {}, ">> /x.log")]
    source = CronjobsSource()

    reading = source.read()

    assert [each.source_ref for each in reading.declarations] == [f"CRONJOBS[{n}] {HERE}.load" for n in (0, 1)]
    assert [(each.id, each.is_broken, each.text) for each in reading.problems] == [
        (
            "W030",
            False,
            f"CRONJOBS[2] {HERE}.load is CRONJOBS[0] once more: cron calls it for each of these lines, crons once.",
        )
    ]
    assert source.read() == reading


def test_line_of_a_declared_job_that_stands_there_twice_is_a_problem(settings):
    """There is one way to fire it, too."""
    job(cron("0 8 * * *"), name="load")(cronjobs.load)
    settings.CRONJOBS = [("0 8 * * *", f"{HERE}.load")] * 2

    reading = CronjobsSource().read()

    assert reading.bindings == (Binding("load", "0 8 * * *", "CRONJOBS[0]"),)
    assert [each.text.partition(":")[0] for each in reading.problems] == [
        f"CRONJOBS[1] {HERE}.load is CRONJOBS[0] once more"
    ]


def test_line_that_gives_a_declared_function_other_arguments_is_a_problem(settings):
    """Before: they were dropped without a word."""
    job(cron("0 8 * * *"), name="load")(cronjobs.load)
    settings.CRONJOBS = [("0 8 * * *", f"{HERE}.load", ["eu"], {"fast": True})]

    reading = CronjobsSource().read()

    (problem,) = reading.problems
    assert reading.bindings == ()
    assert problem.id == "W030"
    assert problem.text == (
        f"CRONJOBS[0] calls {HERE}.load('eu', fast=True), but code declares 'load' with other arguments: "
        "declare this call too, with entry('a_name', 'load', cron('0 8 * * *'), args=…)."
    )


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (
            ("@daily", "no.such.beat"),
            "CRONJOBS[0] names 'no.such.beat', which cannot be imported: No module named 'no'.",
        ),
        (
            ("@daily", "tests.crons.broken.report"),
            "CRONJOBS[0] names 'tests.crons.broken.report', which cannot be imported: KeyError: 'SHOP_TOKEN'.",
        ),
        (("@daily", "..beat"), "CRONJOBS[0] names '..beat', which cannot be imported: "),
        (
            ("@daily", f"{HERE}.yields"),
            f"CRONJOBS[0] {HERE}.yields: {HERE}.yields is a generator (it has a yield), so calling it runs nothing: ",
        ),
        (
            ("@daily", "builtins.dict"),
            "CRONJOBS[0] builtins.dict: builtins.dict does not say what it can ",
        ),
        (("@daily", f"{HERE}.bet"), f"CRONJOBS[0] names '{HERE}.bet', which cannot be imported: Module "),
        (("@daily", f"{HERE}.number"), f"CRONJOBS[0] names '{HERE}.number', which is a int, not a function."),
        (("@daily", f"{HERE}.beat", [], {"k": 1}), f"CRONJOBS[0] {HERE}.beat: {HERE}.beat:"),
        (("@daily", f"{HERE}.load", [], {"k": {1}}), f"CRONJOBS[0] {HERE}.load: {HERE}.load:"),
        (
            ("@daily", f"{HERE}.load", [object()]),
            f"CRONJOBS[0] {HERE}.load: its arguments are no plain JSON (Object of type object is not JSON ",
        ),
        (("@daily", f"{HERE}.load", [{1, 2}]), f"CRONJOBS[0] {HERE}.load: its arguments are no plain JSON ("),
        (("61 * * * *", f"{HERE}.beat"), f"CRONJOBS[0] {HERE}.beat: '61 * * * *': "),
        (("@daily", f"{HERE}.beat", [], {"k": 1, 2: 3}), f"CRONJOBS[0] {HERE}.beat: {HERE}.beat:"),
        (5, "CRONJOBS[0] is 5, expected (schedule, 'path.to.function') or "),
    ],
)
def test_line_that_cannot_work_is_a_problem_and_not_the_end(settings, raw, problem):
    """The other lines are read all the same."""
    settings.CRONJOBS = [raw, ("* * * * *", f"{HERE}.fail")]

    reading = CronjobsSource().read()

    (found,) = reading.problems
    assert found.text.startswith(problem)
    assert [made.name for made in reading.declarations] == [f"{HERE}.fail"]


def test_path_with_a_colon_says_how_it_is_written(settings):
    """As entry points of packages have it."""
    settings.CRONJOBS = [("@daily", f"{HERE}:beat")]

    [problem] = CronjobsSource().read().problems

    assert problem.text.endswith(f"does not define a \"cronjobs:beat\" attribute/class. Write '{HERE}.beat'.")


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=9)
    | st.binary(max_size=3)
    | st.just({1}),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=2),
)
raws = anything | st.tuples(
    st.sampled_from(["@daily", "@reboot", "0 7 * * *", "61 * * * *", "", "@x"]),
    st.sampled_from([f"{HERE}.load", f"{HERE}.beat", COMMAND, f"{HERE}:load", "", "..", "x y"]),
    anything,
    anything,
    anything,
)


@settings_of_hypothesis(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=60
)
@given(st.lists(raws, max_size=4))
def test_no_line_is_too_strange(settings, empty_registry, monkeypatch, lines):
    """Each process reads them at its start: whatever they are, it goes on, and the same line has the same name."""
    # All settings are looked through for each message, which is not under test here.
    monkeypatch.setattr("crons.sources.base.of_project", lambda: Redaction(()))
    empty_registry.clear()
    settings.CRONJOBS = lines

    first, second = CronjobsSource().read(), CronjobsSource().read()

    assert len(first.problems) + len(first.declarations) <= len(lines)
    assert [made.name for made in first.declarations] == [made.name for made in second.declarations]
    assert all(problem.text.startswith("CRONJOBS[") for problem in first.problems)


def test_jobs_of_lines_are_no_declarations_of_code(settings):
    """Else they would be synced as code's, and never retired with their line."""
    job(every(minutes=5), name="heartbeat")(cronjobs.beat)
    settings.CRONJOBS = [("@daily", f"{HERE}.load")]
    CronjobsSource().read()

    assert [made.name for made in CodeSource().read().declarations] == ["heartbeat"]


@pytest.mark.parametrize("defaults", [{}, {"timeout": timedelta(minutes=5)}])
def test_a_line_has_no_timeout_unasked(settings, monkeypatch, defaults):
    """What ran for three hours under django-crontab must not be killed after one."""
    monkeypatch.setattr(registry, "defaults", lambda: defaults)
    settings.CRONJOBS = [("@daily", f"{HERE}.beat")]
    CronjobsSource().read()

    assert registry.get(f"{HERE}.beat").policy.timeout == defaults.get("timeout")
