"""Where declarations are read from: CRON_CLASSES."""

import sys
from datetime import timedelta
from types import SimpleNamespace

import pytest

from crons.contrib.django_cron.class_schedules import schedule_of
from crons.contrib.django_cron.classes import Schedule
from crons.contrib.django_cron.source import FIX, CronClassesSource, paths
from crons.exceptions import DeclarationError
from crons.jobs import job, registry
from crons.jobs.policies import Retry
from crons.schedules import cron, every
from crons.sources.base import NOT_IMPORTED, Binding, Problem, Reading
from tests.contrib.django_cron import cron_classes

pytestmark = pytest.mark.usefixtures("empty_registry")
HERE = "tests.contrib.django_cron.cron_classes"
KNOWN = (
    "run_every_mins, run_at_times, retry_after_failure_mins, run_on_days, run_weekly_on_days, run_monthly_on_days, "
    "run_tolerance_seconds"
)


@pytest.fixture(autouse=True)
def no_calls():
    """Each test counts its own."""
    cron_classes.calls.clear()


@pytest.fixture
def read(settings):
    """Read CRON_CLASSES with these of the classes of HERE."""

    def reading(*names):
        settings.CRON_CLASSES = [f"{HERE}.{name}" for name in names]
        return CronClassesSource().read()

    return reading


def scheduled(**says):
    """Return the text that Schedule(**says) becomes."""
    found = type("Shop", (), {"schedule": Schedule(**says), "__module__": "shop.cron"})
    return schedule_of(found, "CRON_CLASSES[0]").text


def test_class_becomes_a_job_that_calls_do(read, empty_registry, capsys):
    """What do() returns was its message in django-cron's log: it is output here."""
    [made] = read("CloseOrders").declarations
    found = empty_registry.get("shop.close_orders")

    found.body()

    assert (made.name, made.job, made.schedule) == ("shop.close_orders", "shop.close_orders", every(minutes=60))
    assert (made.source, made.source_ref) == ("cron_classes", f"CRON_CLASSES[0] {HERE}.CloseOrders")
    assert found.description == "Close what nobody will pay."
    assert cron_classes.calls == ["shop.close_orders"]
    assert capsys.readouterr().out == "3 orders closed\n"


def test_policies_follow_from_what_the_class_says(read, empty_registry):
    """Not allowed to run in parallel unless it says so, as django-cron has it."""
    read("CloseOrders", "Report")
    close, report = empty_registry.get("shop.close_orders"), empty_registry.get("shop.report")

    five = timedelta(minutes=5)
    assert (close.policy.overlap, close.policy.retry) == ("skip", Retry(11, wait=five, backoff=1, longest=five))
    assert (report.policy.overlap, report.policy.retry) == ("allow", Retry(0))
    assert (report.policy.timeout, report.owner, report.tags) == (five, "sales", ("shop",))
    assert report.description == "What was sold."


@pytest.mark.parametrize(
    ("says", "times", "hold_off"),
    [
        # Retries are those that begin before the next slot; what comes with it, or after it, is none.
        ({"run_every_mins": 60, "retry_after_failure_mins": 25}, 2, None),
        ({"run_every_mins": 60, "retry_after_failure_mins": 60}, 0, None),
        ({"run_every_mins": 5, "retry_after_failure_mins": 60}, 0, timedelta(hours=1)),
        ({"run_every_mins": 0, "retry_after_failure_mins": 5}, 0, timedelta(minutes=5)),
        ({"run_at_times": ["6:30"], "retry_after_failure_mins": 720}, 1, None),
        ({"run_at_times": ["6:30", "7:00"], "retry_after_failure_mins": 45}, 0, timedelta(minutes=45)),
        ({"run_at_times": ["23:50", "0:10"], "retry_after_failure_mins": 10}, 1, None),
        ({"run_at_times": ["6:30"], "run_every_mins": 60, "retry_after_failure_mins": 0}, 0, None),
    ],
)
def test_wait_after_a_failure_is_a_retry_or_a_hold_off(empty_registry, monkeypatch, read, says, times, hold_off):
    """django-cron begins nothing before it is over, also where a slot would come sooner."""
    monkeypatch.setattr(cron_classes.NotOurs, "schedule", Schedule(**says))

    assert read("NotOurs").problems[: -1 if says.get("run_every_mins") == 0 else None] == ()
    job = empty_registry.get("shop.other")
    assert (job.policy.retry.times, job.body.hold_off) == (times, hold_off)


@pytest.mark.parametrize("minutes", [-5, "5", float("inf")])
def test_wait_after_a_failure_that_is_no_length_is_refused(monkeypatch, read, minutes):
    """Before: a negative one was the number that was told, and a text raised in each process."""
    says = Schedule(run_every_mins=60, retry_after_failure_mins=minutes)
    monkeypatch.setattr(cron_classes.NotOurs, "schedule", says)

    [problem] = read("NotOurs").problems

    assert problem.text == (
        f"CRON_CLASSES[0] {HERE}.NotOurs: retry_after_failure_mins is {minutes!r}, expected a number of minutes."
    )


def test_days_of_the_real_package_are_read(monkeypatch, read):
    """Before: silently every day. Its Schedule is a class of its own, with what 0.6.0 knows."""
    real = SimpleNamespace(
        run_every_mins=None,
        run_at_times=["6:30"],
        retry_after_failure_mins=None,
        run_on_days=[0],
        run_monthly_on_days=None,
    )
    monkeypatch.setattr(cron_classes.NotOurs, "schedule", real)

    [made] = read("NotOurs").declarations

    assert made.schedule.text == "30 6 * * MON"


def test_schedule_may_be_given_by_position():
    """The fourth is the days of the week in both vocabularies."""
    given = Schedule(None, ["6:30"], None, [0], None, 5)

    assert (given.run_on_days, given.run_monthly_on_days, given.run_tolerance_seconds) == ([0], None, 5)


def test_each_call_is_told_to_be_every_minute(monkeypatch, read):
    """With runcrons every five minutes it is what it was; crons serve looks more often."""
    monkeypatch.setattr(cron_classes.NotOurs, "schedule", Schedule(run_every_mins=0))

    [problem] = read("NotOurs").problems

    assert (problem.id, problem.text) == (
        "W037",
        "CRON_CLASSES[0] NotOurs says run_every_mins=0, which is each call of runcrons: crons serve and tick begin it "
        "every minute.",
    )


def test_mixin_behind_the_base_gives_what_the_class_does_not(read, empty_registry):
    """The real base has neither; ours hid the mixin's with a do() that raised."""
    read("Mixed")

    empty_registry.get("shop.mixed").body()

    assert cron_classes.calls == ["shop.mixed by mixin"]
    assert empty_registry.get("shop.mixed").policy.overlap == "allow"


def test_do_that_returns_nothing_prints_nothing(read, empty_registry, capsys):
    """A word None on each run helps nobody."""
    read("NotOurs")

    empty_registry.get("shop.other").body()

    assert cron_classes.calls == ["shop.other"]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("says", "text"),
    [
        ({"run_every_mins": 120}, "every 7200s"),
        ({"run_every_mins": 0.5}, "every 30s"),
        ({"run_at_times": ["06:30"]}, "30 6 * * *"),
        ({"run_at_times": ["14:30", "11:30"]}, "30 11,14 * * *"),
        ({"run_at_times": ["11:30", "14:00", "23:15"]}, "30 11 * * * | 0 14 * * * | 15 23 * * *"),
        ({"run_every_mins": 120, "run_at_times": ["6:30"]}, "every 7200s | 30 6 * * *"),
        # Monday is 0 there and 1 in cron: names cannot be mistaken.
        ({"run_at_times": ["6:30"], "run_weekly_on_days": [0, 6, 2]}, "30 6 * * MON,WED,SUN"),
        ({"run_at_times": ["6:30"], "run_monthly_on_days": [10, 1]}, "30 6 1,10 * *"),
        ({"run_every_mins": 1, "run_weekly_on_days": [5]}, "* * * * SAT"),
        ({"run_every_mins": 20, "run_weekly_on_days": [5]}, "*/20 * * * SAT"),
        ({"run_every_mins": 360, "run_monthly_on_days": [1]}, "0 */6 1 * *"),
        ({"run_every_mins": 1440, "run_weekly_on_days": [5, 5]}, "0 0 * * SAT"),
        # The last release's name, and what came after it: alike they are one.
        ({"run_at_times": ["6:30"], "run_on_days": [0, 6, 2]}, "30 6 * * MON,WED,SUN"),
        ({"run_every_mins": 60, "run_on_days": (4,)}, "0 */1 * * FRI"),
        ({"run_at_times": ["6:30"], "run_on_days": [5], "run_weekly_on_days": [5]}, "30 6 * * SAT"),
        ({"run_every_mins": 60 / 3, "run_on_days": [5]}, "*/20 * * * SAT"),
        # Each call of runcrons: by then a slot of the minute is due.
        ({"run_every_mins": 0}, "every 60s"),
        ({"run_every_mins": 0, "run_on_days": [0]}, "* * * * MON"),
    ],
)
def test_schedule_is_that_of_django_crons_documents(says, text):
    """One entry per class, whatever mixture of times: one history, and no two runs at once."""
    assert scheduled(**says) == text


@pytest.mark.parametrize(
    ("says", "why"),
    [
        ({}, "its schedule has neither run_every_mins nor run_at_times, so it never runs"),
        (
            {"run_at_times": ["6:30"], "run_weekly_on_days": [1], "run_monthly_on_days": [1]},
            "run_weekly_on_days together with run_monthly_on_days means days that are both, and no cron text can say "
            "that: keep one of them, and test for the other in do()",
        ),
        (
            {"run_every_mins": 50, "run_weekly_on_days": [1]},
            "run_every_mins=50 on certain days cannot be said in cron's fields: take minutes that divide an hour, "
            "hours that divide a day, or run_at_times",
        ),
        ({"run_at_times": ["25:30"]}, "run_at_times has '25:30', expected a time such as '06:30'"),
        ({"run_at_times": [630]}, "run_at_times has 630, expected a time such as '06:30'"),
        ({"run_every_mins": -1}, "run_every_mins is -1, expected a number of minutes"),
        (
            {"run_every_mins": 1 / 7},
            "run_every_mins is 0.14285714285714285, expected whole seconds, at least 1",
        ),
        (
            {"run_every_mins": 0.5, "run_on_days": [1]},
            "run_every_mins=0.5 on certain days cannot be said in cron's fields: take minutes that divide an hour, "
            "hours that divide a day, or run_at_times",
        ),
        (
            {"run_at_times": ["6:30"], "run_on_days": [1], "run_weekly_on_days": [2]},
            "run_on_days and run_weekly_on_days are two names of one thing, and differ: keep one",
        ),
        (
            {"run_at_times": ["6:30"], "run_on_days": [1], "run_monthly_on_days": [1]},
            "run_on_days together with run_monthly_on_days means days that are both, and no cron text can say "
            "that: keep one of them, and test for the other in do()",
        ),
        ({"run_every_mins": 5, "run_on_days": [7]}, "run_on_days is [7], expected a list of numbers from 0 to 6"),
        (
            {"run_every_mins": 5, "run_on_day": [0]},
            f"its schedule says run_on_day=[0], which nothing reads. Did you mean 'run_on_days'? Known: {KNOWN}",
        ),
        (
            {"run_at_times": ["6:30"], "timezone": "UTC"},
            f"its schedule says timezone='UTC', which nothing reads. Known: {KNOWN}",
        ),
        ({"run_every_mins": "5"}, "run_every_mins is '5', expected a number of minutes"),
        (
            {"run_every_mins": 5, "run_weekly_on_days": [7]},
            "run_weekly_on_days is [7], expected a list of numbers from 0 to 6",
        ),
        (
            {"run_every_mins": float("nan")},
            "run_every_mins is nan, expected a number of minutes",
        ),
        (
            {"run_at_times": 630},
            "run_at_times has 630, expected a time such as '06:30'",
        ),
        (
            {"run_every_mins": 5, "run_weekly_on_days": []},
            "run_weekly_on_days is [], expected a list of numbers from 0 to 6",
        ),
        (
            {"run_every_mins": 5, "run_monthly_on_days": 1},
            "run_monthly_on_days is 1, expected a list of numbers from 1 to 31",
        ),
    ],
)
def test_schedule_that_cannot_be_had_is_refused_with_the_reason(says, why):
    """Half of what a class asked for would be a slot that silently never comes."""
    with pytest.raises(DeclarationError) as refused:
        scheduled(**says)

    assert str(refused.value) == f"CRON_CLASSES[0] shop.cron.Shop: {why}."


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("no.such.Class", "CRON_CLASSES[0] names 'no.such.Class', which cannot be imported: No module named 'no'."),
        (
            f"{HERE}.CloseOrder",
            f"CRON_CLASSES[0] names '{HERE}.CloseOrder', which cannot be imported: "
            f'Module "{HERE}" does not define a "CloseOrder" attribute/class.',
        ),
        (f"{HERE}.number", f"CRON_CLASSES[0] names '{HERE}.number', which is a int, not a class."),
        (
            "tests.crons.broken.Report",
            "CRON_CLASSES[0] names 'tests.crons.broken.Report', which cannot be imported: KeyError: 'SHOP_TOKEN'.",
        ),
        (".Report", "CRON_CLASSES[0] names '.Report', which cannot be imported: ValueError: Empty module name."),
        (
            f"{HERE}.Yields",
            f"CRON_CLASSES[0] {HERE}.Yields: shop.yields is a generator (it has a yield), so calling it runs nothing: "
            "take the yield out.",
        ),
        (
            f"{HERE}.Tagged",
            f"CRON_CLASSES[0] {HERE}.Tagged: shop.tagged: tags='night': expected a list of texts, for example "
            "tags=['one'].",
        ),
        (f"{HERE}.Owned", f"CRON_CLASSES[0] {HERE}.Owned: shop.owned: owner=5: expected a text."),
        (f"{HERE}.Undone", f"CRON_CLASSES[0] names '{HERE}.Undone', whose do is 5, expected a method do(self)."),
        (None, "CRON_CLASSES[0] is None, expected the path of a class, such as 'shop.cron.CloseOrders'."),
        (7, "CRON_CLASSES[0] is 7, expected the path of a class, such as 'shop.cron.CloseOrders'."),
        (f"{HERE}.Empty", f"CRON_CLASSES[0] names '{HERE}.Empty', which lacks a do()."),
        (f"{HERE}.Unnamed", f"CRON_CLASSES[0] names '{HERE}.Unnamed', which lacks a code = 'app.name'."),
        (
            f"{HERE}.Unscheduled",
            f"CRON_CLASSES[0] names '{HERE}.Unscheduled', whose schedule is '*/5 * * * *', expected Schedule(…).",
        ),
        (
            f"{HERE}.PerHost",
            f"CRON_CLASSES[0] {HERE}.PerHost: APPEND_IP_TO_CODE asks for a run on each host, and a slot is run once "
            "for all of them: take it away, or put the work of a host into that host's own crontab.",
        ),
        (
            f"{HERE}.Misnamed",
            f"CRON_CLASSES[0] {HERE}.Misnamed: 'close orders!' cannot name a job: expected 1 to 100 letters, digits "
            "and _.:-, the first a letter or _.",
        ),
    ],
)
def test_line_that_cannot_work_is_a_problem_and_the_others_are_read(settings, line, told):
    """One misspelt path must not stop the other jobs."""
    settings.CRON_CLASSES = [line, f"{HERE}.Report"]

    reading = CronClassesSource().read()

    hint = NOT_IMPORTED if "cannot be imported" in told else FIX
    assert reading.problems == (Problem("W072", told, hint, is_broken=True),)
    assert [each.name for each in reading.declarations] == ["shop.report"]
    assert list(paths().values()) == ["shop.report"]


def test_unknown_policy_names_the_nearest(read):
    """The same words as of @job."""
    [problem] = read("Garbled").problems

    assert problem.id == "W072"
    assert problem.text.startswith(
        f"CRON_CLASSES[0] {HERE}.Garbled: shop.garbled: 'timout' is no policy. Did you mean 'timeout'? Known: "
    )


def test_one_path_without_a_comma_is_one_line(settings):
    """("a.B") is a text, and its letters are no classes."""
    settings.CRON_CLASSES = f"{HERE}.Report"

    assert [each.name for each in CronClassesSource().read().declarations] == ["shop.report"]


def test_setting_that_is_no_list_is_a_problem(settings):
    """Not a site that does not start."""
    settings.CRON_CLASSES = None

    [problem] = CronClassesSource().read().problems

    assert problem.text == "CRON_CLASSES[0] is None, expected the path of a class, such as 'shop.cron.CloseOrders'."


def test_two_classes_of_one_code_are_a_problem(read):
    """Both would take the same slots from each other."""
    reading = read("CloseOrders", "SameCode")

    assert [each.source_ref for each in reading.declarations] == [f"CRON_CLASSES[0] {HERE}.CloseOrders"]
    assert [problem.text for problem in reading.problems] == [
        f"CRON_CLASSES[1] names {HERE}.SameCode, whose code 'shop.close_orders' is that of CRON_CLASSES[0] "
        f"{HERE}.CloseOrders: give one of the classes another code, or take a line away."
    ]


def test_what_nothing_reads_is_told(read):
    """Somebody waits for the third failure."""
    reading = read("Mails")

    assert [(each.id, each.text, each.hint) for each in reading.problems] == [
        (
            "W037",
            "CRON_CLASSES[0] Mails says MIN_NUM_FAILURES, which nothing reads: a job's first failure is told, once, "
            "and again when it fails differently or works again.",
            "Take MIN_NUM_FAILURES away when that will do.",
        ),
        (
            "W037",
            "CRON_CLASSES[0] Mails says SEND_FAILED_EMAIL, which nothing reads: failures are told to ADMINS.",
            "Take SEND_FAILED_EMAIL away when that will do.",
        ),
    ]
    assert [each.name for each in reading.declarations] == ["shop.other"]


def test_notifier_of_the_real_package_is_told_to_go(settings):
    """It stands in many a CRON_CLASSES, and would be a path that cannot be imported."""
    settings.CRON_CLASSES = ["django_cron.cron.FailedRunsNotificationCronJob"]

    [problem] = CronClassesSource().read().problems

    assert (problem.id, problem.text) == (
        "W037",
        "CRON_CLASSES[0] names django_cron.cron.FailedRunsNotificationCronJob, which does nothing here.",
    )
    assert paths() == {}


def test_job_that_code_declares_under_the_code_is_the_one(read, empty_registry):
    """The way to move over, class by class: the line is then another way to fire the job's entry."""
    job(every(minutes=5), name="shop.close_orders")(cron_classes.Report().do)

    reading = read("CloseOrders")

    ref = f"CRON_CLASSES[0] {HERE}.CloseOrders"
    assert reading == Reading((), (Binding("shop.close_orders", "every 3600s", ref),), ())
    assert empty_registry.get("shop.close_orders").source == "code"


def test_reading_twice_changes_nothing(read):
    """Processes read at their start and at each sync."""
    assert read("CloseOrders", "Report") == read("CloseOrders", "Report")


def test_absent_package_names_the_stand_in(settings, monkeypatch):
    """The first thing that somebody meets who moves over."""
    monkeypatch.setitem(__import__("sys").modules, "django_cron", None)
    settings.CRON_CLASSES = ["django_cron.CronJobBase"]

    [problem] = CronClassesSource().read().problems

    assert problem.text == (
        "CRON_CLASSES[0] names 'django_cron.CronJobBase', which cannot be imported: import of django_cron halted; "
        "None in sys.modules. Put 'crons.contrib.django_cron' first in INSTALLED_APPS: it stands in for that package."
    )


def test_package_that_is_installed_and_cannot_be_loaded_is_named(settings, tmp_path, monkeypatch):
    """On Django 5.1 and later its models raise this, three modules away from the class that somebody looks at."""
    for name, text in (
        ("django_cron/__init__.py", "from django_cron.core import CronJobBase\n"),
        ("django_cron/core.py", "raise TypeError(\"'class Meta' got invalid attribute(s): index_together\")\n"),
        ("old_shop.py", "from django_cron import CronJobBase\nclass Old(CronJobBase): pass\n"),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    for module in [each for each in sys.modules if each.partition(".")[0] == "django_cron"]:
        monkeypatch.delitem(sys.modules, module)
    settings.CRON_CLASSES = ["old_shop.Old"]

    [problem] = CronClassesSource().read().problems

    assert problem.text == (
        "CRON_CLASSES[0] names 'old_shop.Old', which cannot be imported: TypeError: 'class Meta' got invalid "
        "attribute(s): index_together. That is the package django-cron itself, which Django 5.1 and later cannot "
        "load: uninstall it, and put 'crons.contrib.django_cron' first in INSTALLED_APPS, which stands in for it."
    )


def test_daily_times_are_one_cron_text():
    """A target that writes crontab lines can take it."""
    assert schedule_of(cron_classes.CloseOrders, "").text == "every 3600s"
    assert cron("30 11,14 * * *").explain() == "At 11:30 and 14:30 every day"


@pytest.mark.parametrize("defaults", [{}, {"timeout": timedelta(minutes=5)}])
def test_a_class_has_no_timeout_unasked(read, monkeypatch, defaults):
    """What ran for three hours under django-cron must not be killed after one."""
    monkeypatch.setattr(registry, "defaults", lambda: defaults)
    read("CloseOrders")

    assert registry.get("shop.close_orders").policy.timeout == defaults.get("timeout")
