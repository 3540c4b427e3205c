"""Standing in for django-cron: its names, its command, and what they do in the ledger."""

import io
import subprocess
import sys
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from crons import api, ledger
from crons.contrib.django_cron.classes import PrevSuccess, Schedule
from crons.contrib.django_cron.management.commands import runcrons as runcrons_module
from crons.contrib.django_cron.source import CronClassesSource
from crons.declarations.retiring import Retire
from crons.declarations.sync import sync
from crons.exceptions import LedgerUnavailable
from crons.models import Entry, Run
from crons.sources.crontab_files import CrontabFilesSource
from tests.contrib.django_cron import cron_classes
from tests.crons.cli.test_commandline import ends_sooner

HERE = "tests.contrib.django_cron.cron_classes"
IMPORTS = """
import django
from django.conf import settings
settings.configure(INSTALLED_APPS={apps!r}, CRON_CLASSES={classes!r}, USE_TZ=True,
                   DATABASES={{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}}})
django.setup()
{code}
"""


def imported(code: str, *apps: str, classes: tuple[str, ...] = ()) -> str:
    """Run *code* in a process of its own, with these apps installed; give what it prints, or its last line of error."""
    program = IMPORTS.format(apps=["crons", *apps], classes=list(classes), code=code)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    return done.stdout or done.stderr.strip().rpartition("\n")[2]


OURS = "crons.contrib.django_cron"


# The name


@pytest.mark.parametrize("module", ["django_cron", "django_cron.core"])
def test_old_import_gives_our_classes(module):
    """Nobody has to touch a file to move over."""
    code = f"from {module} import CronJobBase, Schedule; print(CronJobBase.__module__, Schedule.__module__)"

    assert imported(code, OURS) == f"{OURS}.classes {OURS}.classes\n"


def test_without_the_app_there_is_no_such_module():
    """The name belongs to somebody else; it is lent where it is asked for."""
    assert imported("import django_cron") == "ModuleNotFoundError: No module named 'django_cron'"


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (
            "from django_cron.models import CronJobLog",
            "ImportError: django_cron.models.CronJobLog does not exist with crons.contrib.django_cron: what ran is in "
            "the ledger: crons.api.history(code), a query of crons.models.Run.",
        ),
        (
            "from django_cron import CronJobManager",
            "ImportError: django_cron.CronJobManager does not exist with crons.contrib.django_cron: the ledger runs "
            "jobs: crons.api.run_now(code, by=…).",
        ),
    ],
)
def test_names_without_a_counterpart_say_what_has_taken_their_place(code, told):
    """ "cannot import name" would leave the reader to search."""
    assert imported(code, OURS) == told


def test_app_line_of_the_real_package_may_stay_behind_ours():
    """It is an app without models and commands; crons.W038 asks for its removal."""
    code = "from django.core.management import get_commands; print(get_commands()['runcrons'])"

    assert imported(code, OURS, "django_cron") == f"{OURS}\n"


def test_real_package_wins(tmp_path, monkeypatch):
    """Its classes are read like ours: by what they have."""
    (tmp_path / "django_cron").mkdir()
    (tmp_path / "django_cron" / "__init__.py").write_text("class CronJobBase: real = True\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    assert imported("from django_cron import CronJobBase; print(CronJobBase.real)", OURS) == "True\n"


def test_class_in_a_cron_module_of_an_app_is_read_at_start(tmp_path, monkeypatch):
    """The whole way: an app's module that imports the old name, named by CRON_CLASSES."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").write_text("")
    (tmp_path / "shop" / "cron.py").write_text(
        "from django_cron import CronJobBase, Schedule\n"
        "class Close(CronJobBase):\n"
        "    code = 'shop.close'\n"
        "    schedule = Schedule(run_every_mins=60)\n"
        "    def do(self): pass\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    code = "from crons.jobs import registry; print(registry.entries['shop.close'].schedule.text)"

    assert imported(code, OURS, "shop", classes=("shop.cron.Close",)) == "every 3600s\n"


# The command


@pytest.fixture
def shop(settings, transactional_db, empty_registry):
    """Entries of three classes, each due since a minute; what runs, runs in this process."""
    settings.CRON_CLASSES = [f"{HERE}.CloseOrders", f"{HERE}.Report", f"{HERE}.NotOurs"]
    settings.CRONJOBS = []
    settings.CRONS = {"EXECUTORS": {"process": {"BACKEND": "crons.executors.inline.InlineExecutor"}}}
    cron_classes.calls.clear()
    now = ledger.database_now()
    sync(now)
    long_ago = now - timedelta(days=2)
    Entry.objects.update(accounted_until=long_ago, first_seen_at=long_ago, wake_at=long_ago)


def runcrons(*arguments, **options):
    """Call the command; give its exit code, what it printed, and its notes."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    try:
        call_command("runcrons", *arguments, stdout=out, stderr=err, **options)
    except SystemExit as ending:
        code = ending.code
    return code, out.getvalue(), err.getvalue()


def test_what_is_due_runs_once_per_slot(shop):
    """A second call, from another line or host, finds nothing to do."""
    first = runcrons()
    second = runcrons()

    assert first == (0, "[✔] shop.close_orders\n[✔] shop.report\n[✔] shop.other\n", "")
    assert second == (0, "[ ] shop.close_orders\n[ ] shop.report\n[ ] shop.other\n", "")
    assert cron_classes.calls == ["shop.close_orders", "shop.report", "shop.other"]
    assert list(Run.objects.order_by("pk").values_list("entry__name", "kind", "verdict", "trigger")) == [
        (name, "slot", "succeeded", "runcrons") for name in cron_classes.calls
    ]


@pytest.mark.parametrize("asked", [f"{HERE}.Report", "shop.report"])
def test_only_the_class_that_is_named_runs(shop, asked):
    """By its path, as with django-cron, or by its code."""
    assert runcrons(asked) == (0, "[✔] shop.report\n", "")
    assert cron_classes.calls == ["shop.report"]


def test_failure_is_the_exit_code_and_stops_no_other(shop, settings):
    """The real command ends with 0 whatever happens: cron and monitoring see success."""
    settings.CRON_CLASSES = [f"{HERE}.Fails", f"{HERE}.Report"]
    sync(ledger.database_now())
    Entry.objects.update(accounted_until=timezone.now() - timedelta(days=2))

    code, out, _ = runcrons()
    again, out_again, _ = runcrons()

    assert (code, out) == (1, "[✘] shop.fails\n[✔] shop.report\n")
    assert Run.objects.get(entry__name="shop.fails").detail == "ValueError: no stock"
    assert (again, out_again) == (0, "[ ] shop.fails\n[ ] shop.report\n")


def test_retry_that_is_due_is_run_by_the_next_call(shop):
    """runcrons alone, without any scheduler, must see retry_after_failure_mins through."""
    runcrons("shop.close_orders")
    run = Run.objects.get()
    Run.objects.update(state="waiting", verdict="", wake_at=timezone.now() - timedelta(seconds=1), ended_at=None)

    assert runcrons("shop.close_orders") == (0, "[✔] shop.close_orders\n", "")
    assert Run.objects.get().pk == run.pk
    assert Run.objects.get().tries == 2


def test_force_runs_besides_the_schedule(shop):
    """A manual run, in the ledger under who asked."""
    code, out, _ = runcrons("shop.report", "--force")

    run = Run.objects.get()
    assert (code, out) == (0, "[✔] shop.report\n")
    assert (run.kind, run.verdict) == ("manual", "succeeded")
    assert run.requested_by.startswith("runcrons --force by ")


def test_forced_failure_is_the_exit_code(shop, settings):
    """Somebody is looking at it."""
    settings.CRON_CLASSES = [f"{HERE}.Fails"]
    sync(ledger.database_now())

    code, out, err = runcrons("--force")

    assert (code, out) == (1, "[✘] shop.fails\n")
    assert "failed: ValueError: no stock" in err


def test_forced_failure_does_not_wait_for_its_retry(shop, monkeypatch):
    """The next call begins it: this one would stay for RETRY_AFTER_FAILURE_MINS, again and again."""

    def fail(self):
        raise ValueError("no stock")

    monkeypatch.setattr(cron_classes.CloseOrders, "do", fail)

    code, out, _ = runcrons("shop.close_orders", "--force")

    run = Run.objects.get()
    assert (code, out) == (1, "[✘] shop.close_orders\n")
    assert (run.state, run.tries) == ("waiting", 1)


def test_class_taken_out_is_retired_while_another_is_warned_of(shop, settings):
    """A warning is no mistake of reading: what the setting does not name is gone."""
    settings.CRON_CLASSES = [f"{HERE}.Mails", f"{HERE}.Report"]
    sync(ledger.database_now(), retire=Retire.ALL)
    settings.CRON_CLASSES = [f"{HERE}.Mails"]

    done = sync(ledger.database_now(), retire=Retire.ALL)

    assert done.retired == ["shop.report"]


def test_dry_run_writes_nothing(shop):
    """What it says is what the next call does."""
    Entry.objects.filter(name="shop.other").update(accounted_until=timezone.now())

    assert runcrons("--dry-run") == (
        0,
        "[✔] shop.close_orders: due, and not run, because this is a dry run\n"
        "[✔] shop.report: due, and not run, because this is a dry run\n"
        "[ ] shop.other: not due\n",
        "",
    )
    assert (Run.objects.count(), cron_classes.calls) == (0, [])


def test_silent_prints_nothing_at_all(shop, capfd):
    """Cron mails each line."""
    assert runcrons("--silent") == (0, "", "")
    assert runcrons("--silent", "--force") == (0, "", "")
    assert len(cron_classes.calls) == 6


def test_paused_entry_does_not_run(shop):
    """A pause holds for every trigger; its slots are recorded as skipped."""
    api.pause("shop.report", by="ann", reason="stock-taking")
    Entry.objects.update(
        accounted_until=timezone.now() - timedelta(days=1), paused_at=timezone.now() - timedelta(days=2)
    )

    assert runcrons("shop.report") == (0, "[ ] shop.report\n", "")
    assert cron_classes.calls == []


def test_class_that_is_not_listed_says_what_is(shop):
    """What came, what was expected, what to do next."""
    with pytest.raises(CommandError) as refused:
        runcrons(f"{HERE}.Reports")

    assert str(refused.value) == (
        f"'{HERE}.Reports' is no class of CRON_CLASSES. Did you mean '{HERE}.Report'? It has: {HERE}.CloseOrders, "
        f"{HERE}.Report, {HERE}.NotOurs. Add the class there and run manage.py crons sync; manage.py check says what "
        "is wrong with a line."
    )
    assert cron_classes.calls == []


def test_line_that_cannot_work_is_told_after_the_others_ran(shop, settings):
    """The real command runs none of them then."""
    settings.CRON_CLASSES = ["no.such.Class", f"{HERE}.Report"]

    assert runcrons() == (
        1,
        "[✔] shop.report\n",
        "CRON_CLASSES[0] names 'no.such.Class', which cannot be imported: No module named 'no'.\n",
    )


@pytest.mark.parametrize("broken", [f"{HERE}.Garbled", f"{HERE}.Yields", "tests.crons.broken.Report"])
def test_class_that_cannot_work_stops_no_other(shop, settings, broken):
    """Whatever is wrong with it: its import, its options, its do()."""
    settings.CRON_CLASSES = [broken, f"{HERE}.Report"]

    code, out, err = runcrons()

    assert (code, out) == (1, "[✔] shop.report\n")
    assert err == CronClassesSource().read().problems[0].text + "\n"


def test_setting_that_is_empty_is_told(shop, settings):
    """Misspelt, it is a crontab line that is happy for years."""
    settings.CRON_CLASSES = []

    assert runcrons() == (
        1,
        "",
        "CRON_CLASSES names no class, so nothing was run. Is the setting spelt right? See: manage.py check\n",
    )


def test_two_classes_of_one_code_run_one_of_them(shop, settings):
    """The second is an error of manage.py check, and told here."""
    settings.CRON_CLASSES = [f"{HERE}.CloseOrders", f"{HERE}.SameCode"]

    code, out, err = runcrons()

    assert (code, out) == (1, "[✔] shop.close_orders\n")
    assert "whose code 'shop.close_orders' is that of CRON_CLASSES[0]" in err
    assert cron_classes.calls == ["shop.close_orders"]


def test_entry_that_was_never_synced_says_so(shop):
    """Only serve and sync write declarations."""
    Entry.objects.all().delete()

    with pytest.raises(CommandError) as refused:
        runcrons("shop.report")

    assert str(refused.value) == "'shop.report' is declared but not in the database yet. Run: manage.py crons sync"


def test_database_that_does_not_answer_is_an_error(shop, monkeypatch):
    """Before the first migrate, or while the server is away."""

    def away():
        raise LedgerUnavailable("the database did not answer: no such table: crons_deployment")

    monkeypatch.setattr(runcrons_module.ledger, "permit", away)

    with pytest.raises(CommandError) as refused:
        runcrons()

    assert str(refused.value) == (
        "the database did not answer: no such table: crons_deployment. Nothing was run. Where tables are missing: "
        "manage.py migrate"
    )


def test_switched_off_means_nothing_runs(shop, monkeypatch):
    """As for every trigger."""
    monkeypatch.setenv("CRONS_ENABLED", "0")

    with pytest.raises(CommandError, match=r"is off: nothing is recorded or begun\.$"):
        runcrons()

    assert cron_classes.calls == []


def test_cronloop_names_what_to_start_instead():
    """A container that was started by it must not look well."""
    with pytest.raises(CommandError) as refused:
        call_command("cronloop", "-s", "60", "-c", "shop.cron.Close")

    assert str(refused.value) == (
        "cronloop is not run: nothing was started. A scheduler that stays is manage.py crons serve, which runs the "
        "classes of CRON_CLASSES too; one look at the clock is manage.py runcrons."
    )


# What a class may ask


def test_previous_success_is_read_from_the_ledger(shop):
    """django-cron sets it only after do(), where nobody can use it."""
    job = cron_classes.CloseOrders()
    before = job.get_prev_success_cron()

    runcrons("shop.close_orders")
    after = job.get_prev_success_cron()

    run = Run.objects.get()
    assert before is None
    assert after == PrevSuccess("shop.close_orders", run.attempts.get().begun_at, run.ended_at)


def test_time_until_run_is_that_of_the_next_slot(shop):
    """Nothing while one is due."""
    due = cron_classes.CloseOrders.get_time_until_run()
    runcrons("shop.close_orders")

    assert due == timedelta()
    assert timedelta() < cron_classes.CloseOrders.get_time_until_run() <= timedelta(hours=1)


@pytest.fixture
def held_off(shop, settings, monkeypatch):
    """A class that fails every five minutes, and asks for an hour without slots after that."""
    monkeypatch.setattr(cron_classes.Fails, "schedule", Schedule(run_every_mins=5, retry_after_failure_mins=60))
    settings.CRON_CLASSES = [f"{HERE}.Fails"]
    sync(ledger.database_now())
    Entry.objects.update(accounted_until=timezone.now() - timedelta(days=2))


def test_failure_holds_the_next_slots_off(held_off):
    """Before: a mail server that refuses was asked every five minutes, not once an hour."""
    runcrons()

    entry = Entry.objects.get(name="shop.fails")
    begun_at = Run.objects.get(verdict="failed").attempts.get().begun_at
    assert entry.paused_by == "django-cron"
    assert entry.pause_reason == "it failed, and retry_after_failure_mins=60 holds its slots off until then"
    assert timedelta(0) <= entry.paused_until - begun_at - timedelta(hours=1) < timedelta(minutes=1)


def test_failure_leaves_the_pause_of_a_person_alone(held_off):
    """It holds longer, and says why."""
    api.pause("shop.fails", by="ann", reason="the server is moved")

    runcrons("--force")

    entry = Entry.objects.get(name="shop.fails")
    assert (entry.paused_by, entry.paused_until) == ("ann", None)


def test_a_crontab_line_of_runcrons_needs_no_job(settings, tmp_path):
    """It enters the ledger, and what it looks at is all of CRON_CLASSES."""
    settings.CRONS = {"CRONTAB_FILES": [tmp_path / "crontab.txt"]}
    (tmp_path / "crontab.txt").write_text("* * * * * manage.py runcrons\n")

    assert CrontabFilesSource().read().problems == ()


def test_what_runcrons_starts_ends_sooner():
    """See tests/crons/cli/test_commandline.py."""
    assert ends_sooner("runcrons", "--help")
