"""django-celery-beat's rows as a target: ours mirror the entries, and the ledger follows what people change."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from crons import api, cron, job, schedule
from crons.contrib.celery.beat import fields as beat_fields
from crons.contrib.celery.beat import rows, trigger
from crons.contrib.celery.beat.target import BeatTarget
from crons.doctor import installed
from crons.exceptions import CronsError, InvalidSchedule, Refused, TargetError
from crons.jobs import Registry
from crons.models import AuditEvent, Entry, Pause, Run
from crons.schedules import any_of, parse
from crons.targets.base import Unfit
from tests.contrib.celery import existing_tasks
from tests.crons.cli.conftest import Said, call_crons

models = pytest.importorskip("django_celery_beat.models", reason="django-celery-beat has no release for this Django")
pytestmark = pytest.mark.django_db(transaction=True)
NOW = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.fixture(autouse=True)
def site(tmp_path: Path, settings: Any, empty_registry: Registry) -> None:
    """A deployment with a state directory of its own, and one declared job: Mondays at 06:00 in Berlin."""
    settings.CRONS = {"STATE_DIR": str(tmp_path / "state"), "IDENTITY": "shop"}
    settings.CRONJOBS = []

    @job(cron("0 6 * * MON", zone="Europe/Berlin"))
    def report() -> None:
        """Nothing."""


@pytest.fixture
def crons() -> Callable[..., Said]:
    """Call `manage.py crons …`."""
    return call_crons


@pytest.fixture
def admin(admin_client: Client) -> Client:
    """Somebody who may change anything in the admin."""
    return admin_client


def told() -> list[str]:
    """Return our rows, a line each."""
    return [row.describe() for row in rows.read()]


def row_of(name: str = "crons:report") -> Any:
    """Return a row of django-celery-beat's."""
    return models.PeriodicTask.objects.get(name=name)


def edit(**columns: Any) -> None:
    """Change the report's row as django-celery-beat's admin does."""
    row = row_of()
    for name, value in columns.items():
        setattr(row, name, value)
    row.save()


def crontab(text: str, zone: str = "UTC") -> Any:
    """Make a crontab of django-celery-beat's."""
    values = dict(zip(beat_fields.FIELDS, text.split(), strict=True))
    return models.CrontabSchedule.objects.create(**values, timezone=zone)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 6 * * MON", ("0 6 * * 1", "Europe/Berlin")),
        ("@daily", ("0 0 * * *", "Europe/Berlin")),
        ("*/5 9-17/2 1,15 JAN-MAR *", ("*/5 9,11,13,15,17 1,15 1-3 *", "Europe/Berlin")),
        ("0 0 1-31 * MON", ("0 0 * * *", "Europe/Berlin")),
        ("0 0 * * SUN", ("0 0 * * 0", "Europe/Berlin")),
        ("every 300s", ("*/5 * * * *", "UTC")),
        ("every 7d", ("0 0 * * 4", "UTC")),
        ("", None),
    ],
)
def test_a_schedule_is_said_in_the_fields_of_celery(text: str, expected: Any):
    """Even intervals keep the moments that all hosts share, so they are fields too."""
    assert beat_fields.of(parse(text), "Europe/Berlin") == expected


FORMS = ["*", "*/2", "*/30", "*/7", "0,30", "0-58/2", "0-59", "5", "0", "*/2,5", "5,*/20", "0-4,10-14", "*/59", "*/60"]
HOURS = ["*", "*/2", "*/5", "0,12", "0-22/2", "0-23", "2", "0", "*/12,5", "9-17", "*/23", "*/24"]


def kept(text: str) -> None:
    """Assert that a row that says *text*, however it came, reads as the same moments of the same kind."""
    declared = cron(text).clock
    row = models.CrontabSchedule(**dict(zip(beat_fields.FIELDS, text.split(), strict=True)), timezone="Europe/Berlin")

    written = beat_fields.of(cron(text), "Europe/Berlin")
    read = beat_fields.read(models.PeriodicTask(crontab=row))

    assert written == read
    assert written is not None
    found = cron(written[0]).clock
    assert (found.minutes, found.hours) == (declared.minutes, declared.hours), written
    assert found.follows_real_time == declared.follows_real_time, written
    celery = models.CrontabSchedule(**dict(zip(beat_fields.FIELDS, written[0].split(), strict=True))).schedule
    assert (celery.minute, celery.hour) == (declared.minutes, declared.hours)


@pytest.mark.parametrize("minute", FORMS)
def test_no_text_changes_its_kind_on_its_way_through_a_row(minute: str):
    """Before: 0,30 2 became */30 2, which has no run on the day of the gap, and twice as many in the fold."""
    for hour in HOURS:
        kept(f"{minute} {hour} * * *")


part = st.one_of(
    st.just("*"),
    st.integers(1, 40).map("*/{}".format),
    st.integers(0, 23).map(str),
    st.tuples(st.integers(0, 11), st.integers(12, 23), st.integers(1, 9)).map(lambda of: f"{of[0]}-{of[1]}/{of[2]}"),
)
fields = st.lists(part, min_size=1, max_size=3).map(",".join)


@settings_of_hypothesis(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
@given(fields, fields.filter(lambda text: not re.search(r"/(2[5-9]|[3-9][0-9])", text)))
def test_no_field_changes_its_kind(minute: str, hour: str):
    """Whatever its form."""
    try:
        cron(f"{minute} {hour} * * *")
    except InvalidSchedule:
        return
    kept(f"{minute} {hour} * * *")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0 0 1 * MON", beat_fields.BOTH_DAYS),
        ("0 0 */2 * MON", beat_fields.BOTH_DAYS),
        ("every 30s", "it has seconds, and cron knows whole minutes"),
        ("every 420s", "every 7 minutes divides neither an hour nor a day, and cron begins anew with each"),
        ("every 5400s", "every 90 minutes divides neither an hour nor a day, and cron begins anew with each"),
        ("0 1 * * * | 30 2 * * *", "it joins several schedules with |, and a row has one"),
    ],
)
def test_what_a_row_cannot_say_is_refused_with_the_reason(text: str, reason: str):
    """A row that fires nearly then would be taken for the schedule."""
    with pytest.raises(Unfit) as refused:
        beat_fields.of(parse(text), "UTC")

    assert str(refused.value) == reason


def test_fields_mean_to_celery_what_the_schedule_means():
    """Sets are compared, not texts: Celery's own reading of what is written."""
    text, _ = beat_fields.of(parse("7-59/13 */6 2-31/9 2,4 *"), "UTC") or ("", "")
    celery = pytest.importorskip("celery.schedules")
    minute, hour, day, month, weekday = text.split()

    read = celery.crontab(minute=minute, hour=hour, day_of_month=day, month_of_year=month, day_of_week=weekday)

    assert (read.minute, read.hour) == ({7, 20, 33, 46, 59}, {0, 6, 12, 18})
    assert (read.day_of_month, read.month_of_year, read.day_of_week) == ({2, 11, 20, 29}, {2, 4}, set(range(7)))


def test_apply_writes_a_row_per_entry_and_the_tick(crons: Any):
    """Each fires one entry; the tick sees to what no row fires, sends again and tells of failures."""

    @job(any_of(cron("0 1 * * *"), cron("30 2 * * *")))
    def twice() -> None:
        """Nothing."""

    @job()
    def by_hand() -> None:
        """Nothing."""

    done = crons("apply", "--to", "beat")

    assert done.code == 0, done.err
    assert told() == ["crons.tick: * * * * * UTC", "crons:report: 0 6 * * 1 Europe/Berlin"]
    assert "no row for twice: '0 1 * * * | 30 2 * * *' cannot be a row: it joins several schedules with |" in done.err
    row = row_of()
    assert (row.task, row.enabled, row.expire_seconds) == ("crons.fire", True, 300)
    assert json.loads(row.kwargs) == {
        "entry": "report",
        "deployment": "name:shop",
        "written": {"schedule": "0 6 * * 1", "zone": "Europe/Berlin", "enabled": True},
    }
    assert models.PeriodicTasks.last_change() is not None  # beat reads anew
    planned = crons("plan", "--to", "beat")
    assert (planned.code, planned.out) == (0, "Django-celery-beat is as it should be (per-job).\n")
    assert crons("apply", "--to", "beat").code == 0
    assert models.PeriodicTask.objects.count() == 2


def test_new_rows_go_to_the_queue_that_the_settings_name(crons: Any, settings: Any):
    """Workers that read no other would never see them; later it is people's to change."""
    backend = {"BACKEND": "crons.contrib.celery.executor.CelerySender", "OPTIONS": {"queue": "jobs"}}
    settings.CRONS = {**settings.CRONS, "EXECUTORS": {"celery": backend}}
    crons("apply", "--to", "beat", "--tick")
    assert row_of("crons.tick").queue == "jobs"

    models.PeriodicTask.objects.update(queue="theirs")
    crons("apply", "--to", "beat", "--per-job")

    assert {row.name: row.queue for row in models.PeriodicTask.objects.all()} == {
        "crons.tick": "theirs",
        "crons:report": "jobs",
    }


def test_rows_of_others_are_never_touched(crons: Any):
    """Nor the crontabs that they share with ours."""
    shared = crontab("0 6 * * 1", "Europe/Berlin")
    models.PeriodicTask.objects.create(name="theirs", task="shop.mail", crontab=shared)
    before = list(models.PeriodicTask.objects.filter(name="theirs").values())

    crons("apply", "--to", "beat")
    crons("undo", "--to", "beat", "--all")

    assert list(models.PeriodicTask.objects.values()) == before
    assert models.CrontabSchedule.objects.filter(pk=shared.pk).exists()


def test_a_row_of_others_with_our_name_stops_apply(crons: Any):
    """Nothing is written, not even the other rows."""
    models.PeriodicTask.objects.create(name="crons:report", task="shop.mail", crontab=crontab("0 0 * * *"))

    done = crons("apply", "--to", "beat")

    assert done.code == 1
    assert "crons:report: rows of that name are there already and are not ours: rename them." in done.err
    assert [row.task for row in models.PeriodicTask.objects.all()] == ["shop.mail"]
    assert not Entry.objects.exists()


def test_the_ledger_follows_a_time_that_is_changed_in_the_admin(crons: Any, admin: Client):
    """Through the real form; it is audited, later deploys keep it, and plan says what was declared."""
    crons("apply", "--to", "beat")
    other = crontab("30 7 * * fri", "Europe/Berlin")
    row = row_of()
    form = {
        "name": row.name,
        "task": row.task,
        "enabled": "on",
        "args": row.args,
        "kwargs": row.kwargs,
        "headers": row.headers,
        "expire_seconds": row.expire_seconds,
        "crontab": other.pk,
    }
    page = admin.post(reverse("admin:django_celery_beat_periodictask_change", args=[row.pk]), form)
    assert page.status_code == 302, page.context and page.context["errors"]
    assert LogEntry.objects.exists()
    planned = crons("plan", "--to", "beat")
    assert "report was made '30 7 * * 5' Europe/Berlin by people, who found '0 6 * * 1' Europe/Berlin" in planned.err

    assert rows.follow() == ["report falls due at '30 7 * * 5' Europe/Berlin"]

    entry = Entry.objects.get()
    assert (entry.schedule, entry.zone) == ("30 7 * * 5", "Europe/Berlin")
    assert entry.overrides["declared"] == "0 6 * * MON"
    event = AuditEvent.objects.get(verb="reschedule")
    assert (event.actor, event.reason) == ("django-celery-beat", "changed in its admin")
    assert rows.follow() == []
    planned = crons("plan", "--to", "beat")
    assert (planned.code, planned.err) == (
        0,
        "note: people made it '30 7 * * 5' Europe/Berlin, declared is '0 6 * * MON': report\n",
    )
    crons("apply", "--to", "beat")
    assert told()[1] == "crons:report: 30 7 * * 5 Europe/Berlin"
    assert Entry.objects.get().schedule == "30 7 * * 5"


def test_a_fixed_time_that_is_moved_stays_fixed(crons: Any, empty_registry: Registry):
    """Somebody moves 0,30 2 to 3 o'clock: on the day of the gap it still has its run."""
    empty_registry.clear()
    job(cron("0,30 2 * * *", zone="Europe/Berlin"), name="report")(lambda: None)
    crons("apply", "--to", "beat")
    assert row_of().crontab.minute == "0,30"

    edit(crontab=crontab("0,30 3 * * *", "Europe/Berlin"))
    rows.follow()

    assert Entry.objects.get(name="report").schedule == "0,30 3 * * *"


def test_a_time_that_is_set_back_is_the_declared_one_again(crons: Any):
    """The override goes; the next deploy moves the entry again."""
    crons("apply", "--to", "beat")
    edit(crontab=crontab("30 7 * * 5"))
    rows.follow()

    edit(crontab=crontab("0 6 * * mon", "Europe/Berlin"))

    assert rows.follow() == ["report falls due as declared again"]
    entry = Entry.objects.get()
    assert (entry.schedule, entry.zone, entry.overrides) == ("0 6 * * MON", "Europe/Berlin", {})


def test_a_shared_crontab_that_is_edited_is_followed_too(crons: Any):
    """The other way to change a time: the crontab's own page, for all rows that have it."""
    crons("apply", "--to", "beat")

    models.CrontabSchedule.objects.filter(pk=row_of().crontab_id).update(hour="9")

    assert rows.follow() == ["report falls due at '0 9 * * 1' Europe/Berlin"]


def test_an_interval_of_a_persons_own_is_followed(crons: Any):
    """At the moments that all hosts share; beat's own are others, and the tick comes by in between."""
    crons("apply", "--to", "beat")
    interval = models.IntervalSchedule.objects.create(every=10, period="minutes")

    edit(crontab=None, interval=interval)

    assert rows.follow() == ["report falls due at 'every 600s'"]
    assert (Entry.objects.get().schedule, Entry.objects.get().zone) == ("every 600s", "Europe/Berlin")
    crons("apply", "--to", "beat")
    assert told()[1] == "crons:report: */10 * * * * UTC"  # the same moments, said so that beat keeps them
    assert rows.follow() == []
    assert Entry.objects.get().schedule == "every 600s"


def test_a_schedule_that_the_ledger_cannot_follow_is_drift(crons: Any):
    """The entry keeps its own; apply puts the row back."""
    crons("apply", "--to", "beat")
    edit(crontab=crontab("0 6 13 * 5"))

    assert rows.follow() == []

    assert Entry.objects.get().schedule == "0 6 * * MON"
    planned = crons("plan", "--to", "beat")
    assert planned.code == 3
    assert f"report is not followed, {beat_fields.BOTH_DAYS}" in planned.err
    crons("apply", "--to", "beat")
    assert told()[1] == "crons:report: 0 6 * * 1 Europe/Berlin"


def test_an_interval_without_end_stops_no_tick(crons: Any):
    """Each tick reads all rows: one that raised would have nothing recorded any more."""
    crons("apply", "--to", "beat")
    edit(crontab=None, interval=models.IntervalSchedule.objects.create(every=2_147_483_647, period="days"))

    assert rows.follow() == []

    planned = crons("plan", "--to", "beat")
    assert "report is not followed, the interval of 2147483647 days is none of crons': " in planned.err
    assert Entry.objects.get().schedule == "0 6 * * MON"


@pytest.mark.parametrize("way", ["form", "action"])
def test_disabling_in_the_admin_pauses_and_enabling_resumes(crons: Any, admin: Client, way: str):
    """Its actions change rows behind the back of signals: the look at each minute sees both."""
    crons("apply", "--to", "beat")

    def switch(action: str) -> None:
        if way == "form":
            edit(enabled=action == "enable_tasks")
            return
        chosen = {"action": action, "_selected_action": [row_of().pk]}
        assert admin.post(reverse("admin:django_celery_beat_periodictask_changelist"), chosen).status_code == 302

    switch("disable_tasks")
    assert rows.follow() == ["report is paused"]
    paused = Entry.objects.get()
    assert (paused.paused_by, paused.pause_reason) == ("django-celery-beat", "disabled in its admin")
    assert rows.follow() == []

    switch("enable_tasks")
    assert rows.follow() == ["report is resumed"]
    assert Entry.objects.get().paused_at is None
    assert list(AuditEvent.objects.filter(subject="report").values_list("verb", "actor")) == [
        ("pause", "django-celery-beat"),
        ("resume", "django-celery-beat"),
    ]


def test_a_pause_of_somebody_else_is_neither_replaced_nor_ended(crons: Any):
    """Who paused it with a reason has to end it."""
    crons("apply", "--to", "beat")
    api.pause("report", by="ada", reason="flood")

    edit(enabled=False)
    assert rows.follow() == []
    edit(enabled=True)
    assert rows.follow() == []

    assert Pause.objects.get().by == "ada"
    assert Entry.objects.get().paused_at is not None


def test_a_pause_that_ended_elsewhere_is_not_begun_again(crons: Any):
    """A row that was disabled once is followed once: who resumes the entry here has the last word."""
    crons("apply", "--to", "beat")
    edit(enabled=False)
    rows.follow()

    api.resume("report", by="ada")

    assert rows.follow() == []
    assert Entry.objects.get().paused_at is None
    assert crons("plan", "--to", "beat").err == (
        "note: its row is disabled and it is not paused, so only crons.tick fires it: report\n"
    )


def test_an_edit_that_cannot_be_followed_is_not_lost_by_apply(crons: Any, monkeypatch: Any):
    """Else the row would count as followed while the entry is due at another time."""
    crons("apply", "--to", "beat")
    edit(crontab=crontab("30 7 * * 5"))

    def refuse(*_: Any, **__: Any) -> None:
        raise Refused("not today")

    monkeypatch.setattr(rows.api, "reschedule", refuse)
    assert rows.follow() == []
    done = crons("apply", "--to", "beat")

    assert (done.code, "not today" in done.err) == (1, True)
    monkeypatch.undo()
    assert rows.follow() == ["report falls due at '30 7 * * 5' UTC"]


def test_what_is_put_back_is_as_it_came(monkeypatch: Any):
    """Without the limits of its own, the project's would end a job that may run longer."""
    tasks = pytest.importorskip("crons.contrib.celery.tasks")
    sent = []
    monkeypatch.setattr(tasks.run, "apply_async", lambda **given: sent.append(given))
    way = {"exchange": "", "routing_key": "slow", "priority": 3, "redelivered": False}
    tasks.run.push_request(delivery_info=way, timelimit=[7200, 7100])
    try:
        assert tasks.run.run(7, "name:copy").startswith("foreign: run 7 belongs to another deployment")
    finally:
        tasks.run.pop_request()

    assert sent == [
        {
            "args": [7, "name:copy"],
            "kwargs": {"executor": "celery", "foreign": 1},
            "countdown": 1.0,
            "exchange": None,
            "routing_key": "slow",
            "priority": 3,
            "time_limit": 7200,
            "soft_time_limit": 7100,
            "ignore_result": True,
        }
    ]


@pytest.mark.parametrize("what", [lambda: trigger.fire("report"), trigger.tick], ids=["fire", "tick"])
def test_a_worker_with_threads_says_what_is_wrong_with_it(crons: Any, what: Callable[[], str]):
    """Where no job is sent to workers it is not refused at its start; and beat's messages come all the same."""
    crons("apply", "--to", "beat")
    with ThreadPoolExecutor(1) as threads, pytest.raises(CronsError) as refused:
        threads.submit(what).result(60)

    assert str(refused.value).endswith(
        " takes messages in a thread, where a job cannot be given a process of its own: start it with a process for "
        "each message, celery worker with --pool=prefork, db_worker with --no-reload. Nothing was done; another "
        "look at the clock does it."
    )
    assert not Run.objects.exists()


@pytest.mark.parametrize(("name", "entry"), [("fire", {"entry": "report"}), ("tick", {})])
def test_a_message_of_another_deployments_row_is_put_back_for_it(crons: Any, monkeypatch: Any, name: str, entry: Any):
    """A worker of another project, or of a copy, reads the same queue; after a while it says what to do."""
    tasks = pytest.importorskip("crons.contrib.celery.tasks")
    crons("apply", "--to", "beat")
    task, sent = getattr(tasks, name), []
    monkeypatch.setattr(task, "apply_async", lambda **given: sent.append(given))

    for foreign in (0, 20):
        told = task.run(**entry, deployment="name:copy", foreign=foreign)
        assert told.startswith("foreign: a row of beat (crons.")
        assert "if it has moved here, manage.py crons apply --to beat" in told

    assert [each["kwargs"] for each in sent] == [{**entry, "deployment": "name:copy", "foreign": 1}]
    assert not Run.objects.exists()


def test_a_changed_declaration_is_no_edit_of_people(crons: Any, empty_registry: Registry):
    """Between the deploy's sync and its apply the row says what was declared before."""
    crons("apply", "--to", "beat")
    empty_registry.clear()

    @job(cron("0 5 * * *"), name="report")
    def report() -> None:
        """Nothing."""

    crons("sync")

    assert rows.follow() == []
    assert Entry.objects.get().schedule == "0 5 * * *"
    planned = crons("plan", "--to", "beat")
    assert planned.code == 3
    assert "-crons:report: 0 6 * * 1 Europe/Berlin" in planned.out
    assert "+crons:report: 0 5 * * * UTC" in planned.out


def test_what_nobody_declares_any_more_loses_its_row(crons: Any, empty_registry: Registry):
    """And what is renamed has one under its new name."""
    crons("apply", "--to", "beat")
    empty_registry.clear()

    crons("apply", "--to", "beat")

    assert told() == ["crons.tick: * * * * * UTC"]


@pytest.fixture
def tidy(settings: Any) -> None:
    """A task of Celery that is an entry of ours, and that beat fires by itself, too: by a row, and by its settings."""
    backend = {
        "BACKEND": "crons.contrib.celery.executor.CelerySender",
        "OPTIONS": {"app": "tests.contrib.celery.existing_tasks.app"},
    }
    settings.CRONS = {**settings.CRONS, "EXECUTORS": {"celery": backend}}
    schedule(existing_tasks.tidy, cron("0 1 * * *"))
    other(name="nightly", task="shop.tidy")


@pytest.fixture
def beat_schedule(monkeypatch: Any) -> Callable[..., None]:
    """Have an application's own schedule for a while."""
    return lambda **given: monkeypatch.setitem(existing_tasks.app.conf, "beat_schedule", given)


def other(**columns: Any) -> None:
    """Write a row that is not ours."""
    models.PeriodicTask.objects.create(crontab=crontab("0 1 * * *"), **columns)


TWICE = (
    "tidy runs twice: the enabled row 'nightly' fires shop.tidy too. To keep the entry, --switch-off 'nightly' "
    "disables that row."
)


def test_a_row_that_fires_an_entrys_task_too_is_said(crons: Any, tidy: None):
    """Before: both fired it, each night."""
    planned = crons("plan", "--to", "beat")
    applied = crons("apply", "--to", "beat")

    assert (planned.code, applied.code) == (3, 1)
    assert f"apply refuses: {TWICE}\n" in planned.err
    assert applied.err.endswith(f"nothing was changed. {TWICE}\n")
    assert (told(), Entry.objects.count(), row_of("nightly").enabled) == ([], 0, True)


def test_a_row_that_is_to_be_switched_off_is_disabled(crons: Any, tidy: None):
    """In the same step; an undo says that it stays so."""
    planned = crons("plan", "--to", "beat", "--switch-off", "nightly")
    before = row_of("nightly").enabled
    applied = crons("apply", "--to", "beat", "--switch-off", "nightly")

    assert (planned.code, before, applied.code) == (3, True, 0)
    assert "+nightly: disabled, not ours\n" in planned.out
    assert not row_of("nightly").enabled
    assert "nightly: disabled, not ours" in AuditEvent.objects.get(verb="apply").after["lines"]
    assert crons("plan", "--to", "beat").code == 0
    assert (
        "note: the row 'nightly', which fires shop.tidy, stays disabled: enable it in the admin if it is to fire again"
        in crons("undo", "--to", "beat").err
    )


def test_rows_that_come_later_are_said_too(crons: Any, tidy: None):
    """Somebody adds one in the admin when all is in step."""
    crons("apply", "--to", "beat", "--switch-off", "nightly")
    other(name="weekly", task="shop.tidy")

    planned = crons("plan", "--to", "beat")

    assert (planned.code, "the enabled row 'weekly' fires shop.tidy too" in planned.err) == (1, True)


def test_an_entry_of_beat_schedule_is_said(crons: Any, tidy: None, beat_schedule: Callable[..., None]):
    """django-celery-beat makes a row of it when beat starts; until there is one, only its settings can end it."""
    beat_schedule(monthly={"task": "shop.tidy", "schedule": 60.0}, others={"task": "shop.count", "schedule": 60.0})

    applied = crons("apply", "--to", "beat", "--switch-off", "nightly")
    other(name="monthly", task="shop.tidy", enabled=False)

    assert applied.err.endswith(
        "tidy runs twice: beat_schedule['monthly'] fires shop.tidy too. To keep the entry, take it out of "
        "beat_schedule.\n"
    )
    assert crons("apply", "--to", "beat", "--switch-off", "nightly").code == 0


@pytest.mark.parametrize("what", ["disabled", "another task", "paused", "not declared"])
def test_what_runs_once_is_let_be(crons: Any, tidy: None, empty_registry: Registry, what: str):
    """A check that cries wolf is not read."""
    if what == "disabled":
        models.PeriodicTask.objects.filter(name="nightly").update(enabled=False)
    elif what == "another task":
        models.PeriodicTask.objects.filter(name="nightly").update(task="shop.count")
    elif what == "paused":
        crons("sync")
        api.pause("tidy", by="ann", reason="the row does it until Monday")
    else:
        empty_registry.clear()

    assert crons("apply", "--to", "beat").code == 0
    assert models.PeriodicTask.objects.filter(name="nightly", enabled=what != "disabled").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("--to", "beat", "--switch-off", "nightli"),
            "--switch-off 'nightli': no enabled row of that name fires a task of ours. Did you mean 'nightly'? Those "
            "that do: 'nightly'.",
        ),
        (("--to", "crontab", "--switch-off", "x"), "--switch-off is not for --to crontab; it is for --to beat."),
    ],
)
def test_a_row_that_cannot_be_switched_off_is_refused(crons: Any, tidy: None, words: Any, said: str):
    """Nothing else is changed either."""
    refused = crons("apply", *words)

    assert (refused.code, said in refused.err, told()) == (1, True, [])


def test_one_tick_fires_everything(crons: Any):
    """The mode stays until another is asked for."""
    crons("apply", "--to", "beat", "--tick")
    assert told() == ["crons.tick: * * * * * UTC"]

    assert crons("plan", "--to", "beat").code == 0
    crons("apply", "--to", "beat", "--per-job")

    assert told() == ["crons.tick: * * * * * UTC", "crons:report: 0 6 * * 1 Europe/Berlin"]


def test_undo_goes_back_one_apply(crons: Any):
    """What people decide of a row alone, its queue say, is not ours to put back."""
    crons("apply", "--to", "beat", "--tick")
    crons("apply", "--to", "beat", "--per-job")

    done = crons("undo", "--to", "beat")

    assert done.code == 0, done.err
    assert told() == ["crons.tick: * * * * * UTC"]
    crons("undo", "--to", "beat")
    assert told() == []
    refused = crons("undo", "--to", "beat")
    assert refused.code == 1
    assert "To take our rows away altogether: manage.py crons undo --to beat --all" in refused.err
    assert [event.verb for event in AuditEvent.objects.filter(subject="beat")] == ["apply", "apply", "undo", "undo"]


def test_rows_that_were_changed_since_they_were_planned_are_not_written():
    """Whoever was quicker must be seen first."""
    target = BeatTarget()
    plan = target.plan([])
    models.PeriodicTask.objects.create(name="crons.tick", task="crons.tick", crontab=crontab("* * * * *"))

    with pytest.raises(TargetError, match="the rows were changed since they were planned"):
        target.apply(plan, "ada")

    assert row_of("crons.tick").kwargs == "{}"


def test_arguments_that_somebody_edited_are_drift_and_written_anew(crons: Any):
    """They carry what we wrote; without, an edit cannot be told from a deploy."""
    crons("apply", "--to", "beat")
    edit(kwargs='{"entry": "report"}', crontab=crontab("0 7 * * *"))

    assert rows.follow() == []
    planned = crons("plan", "--to", "beat")

    assert (planned.code, "report has other arguments than ours" in planned.err) == (3, True)
    crons("apply", "--to", "beat")
    assert told()[1] == "crons:report: 0 6 * * 1 Europe/Berlin"


def test_a_disabled_tick_is_said(crons: Any):
    """Without it nothing is sent again, expired or told."""
    crons("apply", "--to", "beat")
    models.PeriodicTask.objects.filter(name="crons.tick").update(enabled=False)

    assert "crons.tick is disabled: what no row fires is not done" in crons("plan", "--to", "beat").err


def test_without_django_celery_beat_the_target_says_what_to_do(crons: Any, settings: Any):
    """And everything else works as before."""
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "django_celery_beat"]

    refused = crons("plan", "--to", "beat")

    assert refused.code == 1
    assert "django_celery_beat is not in INSTALLED_APPS" in refused.err
    assert "pip install 'django-crons[beat]'" in refused.err
    assert crons("sync").code == 0


def test_doctor_knows_whether_beat_looks_at_the_clock(crons: Any):
    """Where beat fires, nobody needs a scheduler of ours or a crontab."""

    def found() -> dict[str, tuple[str, str]]:
        return {each.what: (each.level, each.found) for each in installed.examine(None)}

    assert "beat" not in found()
    assert "no scheduler has shown a sign of life" in found()["triggers"][1]
    crons("apply", "--to", "beat")
    assert found()["beat"] == ("warn", "our rows are there, and beat fired crons.tick not yet")
    assert "triggers" not in found()

    models.PeriodicTask.objects.filter(name="crons.tick").update(last_run_at=timezone.now())
    assert found()["beat"][0] == "good"
    models.PeriodicTask.objects.filter(name="crons.tick").update(enabled=False)

    assert found()["beat"] == ("bad", "the row crons.tick is disabled: what no row fires is not done")
    assert "triggers" in found()
