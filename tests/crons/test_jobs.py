"""Declaring: what a declaration keeps, and every mistake at import."""

import importlib
import io
import json
import os
import re
import runpy
import subprocess
import sys
from contextlib import redirect_stdout
from datetime import timedelta
from pathlib import Path
from textwrap import dedent

import pytest
from django.test import modify_settings

from crons.exceptions import DuplicateJob, InvalidJob, UnknownJob
from crons.jobs import Declaration, command, entry, job, shell
from crons.jobs.callables import CommandBody, ShellBody
from crons.jobs.policies import Policy, Retry
from crons.jobs.windows import Window
from crons.schedules import NEVER, cron, every

pytestmark = pytest.mark.usefixtures("empty_registry")
HOURLY = cron("0 * * * *")


def one():
    pass


def two():
    pass


def says(message):
    return "^" + re.escape(message)


def test_decorator_returns_the_function_unchanged():
    """Tests and other code call it as if it were not declared."""

    def clean():
        return 7

    assert job(HOURLY)(clean) is clean


def test_declaration_is_kept_under_the_name_of_the_function(empty_registry):
    """The first line of the docstring is its description."""

    @job(HOURLY, owner="ops", tags=["db"], timeout=timedelta(minutes=5))
    def clean():
        """Throw away what is old.

        And more.
        """

    kept = empty_registry.get("clean")
    assert (kept.body, kept.owner, kept.tags) == (clean, "ops", ("db",))
    assert kept.description == "Throw away what is old."
    assert kept.policy == Policy(timeout=timedelta(minutes=5))
    assert kept.source_ref == f"{__name__}.{clean.__qualname__}"
    assert empty_registry.entries["clean"] == Declaration("clean", "clean", HOURLY, source_ref=kept.source_ref)
    assert empty_registry.job_for(clean) is kept


def test_job_without_schedule_is_run_by_hand_only(empty_registry):
    """It has an entry all the same, so that it can be asked for and has a history."""
    job(name="repair")(lambda: None)

    assert empty_registry.entries["repair"].schedule is NEVER


def test_decorator_without_brackets_says_what_is_missing():
    """The usual slip."""
    with pytest.raises(InvalidJob, match=says("@job needs brackets and a schedule: @job(cron(")):
        job(lambda: None)


def test_schedule_must_be_one():
    """A text could be a crontab line or an interval: the function says which."""
    with pytest.raises(InvalidJob, match=says("clean: '0 * * * *' is no schedule, expected cron('0 2 * * SUN') or ")):
        job("0 * * * *", name="clean")(lambda: None)


def test_policy_misspelt_names_the_nearest():
    """A policy that nobody reads would be no policy."""
    with pytest.raises(
        InvalidJob, match=says("clean: 'time_out' is no policy. Did you mean 'timeout'? Known: catch_up")
    ):
        job(HOURLY, name="clean", time_out=5)(lambda: None)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"catch_up": "some"}, "clean: catch_up='some': expected one of 'none', 'latest', 'all'."),
        ({"overlap": "wait"}, "clean: overlap='wait': expected one of 'skip', 'allow'."),
        ({"timeout": 60}, "clean: timeout=60: expected a positive timedelta, for example timedelta(minutes=10)."),
        ({"deadline": timedelta(0)}, "clean: deadline=datetime.timedelta(0): expected a positive timedelta, "),
        ({"cap": 0}, "clean: cap=0: expected a whole number from 1 to 10000."),
        ({"retry": 3}, "clean: retry=3: expected Retry(times, wait=…), for example Retry(3)."),
        ({"idempotent": 1}, "clean: idempotent=1: expected True or False."),
        ({"group": None}, "clean: group=None: expected a text."),
        ({"expected": 600}, "clean: expected=600: expected a positive timedelta, for example timedelta(minutes=10)."),
        ({"max_silence": timedelta(0)}, "clean: max_silence=datetime.timedelta(0): expected a positive timedelta, "),
        ({"max_idle": True}, "clean: max_idle=True: expected a whole number from 0 to 60, or None."),
        ({"max_idle": 61}, "clean: max_idle=61: expected a whole number from 0 to 60, or None."),
        ({"tell_after": 0}, "clean: tell_after=0: expected a whole number from 1 to 1000: the failure in a row that "),
        ({"tell_after": True}, "clean: tell_after=True: expected a whole number from 1 to 1000"),
        ({"unsteady": 3}, "clean: unsteady=3: expected (N, M), whole numbers up to 20: N failures of M runs."),
        ({"unsteady": (1, 21)}, "clean: unsteady=(1, 21): expected (N, M), whole numbers up to 20"),
        ({"unsteady": (4, 3)}, "clean: unsteady=(4, 3): of 3 runs 4 cannot fail. Expected (N, M), N ≤ M."),
        ({"unsteady": (0, 0)}, "clean: unsteady=(0, 0): of 0 runs 0 cannot fail."),
        ({"window": "22-06"}, "clean: window='22-06': expected Window(opens, closes), for example Window('22:00', "),
        (
            {"window": Window("22:00", "06:00"), "catch_up": "none"},
            "clean: window=Window(opens='22:00', closes='06:00') with catch_up='none': a slot outside would wait for ",
        ),
    ],
)
def test_policy_that_cannot_work_says_what_was_expected(policy, message):
    """At import, not at 02:00."""
    with pytest.raises(InvalidJob, match=says(message)):
        job(HOURLY, name="clean", **policy)(lambda: None)


def test_policies_of_all_jobs_stand_under_those_of_one(empty_registry):
    """CRONS["DEFAULTS"] reaches the registry through a callable, so that jobs import no Django."""
    empty_registry.defaults = lambda: {"group": "night", "cap": 5}

    job(HOURLY, name="clean", cap=7)(lambda: None)

    assert empty_registry.get("clean").policy == Policy(group="night", cap=7)


def test_default_that_is_no_policy_is_refused_where_it_stands(empty_registry):
    """Before: a TypeError that named neither the setting nor the nearest policy."""
    empty_registry.defaults = lambda: {"time_out": 5}

    with pytest.raises(InvalidJob, match=says("CRONS['DEFAULTS']: 'time_out' is no policy. Did you mean 'timeout'?")):
        job(HOURLY, name="clean")(one)


@pytest.mark.parametrize("name", ["", "with blank", "9lives", "x" * 101, "<lambda>"])
def test_name_must_be_usable_on_a_command_line(name):
    """It stands in crontab lines, in addresses and in shells."""
    message = f"{name!r} cannot name a job: expected 1 to 100 letters, digits and _.:-, the first a letter or _."
    with pytest.raises(InvalidJob, match=says(message)):
        # A lambda's own name is no name, which is what an empty one falls back to.
        job(HOURLY, name=name)(lambda: None) if name else command("", schedule=HOURLY)


def test_two_jobs_of_one_name_are_refused():
    """Else one of them would never run, and nobody would know which."""
    job(HOURLY, name="clean")(one)
    first, second = (f"{__file__}:{each.__code__.co_firstlineno}" for each in (one, two))

    with pytest.raises(
        DuplicateJob,
        match=says(f"two declarations of the job 'clean': {first} and {second}. Give one of them another name=."),
    ):
        job(HOURLY, name="clean")(two)


TWICE = {
    "two functions of one name": """
        from crons import every, job

        @job(every(minutes=5))
        def tidy(): pass

        @job(every(minutes=7))
        def tidy(): pass
        """,
    "a loop": """
        from crons import every, job

        for minutes in (5, 7):
            @job(every(minutes=minutes))
            def tidy(): pass
        """,
    "a factory called twice": """
        from crons import every, job

        def declare(minutes):
            job(every(minutes=minutes), name="tidy")(lambda: minutes)

        declare(5)
        declare(7)
        """,
    "two lambdas": """
        from crons import every, job

        job(every(minutes=5), name="tidy")(lambda: 1)
        job(every(minutes=5), name="tidy")(lambda: 1)
        """,
    "two lambdas on one line": """
        from crons import every, job

        for body in (lambda: 1, lambda: 1): job(every(minutes=5), name="tidy")(body)
        """,
    "a command in a loop": """
        from crons import command, every

        for minutes in (5, 7):
            command("tidy", schedule=every(minutes=minutes))
        """,
    "a program beside a function": """
        from crons import every, job, shell

        @job(every(minutes=5))
        def tidy(): pass

        shell(["true"], name="tidy")
        """,
    "an entry in a loop": """
        from crons import entry, every, job

        job(every(minutes=5), name="work")(lambda: 1)
        for minutes in (5, 7):
            entry("tidy", "work", every(minutes=minutes))
        """,
    "an entry with a job's name": """
        from crons import entry, every, job

        job(every(minutes=5), name="tidy")(lambda: 1)
        entry("tidy", "tidy", every(minutes=7))
        """,
}


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module and return its name; nothing of it stays imported."""
    monkeypatch.syspath_prepend(str(tmp_path))
    written = {"cron"}

    def write(source, name="declaring"):
        path = tmp_path / Path(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(source))
        importlib.invalidate_caches()
        written.add(name.partition(".")[0])
        return name

    yield write
    for name in [name for name in sys.modules if name.partition(".")[0] in written]:
        del sys.modules[name]


@pytest.mark.parametrize("source", TWICE.values(), ids=TWICE)
def test_a_module_cannot_declare_one_name_twice(module, source):
    """The last one would win, silently, also where both stand on the same line."""
    place = rf"\S+{os.sep}declaring\.py:\d+"

    with pytest.raises(DuplicateJob, match=rf"^two declarations of the (job|entry) 'tidy': {place} and {place}\. Give"):
        importlib.import_module(module(source))


def test_the_same_source_in_two_modules_is_a_twin(module):
    """Somebody copied an app: one of the two jobs would never run."""
    source = TWICE["a loop"].replace("(5, 7)", "(5,)")
    importlib.import_module(module(source, "shop.cron"))

    with pytest.raises(DuplicateJob, match=r"shop.cron\.py:5 and \S+stock.cron\.py:5\. Give"):
        importlib.import_module(module(source, "stock.cron"))


def test_two_modules_that_use_one_factory_are_twins(module):
    """Both functions stand on the same line of a third file."""
    module("from crons import every, job\ndef declare(name): job(every(minutes=5), name=name)(lambda: 1)", "factory")
    importlib.import_module(module("import factory; factory.declare('tidy')", "one_cron"))

    with pytest.raises(DuplicateJob, match=r"two declarations of the job 'tidy': \S+factory\.py:2"):
        importlib.import_module(module("import factory; factory.declare('tidy')", "other_cron"))


WHOLE = """
    import factory
    from crons import command, cron, entry, every, job

    @job(every(minutes=5), aliases=["old"])
    def tidy(): pass

    command("clear", schedule=cron("@daily"))
    entry("more", "tidy", every(minutes=7))
    factory.declare("made")
    """


@pytest.fixture
def whole(module):
    """A module that declares in all ways."""
    module("from crons import every, job\ndef declare(name): job(every(minutes=5), name=name)(lambda: 1)", "factory")
    return module(WHOLE, "shop.cron")


def test_a_reloaded_module_is_no_twin(whole, empty_registry):
    """Reloading is everyday in a shell, and the file may have been edited in between."""
    found = importlib.import_module(whole)
    old = empty_registry.jobs["tidy"].body
    path = Path(found.__file__)
    path.write_text("# longer by a line\n" + path.read_text().replace("minutes=7", "minutes=70"))

    importlib.reload(found)

    assert sorted(empty_registry.entries) == ["clear", "made", "more", "tidy"]
    assert empty_registry.entries["more"].schedule == every(minutes=70)
    assert empty_registry.jobs["tidy"].body is found.tidy is not old


def test_a_job_renamed_before_a_reload_goes_by_its_new_name_only(whole, empty_registry):
    """The old one is not declared any more."""
    found = importlib.import_module(whole)
    Path(found.__file__).write_text(
        "from crons import every, job\n@job(every(minutes=5), aliases=['tidy'])\ndef sweep(): pass\n"
    )

    importlib.reload(found)

    assert empty_registry.get("tidy").name == "sweep"
    assert "tidy" not in empty_registry.entries


def test_a_module_under_two_names_is_no_twin(whole, tmp_path, monkeypatch, empty_registry):
    """With both a folder and its parent on the path, `shop.cron` is also `cron`."""
    importlib.import_module(whole)
    monkeypatch.syspath_prepend(str(tmp_path / "shop"))

    importlib.import_module("cron")

    assert sorted(empty_registry.entries) == ["clear", "made", "more", "tidy"]


@pytest.mark.filterwarnings("ignore:.*found in sys.modules")
def test_a_module_run_as_a_program_is_no_twin(whole, empty_registry):
    """`python -m shop.cron` runs what Django has imported already."""
    importlib.import_module(whole)

    runpy.run_module(whole, run_name="__main__", alter_sys=False)

    assert sorted(empty_registry.entries) == ["clear", "made", "more", "tidy"]


def test_ready_called_anew_is_no_twin():
    """Django does that when a test changes INSTALLED_APPS."""

    def ready():
        command("clear", schedule=HOURLY)

    ready()
    with modify_settings(INSTALLED_APPS={"append": "django.contrib.humanize"}):
        ready()

    with pytest.raises(DuplicateJob):
        [ready() for _ in range(2)]


def test_job_is_found_by_its_former_name(empty_registry):
    """Crontab lines outlive a renaming."""
    job(HOURLY, name="clean", aliases=["tidy"])(lambda: None)

    assert empty_registry.get("tidy").name == "clean"
    assert empty_registry.entries["clean"].aliases == ("tidy",)


def test_alias_that_is_another_jobs_name_is_refused():
    """Two jobs cannot have one history."""
    job(HOURLY, name="tidy")(one)

    with pytest.raises(DuplicateJob, match=says("two declarations of the job 'tidy': ")):
        job(HOURLY, name="clean", aliases=["tidy"])(two)


def test_unknown_job_names_the_nearest(empty_registry):
    """The names of jobs are typed by hand."""
    job(HOURLY, name="clean_inactive_customers")(lambda: None)

    with pytest.raises(UnknownJob) as refused:
        empty_registry.get("clean_custmers")

    assert str(refused.value) == (
        "'clean_custmers' is not declared. Did you mean 'clean_inactive_customers'? See: manage.py crons list"
    )


def test_unknown_job_names_the_module_that_may_declare_it(empty_registry, monkeypatch):
    """A name that is only nearly it would lead the wrong way, at night."""
    job(HOURLY, name="clean_inactive_customers")(lambda: None)
    monkeypatch.setattr(empty_registry, "broken", {"shop.cron": "NameError: name 'x' is not defined"})

    with pytest.raises(UnknownJob) as refused:
        empty_registry.get("clean_customers")

    assert str(refused.value) == (
        "'clean_customers' is not declared. shop.cron, which may declare it, fails: "
        "NameError: name 'x' is not defined. See: manage.py crons list"
    )


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            {"day": {1}},
            "clean: of its args, 'day' cannot be kept as JSON: Object of type set is ",
        ),
        ({"day": float("nan")}, "clean: of its args, 'day' cannot be kept as JSON: "),
        ({"day": (1, 2)}, "clean: of its args, 'day' changes on its way through JSON: use texts, numbers, lists, "),
    ],
)
def test_args_must_survive_json(args, message):
    """They are kept in a row and must come back as they were."""
    with pytest.raises(InvalidJob, match=says(message)):
        job(HOURLY, name="clean", args=args)(lambda day: None)


def test_args_must_fit_the_function():
    """A missing argument shows at import."""

    def clean(day: int):
        pass

    with pytest.raises(
        InvalidJob,
        match=says("clean(day: int) cannot be called: missing a required argument: 'day'. No arguments are given."),
    ):
        job(HOURLY)(clean)


def test_context_is_given_and_not_asked_for(empty_registry):
    """A function that takes it needs no argument of that name."""

    @job(HOURLY, args={"day": 1})
    def clean(day, context):
        pass

    assert empty_registry.entries["clean"].args == {"day": 1}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"aliases": "old"}, "one: aliases='old': expected a list of texts, for example aliases=['one']."),
        ({"tags": "db"}, "one: tags='db': expected a list of texts, for example tags=['one']."),
        ({"tags": [5]}, "one: tags=[5]: expected a list of texts, for example tags=['one']."),
        ({"aliases": 5}, "one: aliases=5: expected a list of texts, for example aliases=['one']."),
        ({"owner": 5}, "one: owner=5: expected a text."),
        ({"name": 5}, "5 cannot name a job: expected 1 to 100 letters, digits and _.:-, the first a letter or _."),
    ],
)
def test_what_describes_a_job_is_texts(empty_registry, given, message):
    """A text taken for a list would be an alias per letter, and the history of "old" would be left behind."""
    with pytest.raises(InvalidJob, match=says(message)):
        job(HOURLY, **given)(one)

    assert empty_registry.jobs == {}


def test_generator_is_refused():
    """Calling it runs none of its lines, so each run would succeed and do nothing."""

    def clean():
        yield 1

    async def clean_all():
        yield 1

    for function in (clean, clean_all):
        message = f"{function.__name__} is a generator (it has a yield), so calling it runs nothing: take the yield out"
        with pytest.raises(InvalidJob, match=says(message)):
            job(HOURLY)(function)


def test_policy_that_the_defaults_spoil_blames_the_defaults(empty_registry):
    """The first job in the first module is not where to look."""
    empty_registry.defaults = lambda: {"timeout": 5}

    with pytest.raises(InvalidJob, match=says("CRONS['DEFAULTS']: timeout=5: expected a positive timedelta")):
        job(HOURLY)(one)


def test_async_function_is_declared_as_it_is(empty_registry):
    """The runner drives it."""

    @job(HOURLY)
    async def clean():
        pass

    assert empty_registry.get("clean").body is clean


def test_command_is_named_after_itself(empty_registry, monkeypatch):
    """It calls the management command with its words and args."""
    called = []
    monkeypatch.setattr("django.core.management.call_command", lambda *args, **options: called.append((args, options)))

    declared = command("clearsessions", "--noinput", schedule=HOURLY, args={"verbosity": 0}, owner="ops")
    declared.body(**empty_registry.entries["clearsessions"].args)

    assert declared.body == CommandBody("clearsessions", ("--noinput",))
    assert (declared.name, declared.owner) == ("clearsessions", "ops")
    assert re.fullmatch(rf"{re.escape(__name__)}:\d+", declared.source_ref)
    assert called == [(("clearsessions", "--noinput"), {"verbosity": 0})]


def test_shell_runs_a_program_without_a_shell():
    """Its arguments are words, not text to be read by a shell."""
    declared = shell([sys.executable, "-c", "import sys; sys.exit(int(sys.argv[1]))", "3"], name="exits")

    with pytest.raises(subprocess.CalledProcessError) as failed:
        declared.body()

    assert isinstance(declared.body, ShellBody)
    assert failed.value.returncode == 3


@pytest.mark.parametrize("program", ["ls -l", [], ["ls", 1]])
def test_shell_takes_a_list_of_texts(program):
    """A line would need a shell to be parted."""
    with pytest.raises(InvalidJob, match=says(f"shell({program!r}): expected a list of texts, the program first: ")):
        shell(program, name="ls")


def test_entry_puts_a_job_on_one_more_schedule(empty_registry):
    """With arguments and a history of its own."""

    @job(HOURLY, args={"region": "eu"})
    def load(region):
        pass

    made = entry("load_us", "load", every(minutes=30), args={"region": "us"})

    assert empty_registry.entries["load_us"] is made
    assert (made.job, made.args, made.schedule) == ("load", {"region": "us"}, every(minutes=30))


def test_entry_of_an_unknown_job_is_refused():
    """It must be declared first."""
    with pytest.raises(UnknownJob, match=says("'load' is not declared")):
        entry("load_us", "load", HOURLY)


def test_two_entries_of_one_name_are_refused():
    """One would hide the other."""
    job(HOURLY, name="load")(lambda: None)
    entry("more", "load", HOURLY)

    with pytest.raises(DuplicateJob, match=r"^two declarations of the entry 'more': \S+:\d+ and \S+:\d+\. Give one"):
        entry("more", "load", HOURLY)


def test_retry_waits_longer_each_time_up_to_a_limit():
    """The first retry waits as said; a long row of failures does not push the next into next year."""
    retry = Retry(10, wait=timedelta(seconds=10), backoff=3, longest=timedelta(minutes=2))

    waits = [retry.delay(tries).total_seconds() for tries in (1, 2, 3, 4, 99)]

    assert waits == [10, 30, 90, 120, 120]


def test_retry_with_extreme_numbers_stays_a_length():
    """100 to the 99th seconds would not fit."""
    retry = Retry(100, wait=timedelta(days=1), backoff=100, longest=timedelta(days=9))

    assert retry.delay(100) == timedelta(days=9)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"times": -1}, "Retry(times=-1): expected a whole number from 0 to 100."),
        ({"times": True}, "Retry(times=True): expected a whole number from 0 to 100."),
        ({"times": 1, "wait": 5}, "Retry: wait=5: expected a positive timedelta, for example timedelta(minutes=10)."),
        ({"times": 1, "backoff": 0.5}, "Retry(backoff=0.5): expected a number from 1 to 100."),
    ],
)
def test_retry_that_cannot_work_says_what_was_expected(given, message):
    """At import, not at the first failure."""
    with pytest.raises(InvalidJob, match=says(message)):
        Retry(**given)


def test_policy_survives_json():
    """It is kept on the entry's row, for releases that know more or less than this one."""
    policy = Policy(
        "all",
        "allow",
        timedelta(hours=2),
        7,
        None,
        Retry(3, timedelta(seconds=5), 1.5, timedelta(minutes=9)),
        True,
        "inline",
        "mail",
        {},
        timedelta(minutes=5),
        timedelta(days=2),
        0,
    )

    kept = json.loads(json.dumps(policy.as_json()))

    assert Policy.from_json(kept) == policy
    assert Policy.from_json({**kept, "moon": "full"}) == policy
    assert Policy.from_json({}) == Policy()


def test_what_is_not_said_of_a_job_is_not_kept():
    """Rows that were written before these policies existed must not all be written anew, nor be audited as changed."""
    said = {"route", "expected", "max_silence", "max_idle", "tell_after", "unsteady", "window"}
    assert not said & set(Policy().as_json())
    policy = Policy(tell_after=3, unsteady=(3, 10), window=Window("22:00", "6:00"))
    kept = {"tell_after": 3, "unsteady": [3, 10], "window": ["22:00", "06:00"]}
    assert policy.as_json() | kept == policy.as_json()
    assert Policy.from_json(policy.as_json()) == policy


@pytest.mark.parametrize("garbled", [{"timeout": "long"}, {"retry": [1]}, {"retry": None}, {"deadline": 1e300}])
def test_policy_that_is_garbled_is_refused(garbled):
    """The entry is parked then; nothing else stops."""
    with pytest.raises(InvalidJob, match=says(f"the policy {garbled!r} cannot be read: ")):
        Policy.from_json(garbled)


def test_declaring_needs_no_django():
    """A job's module must be importable anywhere, at any time."""
    code = "import sys, crons.jobs; print([name for name in sys.modules if name.partition('.')[0] == 'django'])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


def test_shell_lets_the_job_s_own_output_go_first():
    """What Python still holds back must not come after what the program writes."""
    held = io.StringIO()
    held.flush = lambda: held.write("<flushed>")

    with redirect_stdout(held):
        print("before", end="")  # noqa: T201 (what a job may do)
        ShellBody((sys.executable, "-c", ""))()

    assert held.getvalue() == "before<flushed>"
