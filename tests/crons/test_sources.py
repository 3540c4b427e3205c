"""Where declarations are read from: crontab files, and what all sources share."""

from datetime import timedelta

import pytest

from crons.exceptions import InvalidSchedule
from crons.jobs import entry, job, registry
from crons.schedules import cron, every
from crons.sources.base import Binding, Reading, says
from crons.sources.crontab_files import FIX as BAD_LINE
from crons.sources.crontab_files import UNREADABLE, CrontabFilesSource, job_of
from tests.crons import cronjobs

pytestmark = pytest.mark.usefixtures("empty_registry")
HERE = "tests.crons.cronjobs"


@pytest.fixture(autouse=True)
def no_other_lines(settings):
    """What the project's own settings say is not under test."""
    settings.CRONJOBS = []
    settings.CRONS = {}


@pytest.fixture
def crontab(tmp_path, settings):
    """Write a crontab file that the settings name."""

    def write(text):
        path = tmp_path / "crontab.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        settings.CRONS = {"CRONTAB_FILES": [path]}
        return path

    return write


def test_line_that_calls_a_declared_job_is_a_door_to_it(crontab):
    """Comments, settings and empty lines are none."""
    job(cron("0 2 * * SUN"), name="clean")(lambda: None)
    crontab('# nightly\nMAILTO = "ops@example.org"\n\n0  2 * *\tSUN /srv/app/clean.sh >> x 2>&1\n@daily clean.sh')

    reading = CrontabFilesSource().read()

    assert reading == Reading(
        (),
        (Binding("clean", "0 2 * * SUN", "crontab.txt:4"), Binding("clean", "@daily", "crontab.txt:5")),
    )


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("/srv/app/clean.sh", "clean"),
        ("cd /srv/app && .venv/bin/python cron_jobs/clean.py", "clean"),
        ("/srv/app/manage.py clean --verbosity 0", "clean"),
        ("cd /srv/app && python manage.py crons run clean_eu --scheduled", "clean_eu"),
        ("/usr/bin/certbot renew", None),
        ("echo 'unclosed", None),
    ],
)
def test_command_is_bound_by_the_entry_point_it_calls(command, name):
    """A script or a management command of the entry's name, or crons run."""
    job(cron("0 2 * * SUN"), name="clean")(lambda: None)
    entry("clean_eu", "clean", cron("0 3 * * SUN"))

    assert job_of(command) == name


@pytest.mark.parametrize(
    ("command", "is_told"),
    [
        ("python manage.py crons tick --while-busy", False),
        ("cd /srv && manage.py crons --settings=a.b serve >> /x", False),
        ("manage.py crons -v 2 --settings a.b tick", False),
        ("manage.py crons run tick", True),
        ("manage.py crons health", True),
    ],
)
def test_line_that_looks_at_the_clock_needs_no_job(crontab, command, is_told):
    """Before: the tick line that the documentation gives was told to name its script after a job."""
    crontab(f"* * * * * {command}\n")

    assert [each.id for each in CrontabFilesSource().read().problems] == ["W031"] * is_told


def test_line_that_calls_nothing_declared_is_a_problem_and_never_a_job(empty_registry, crontab):
    """A shell command does not become a job by being read."""
    crontab("0 2 * * * /usr/bin/certbot renew\n")

    reading = CrontabFilesSource().read()

    (problem,) = reading.problems
    assert (problem.id, problem.text) == ("W031", "crontab.txt:1 calls no declared job: /usr/bin/certbot renew")
    assert empty_registry.jobs == {}


def test_bad_line_is_a_problem_with_its_number_and_hides_no_other(crontab):
    """Before: behind it, a line past the ledger and one of an undeclared job were not seen."""
    job(cron("@hourly"))(cronjobs.beat)
    path = crontab("0 2 * * *\n0 3 * * * /usr/bin/certbot renew\n@hourly manage.py crons run beat --scheduled\n")

    reading = CrontabFilesSource().read()

    bad, other = reading.problems
    assert (bad.id, bad.text, bad.hint) == ("W071", f"{path}:1: '0 2 * * *' is not a crontab line.", BAD_LINE)
    assert (other.id, other.text) == ("W031", "crontab.txt:2 calls no declared job: /usr/bin/certbot renew")
    assert [(each.entry, each.ref) for each in reading.bindings] == [("beat", "crontab.txt:3")]


@pytest.mark.parametrize("line", ['"PATH" = "/bin:/usr/bin"', "'A'=b", "A = b", "\tA=b"])
def test_settings_of_a_crontab_are_no_lines(crontab, line):
    """crontab(5): the name may be in quotes, too."""
    crontab(f"{line}\n")

    assert CrontabFilesSource().read() == Reading()


def test_file_that_cannot_be_read_is_a_problem(crontab, settings, tmp_path):
    """Missing, or not text."""
    missing = tmp_path / "missing.txt"
    settings.CRONS = {"CRONTAB_FILES": [missing]}
    (absent,) = CrontabFilesSource().read().problems
    path = crontab(b"\xff\xfe0 2 * * * x\n")
    (garbled,) = CrontabFilesSource().read().problems

    assert absent.text.startswith(f"the crontab file {missing} cannot be read: ")
    assert garbled.text.startswith(f"the crontab file {path} cannot be read: ")
    assert (absent.hint, garbled.hint) == (UNREADABLE, UNREADABLE)


def test_setting_that_is_no_list_is_a_problem(settings):
    """Reading never raises for what it reads."""
    settings.CRONS = {"CRONTAB_FILES": "crontab.txt"}

    (problem,) = CrontabFilesSource().read().problems

    assert problem.text == "CRONS['CRONTAB_FILES'] is 'crontab.txt', expected a list or tuple."


# What a text says


def test_text_says_what_it_says():
    """The same text is the same moments, another one is not."""
    assert says(cron("0 2 * * *"), "0 2 * * *")
    assert says(every(minutes=5), "every 300s")
    assert not says(cron("0 2 * * *"), "0 3 * * *")
    assert not says(every(minutes=5), "*/5 * * * *")


def test_nicknames_and_names_say_what_their_fields_say():
    """@daily and 0 0 * * * is no disagreement."""
    pytest.importorskip("crons.schedules.wallclock")

    assert says(cron("@daily"), "0 0 * * *")
    assert says(cron("0 2 * * SUN"), "0 2 * * 7")
    with pytest.raises(InvalidSchedule):
        says(cron("@daily"), "0 2 *")


@pytest.mark.parametrize("defaults", [{}, {"timeout": timedelta(minutes=5)}])
def test_what_is_declared_with_job_has_a_timeout_unasked(monkeypatch, defaults):
    """A job that hangs would else hold its slot for ever."""
    monkeypatch.setattr(registry, "defaults", lambda: defaults)
    job(cron("@daily"), name="ours")(print)

    assert registry.get("ours").policy.timeout == defaults.get("timeout", timedelta(hours=1))
