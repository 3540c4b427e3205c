"""django-crontab's own lines beside entries of ours: nothing runs twice before somebody has chosen."""

from types import SimpleNamespace

import pytest

from crons import api, doctor, ledger
from crons.contrib.django_crontab import past_ledger
from crons.contrib.django_crontab.lines import hash_of
from crons.declarations.retiring import Retire
from crons.declarations.sync import sync
from crons.doctor import installed as installed_lines
from crons.jobs import job
from crons.models import Entry
from crons.schedules import cron
from tests.crons import cronjobs

pytestmark = pytest.mark.usefixtures("empty_registry", "transactional_db")
HERE = "tests.crons.cronjobs"
BEAT, LOAD, FAIL = ("@hourly", f"{HERE}.beat"), ("@daily", f"{HERE}.load", [1]), ("@daily", f"{HERE}.fail")


@pytest.fixture
def crontab(settings, tmp_path):
    """Have a crontab that holds django-crontab's lines for these tuples; None: it cannot be read."""
    settings.CRON_CLASSES = []
    settings.CRONS = {}
    settings.CRONJOBS = [BEAT, LOAD, FAIL]

    def hold(*lines):
        path = tmp_path / "crontab"
        path.write_text("".join(f"{raw[0]} python manage.py crontab run {hash_of(raw)} # x\n" for raw in lines))
        settings.CRONTAB_EXECUTABLE = f"sh -c 'cat {path}'"

    hold(BEAT, LOAD)
    return hold


@pytest.fixture
def installed(monkeypatch):
    """Say which apps are installed, in which order, without loading them."""

    def put(*names):
        configs = [type("Config", (), {"name": name}) for name in names]
        monkeypatch.setattr(past_ledger, "apps", SimpleNamespace(get_app_configs=lambda: configs))

    put("crons", "django_crontab")
    return put


def paused():
    return set(Entry.objects.exclude(paused_at=None).values_list("name", flat=True))


def told(name, paused=""):
    account = past_ledger.find().account
    return (
        f"{name} runs twice, by django-crontab's line in the crontab of {account} too{paused}. {past_ledger.WAYS_OUT}"
    )


@pytest.fixture
def names(crontab, installed):
    """Sync, and name the three entries."""
    job(cron("@hourly"), name="heartbeat")(cronjobs.beat)
    done = sync(ledger.database_now())
    load = next(name for name in done.created if name.startswith(f"{HERE}.load"))
    assert done.problems == [told(name, ", so it is paused") for name in sorted(["heartbeat", load])]
    return "heartbeat", load, f"{HERE}.fail"


def test_entries_of_installed_lines_are_created_paused(names):
    """Before: each ran twice, and nothing said so. A declared function's line is one, too."""
    beat, load, _ = names

    assert paused() == {beat, load}
    entry = Entry.objects.get(name=beat)
    assert (entry.paused_by, entry.pause_reason) == (
        "crons sync",
        f"django-crontab's own line runs it past the ledger, from the crontab of {past_ledger.find().account}, so it "
        "would run twice: manage.py check says how to choose (crons.W034)",
    )


def test_line_at_reboot_runs_nothing_twice(crontab, installed, settings):
    """It has no slots; nor has the job that it names a slot at every start of the machine."""
    job(cron("@hourly"), name="heartbeat")(cronjobs.beat)
    settings.CRONJOBS = [("@reboot", f"{HERE}.beat"), ("@reboot", f"{HERE}.fail")]
    crontab(*settings.CRONJOBS)

    done = sync(ledger.database_now())

    assert done.problems == []
    assert paused() == set()


def test_stand_in_lets_them_run(names, installed):
    """The first way out: what the lines fire goes through the ledger then."""
    installed("crons", "crons.contrib.django_crontab", "django_crontab")

    sync(ledger.database_now())

    assert paused() == set()


def test_lines_that_are_taken_away_let_them_run(names, crontab):
    """The second; each for its own entry."""
    crontab(LOAD)

    sync(ledger.database_now())

    assert paused() == {names[1]}


def test_crontab_of_another_host_lets_nothing_run(names, crontab, monkeypatch):
    """Its lines are not seen from here."""
    crontab()
    monkeypatch.setattr(past_ledger, "operator", lambda: "ada@elsewhere")

    assert sync(ledger.database_now()).problems == []
    assert paused() == {names[0], names[1]}


@pytest.mark.parametrize("program", ["/no/such/crontab", "false", "sh -c 'exit 1", ""])
def test_crontab_that_cannot_be_read_lets_nothing_run(names, settings, program):
    """Nor does it stop a sync."""
    settings.CRONTAB_EXECUTABLE = program

    sync(ledger.database_now())

    assert paused() == {names[0], names[1]}


def test_what_a_person_decided_stands(names):
    """Who resumes one, or pauses one otherwise, knows more."""
    api.resume(names[0], by="ann")
    api.pause(names[1], by="ann", reason="stock-taking")

    done = sync(ledger.database_now())

    assert done.problems == [told(names[0]), told(names[1], ", so it is paused")]
    assert paused() == {names[1]}
    assert Entry.objects.get(name=names[1]).pause_reason == "stock-taking"


def test_sync_that_dies_after_an_entry_has_created_it_paused(crontab, installed, monkeypatch):
    """Created in one transaction and paused in a second, it ran twice from then on."""
    job(cron("@hourly"), name="heartbeat")(cronjobs.beat)
    monkeypatch.setattr(past_ledger, "end_pauses", lambda *args: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        sync(ledger.database_now())

    assert "heartbeat" in paused()
    assert len(paused()) == 2


def test_line_that_comes_back_is_paused_again(names, settings):
    """What was retired runs twice as well, once it is declared anew."""
    settings.CRONJOBS = [BEAT, FAIL]
    api.resume(names[1], by="ann")
    sync(ledger.database_now(), retire=Retire.ALL)
    assert Entry.objects.get(name=names[1]).retired_at is not None
    settings.CRONJOBS = [BEAT, LOAD, FAIL]

    sync(ledger.database_now())

    assert paused() == {names[0], names[1]}


def test_nothing_is_asked_where_the_stand_in_has_the_command(crontab, installed, settings):
    """A sync costs no program then."""
    installed("crons", "crons.contrib.django_crontab", "django_crontab")
    settings.CRONTAB_EXECUTABLE = "/no/such/crontab"

    assert past_ledger.find() == past_ledger.PastLedger(past_ledger.find().account)


def test_doctor_names_what_runs_twice(names):
    """And both ways out."""
    [found] = [each for each in installed_lines.examine(None) if each.what == "django-crontab's lines"]

    assert found.level == doctor.BAD
    assert found.found == (
        f"runs twice as soon as crons serve or tick runs, once past the ledger: heartbeat, {names[1]}"
    )
    assert found.do == past_ledger.WAYS_OUT
