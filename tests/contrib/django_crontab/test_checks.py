"""System checks for projects that come from django-crontab."""

from zoneinfo import ZoneInfo

import pytest
from django.core.checks import WARNING

from crons import checks
from crons.contrib.django_crontab import checks as django_crontab_checks
from crons.contrib.django_crontab import past_ledger
from crons.contrib.django_crontab.lines import hash_of
from crons.contrib.django_crontab.source import CronjobsSource
from crons.jobs import job
from crons.schedules import cron
from crons.sources.base import NOT_IMPORTED
from tests.crons import cronjobs
from tests.crons.checking import declared, found, installed, only, told, well

__all__ = ["declared", "installed", "well"]
pytestmark = pytest.mark.usefixtures("empty_registry", "well")
HERE = "tests.crons.cronjobs"


def test_lines_that_do_the_same_are_all_named(settings):
    """Those that are equal are one entry, which "crons.W074" compares with that of other texts."""
    settings.CRONJOBS = [(text, "tests.crons.cronjobs.load") for text in ("0 7 * * *", "0 07 * * *", "0 7 * * *")]

    found = " ".join(each.msg for each in [*checks.check_sources(), *checks.check_doubles()])

    assert {f"CRONJOBS[{number}]" for number in range(3) if f"CRONJOBS[{number}]" in found} == {
        "CRONJOBS[0]",
        "CRONJOBS[1]",
        "CRONJOBS[2]",
    }
    assert "CRONJOBS[0] tests.crons.cronjobs.load and CRONJOBS[1] tests.crons.cronjobs.load" in found


def test_line_naming_no_function_is_an_error(settings):
    """django-crontab finds out when cron fires it, and exits with 0."""
    settings.CRONJOBS = [("@daily", "no.such.beat")]

    told(
        "CRONJOBS[0] names 'no.such.beat', which cannot be imported: No module named 'no'.",
        NOT_IMPORTED,
    )
    assert only().id == "crons.W030"
    assert only().level == WARNING  # the other lines, migrations and the site go on


def test_line_on_another_schedule_than_the_code_is_an_error(settings, declared):
    """Both texts are shown, and where each stands."""
    settings.CRONJOBS = [("*/7 * * * *", f"{HERE}.beat")]

    told(
        f"heartbeat is on two schedules: 'every 300s' in {HERE}.beat, '*/7 * * * *' in CRONJOBS[0].",
        "Write the same schedule in both places; the code's decides which slots there are.",
    )
    assert only().id == "crons.W032"


def test_line_of_a_job_without_schedule_is_an_error_too(settings):
    """The line alone gives no slots."""
    job(name="heartbeat")(cronjobs.beat)
    settings.CRONJOBS = [("*/7 * * * *", f"{HERE}.beat")]

    assert only().msg == (f"heartbeat is on two schedules: 'none' in {HERE}.beat, '*/7 * * * *' in CRONJOBS[0].")


def test_line_on_the_same_schedule_is_well(settings):
    """Two ways to fire it, one entry."""
    job(cron("0 8 * * *"), name="heartbeat")(cronjobs.beat)
    settings.CRONJOBS = [("0 8 * * *", f"{HERE}.beat")]

    assert found() == []


def test_line_in_other_words_is_well(settings):
    """What counts is what they mean."""
    pytest.importorskip("crons.schedules.wallclock")
    job(cron("@daily"), name="heartbeat")(cronjobs.beat)
    settings.CRONJOBS = [("0 0 * * *", f"{HERE}.beat")]

    assert found() == []


def test_line_of_cronjobs_that_names_no_function_is_an_error(settings):
    """Misspelt, it would be a job that never runs."""
    settings.CRONJOBS = [("@daily", f"{HERE}.beet")]

    told(
        f"CRONJOBS[0] names '{HERE}.beet', which cannot be imported: "
        f'Module "{HERE}" does not define a "beet" attribute/class.',
        NOT_IMPORTED,
    )
    assert only().id == "crons.W030"


WAYS_OUT = (
    "Put 'crons.contrib.django_crontab' before 'django_crontab' in INSTALLED_APPS: its lines then go through the "
    "ledger. Or take the lines away: manage.py crontab remove."
)


@pytest.fixture
def crontab(settings, tmp_path):
    """Have a crontab that holds django-crontab's lines for these tuples of CRONJOBS."""

    def hold(*lines, text=""):
        path = tmp_path / "crontab"
        path.write_text(text + "".join(f"{raw[0]} python manage.py crontab run {hash_of(raw)} # x\n" for raw in lines))
        settings.CRONTAB_EXECUTABLE = f"sh -c 'cat {path}'"

    hold()
    return hold


def test_django_crontab_without_its_stand_in_is_a_warning(installed, crontab):
    """Its lines would fire past the ledger."""
    installed("crons", "django_crontab")

    told(
        "django_crontab is installed without crons.contrib.django_crontab: what its lines fire is not recorded, and "
        "runs twice as soon as crons serve or tick runs.",
        WAYS_OUT,
    )
    assert only().id == "crons.W034"


def test_lines_that_are_installed_are_said_to_run_twice(installed, crontab, settings, declared):
    """By the names of their entries, and not those of other lines."""
    beat, load, other = ("*/5 * * * *", f"{HERE}.beat"), ("@daily", f"{HERE}.load", [1]), ("@daily", f"{HERE}.fail")
    settings.CRONJOBS = [beat, load, other, 5]
    crontab(beat, load, ("@daily", "of.another.project"), text=f"# @daily crontab run {hash_of(other)}\n")
    installed("crons", "django_crontab")

    [message] = django_crontab_checks.check_django_crontab()

    name = CronjobsSource().entry_name(load)
    assert message.msg == (
        "django_crontab is installed without crons.contrib.django_crontab: the crontab of "
        f"{past_ledger.find().account} holds its lines for heartbeat, {name}: each runs twice as soon as crons serve "
        "or tick runs, once without a record."
    )


def test_stand_in_after_django_crontab_is_a_warning(installed, crontab):
    """Django takes the command of the first."""
    installed("django_crontab", "crons.contrib.django_crontab")

    told(
        "crons.contrib.django_crontab stands after django_crontab, whose command wins: what its lines fire "
        "is not recorded, and runs twice as soon as crons serve or tick runs.",
        WAYS_OUT,
    )
    assert only().id == "crons.W035"


def test_line_at_the_start_of_the_machine_is_a_warning(settings):
    """Nothing of crons begins it."""
    settings.CRONJOBS = [("@reboot", f"{HERE}.beat")]

    told(
        f"CRONJOBS[0] {HERE}.beat is to run @reboot, a moment that no schedule has: crons serve and tick never begin "
        "it. A line of django-crontab that fires it is recorded as a manual run.",
        "Leave that line installed (manage.py crontab add), or start it where the machine starts: "
        "manage.py crons run NAME --manual.",
    )
    assert only().id == "crons.W080"


@pytest.mark.parametrize(
    ("name", "value", "left"),
    [
        ("CRONTAB_COMMAND_PREFIX", "cd /srv && LANG=C", "cd /srv &&"),
        ("CRONTAB_COMMAND_PREFIX", "DJANGO_SETTINGS_MODULE=x LANG=C", "DJANGO_SETTINGS_MODULE=x"),
        ("CRONTAB_COMMAND_PREFIX", "curl https://u:hunter22@x/;", "curl https://u:********@x/;"),
        ("CRONTAB_COMMAND_SUFFIX", "2>&1 | logger -t crons", "2>&1 | logger -t crons"),
        ("CRONJOBS[0]", "|| mail -s failed ops", "|| mail -s failed ops"),
    ],
)
def test_what_only_a_crontab_line_does_is_a_warning(settings, name, value, left):
    """Before: serve began the job without it, and nobody was told."""
    is_suffix = name == "CRONJOBS[0]"
    settings.CRONJOBS = [("*/5 * * * *", f"{HERE}.load", *([value] if is_suffix else []))]
    if not is_suffix:
        setattr(settings, name, value)

    assert (only().id, only().msg) == (
        "crons.W081",
        f"{name} has {left!r}, which holds in the lines of django-crontab alone: what crons serve or tick begin runs "
        "without it.",
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CRONTAB_COMMAND_PREFIX", "LANG=C PYTHONPATH=/srv:$HOME export A='b c' && "),
        ("CRONTAB_COMMAND_SUFFIX", ">> '/var/log/my log' 2>&1"),
        ("CRONTAB_LOCK_JOBS", True),
    ],
)
def test_what_holds_here_too_is_well(settings, name, value):
    """Assignments are made for each attempt, output is kept, and a job does not overlap."""
    settings.CRONJOBS = [("*/5 * * * *", f"{HERE}.load", ">> /x 2>&1")]
    setattr(settings, name, value)

    assert found() == []


@pytest.fixture
def machine_in(monkeypatch):
    """Have the machine's cron read its lines in a zone."""

    def put(name):
        monkeypatch.setattr("crons.targets.crond.zone", lambda: (ZoneInfo(name), f"{name}, /etc/localtime"))

    return put


def test_lines_that_cron_fires_by_another_clock_are_a_warning(settings, installed, machine_in):
    """TIME_ZONE names one, and django-crontab's lines go by the machine's."""
    installed("crons", "crons.contrib.django_crontab", "django_crontab")
    machine_in("UTC")
    settings.TIME_ZONE = "America/Sao_Paulo"
    settings.CRONJOBS = [("0 7 * * *", f"{HERE}.beat"), ("*/5 * * * *", f"{HERE}.load"), ("0 * * * *", f"{HERE}.fail")]

    assert (only().id, only().msg) == (
        "crons.W083",
        f"CRONJOBS[0] {HERE}.beat: cron reads '0 7 * * *' by the machine's clock (UTC, /etc/localtime) and fires it at "
        "04:00 -0300; crons serve reads it in America/Sao_Paulo and will run it at 07:00 -0300, 3 h later.",
    )


def test_clocks_that_agree_half_the_year_do_not_agree(settings, installed, machine_in):
    """In winter London and UTC are one."""
    installed("crons", "crons.contrib.django_crontab", "django_crontab")
    machine_in("UTC")
    settings.TIME_ZONE = "Europe/London"
    settings.CRONJOBS = [("0 7 * * *", f"{HERE}.beat")]

    assert only().msg.endswith("fires it at 08:00 +0100; crons serve reads it in Europe/London and will run it at "
                               "07:00 +0100, 1 h earlier.")  # fmt: skip


@pytest.mark.parametrize(("zone", "apps"), [("Europe/Berlin", ["django_crontab"]), ("UTC", [])])
def test_one_clock_or_no_lines_is_well(settings, installed, machine_in, zone, apps):
    """Without the package no line is fired by the machine's clock."""
    installed("crons", "crons.contrib.django_crontab", *apps)
    machine_in(zone)
    settings.CRONJOBS = [("0 7 * * *", f"{HERE}.beat")]

    assert found() == []


@pytest.mark.parametrize("names", [(), ("crons.contrib.django_crontab", "django_crontab"), ("crons",)])
def test_stand_in_before_django_crontab_or_no_django_crontab_is_well(installed, names):
    """Nobody needs the stand-in without the real one."""
    installed(*names)

    assert found() == []


@pytest.mark.parametrize("name", ["CRONJOB", "CRON_JOBS", "CRONJBOBS"])
def test_setting_nearly_called_cronjobs_is_a_warning(settings, name):
    """Nothing complains, nothing runs."""
    setattr(settings, name, [])

    text = f"settings.{name} is nearly CRONJOBS, and nothing reads it: its lines are installed nowhere."
    told(text, "Rename it to CRONJOBS.")
    assert only().id == "crons.W033"


@pytest.mark.parametrize(
    ("lines", "is_read"), [(5, False), (None, False), ([None, 5, ("@daily", "shop.named.tidy")], True)]
)
def test_a_setting_of_another_form_does_not_end_the_check_of_modules(settings, monkeypatch, tmp_path, lines, is_read):
    """Other checks say what is wrong with it; before, `manage.py check` ended in a TypeError."""
    for name in ("tasks", "named"):
        tmp_path.joinpath(f"{name}.py").write_text("import crons\n\ncrons.command('clearsessions')\n")
    modules = [(f"shop.{file.stem}", file) for file in tmp_path.iterdir()]
    settings.CRONJOBS = lines
    monkeypatch.setattr(checks.asking, "is_asked_for", lambda: True)
    monkeypatch.setattr(checks.elsewhere, "is_asked_for", lambda: True)
    monkeypatch.setattr(checks.elsewhere, "_modules_of_project", lambda: modules)

    named = {each.msg.partition(" ")[0] for each in checks.check_elsewhere()}

    assert named == {"shop.tasks"} | (set() if is_read else {"shop.named"})
