"""`aliases=` that is added after the rename: one job, one history."""

from __future__ import annotations

import logging

import pytest

from crons import Retry, cron, entry, job, ledger
from crons.declarations import sync
from crons.declarations.retiring import Retire
from crons.jobs import registry
from crons.models import AuditEvent, Entry, Heartbeat, Incident, Pause, Range, Run
from crons.verdicts import Outcome
from crons.watch import inspect
from tests.crons.conftest import NOON, minutes

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nothing_else_declared(settings):
    """Only what the test declares."""
    registry.clear()
    settings.CRONJOBS = ()
    settings.CRONS = {}


def declare(name, **options):
    registry.clear()
    job(cron("0 * * * *"), name=name, **options)(lambda: None)


def run_sync(now, retire=Retire.FEW):
    done = sync.sync(now, retire=retire, by="ann")
    return {name: value for name, value in vars(done).items() if value and name != "renames"}


def ran(led, at, outcome=Outcome.SUCCEEDED):
    """Record what is due, and see each run through to that outcome."""
    led.record(at)
    return [led.finish(begun, at, outcome) for begun in led.begin(at)]


@pytest.fixture
def renamed(led):
    """A job that ran under its old name at 13:00, was renamed at 13:30, and ran under its new name at 14:00."""
    declare("old")
    run_sync(NOON)
    ran(led, NOON + minutes(60))
    declare("new")
    assert run_sync(NOON + minutes(90)) == {"created": ["new"], "retired": ["old"]}
    ran(led, NOON + minutes(120))


def slots():
    return list(Run.objects.order_by("slot_at").values_list("entry__name", "slot_at", "verdict", "effect_key"))


def test_an_alias_added_later_merges_the_history(renamed):
    """It was left behind: the old runs stood under a name that nobody looks for."""
    pk = Entry.objects.get(name="old").pk
    declare("new", aliases=["old"])

    assert run_sync(NOON + minutes(130)) == {"renamed": ["new"]}

    row = Entry.objects.get()
    assert (row.pk, row.name, row.retired_at) == (pk, "new", None)
    assert (row.first_seen_at, row.accounted_until, row.wake_at) == (NOON, NOON + minutes(120), NOON + minutes(180))
    assert slots() == [
        ("new", NOON + minutes(60), "succeeded", "old@2026-03-02T13:00:00Z"),
        ("new", NOON + minutes(120), "succeeded", "new@2026-03-02T14:00:00Z"),
    ]
    assert Range.objects.count() == 0
    event = AuditEvent.objects.get(verb="merge")
    assert (event.subject, event.actor, event.before["name"]) == ("new", "ann", "old")
    assert run_sync(NOON + minutes(131)) == {"unchanged": ["new"]}


def test_the_window_of_work_reaches_back_to_the_old_name(renamed, led):
    """That is what a history is for: context.since is the last slot that succeeded."""
    Run.objects.filter(entry__name="new").update(verdict="failed")
    declare("new", aliases=["old"])
    run_sync(NOON + minutes(130))
    led.record(NOON + minutes(180))

    begun = led.begin(NOON + minutes(180))[0]

    assert begun.since == NOON + minutes(60)


def test_between_the_two_accounts_is_no_hole(led):
    """A retired name, and a new one days later."""
    declare("old")
    run_sync(NOON)
    registry.clear()
    run_sync(NOON + minutes(1))
    declare("new")
    run_sync(NOON + minutes(190))
    declare("new", aliases=["old"])

    run_sync(NOON + minutes(200))

    found = Range.objects.get()
    assert (found.entry.name, found.count, found.verdict, found.reason) == ("new", 3, "skipped", "retired")
    assert (found.first_at, found.last_at) == (NOON + minutes(60), NOON + minutes(180))


@pytest.mark.parametrize(
    ("old_outcome", "new_outcome", "stays"),
    [
        (Outcome.SUCCEEDED, Outcome.SUCCEEDED, "new"),
        (Outcome.SUCCEEDED, Outcome.FAILED, "old"),
        (Outcome.FAILED, Outcome.FAILED, "new"),
    ],
)
def test_of_a_slot_that_both_ran_one_run_keeps_it(led, old_outcome, new_outcome, stays):
    """In a rolling deploy both names may run for a while: that is not to be hidden, nor lost."""
    declare("old")
    run_sync(NOON)
    job(cron("0 * * * *"), name="new")(lambda: None)
    run_sync(NOON + minutes(1))
    led.record(NOON + minutes(60))
    for begun in led.begin(NOON + minutes(60)):
        led.finish(begun, NOON + minutes(60), old_outcome if begun.entry == "old" else new_outcome)
    declare("new", aliases=["old"])

    run_sync(NOON + minutes(61))

    kept, other = Run.objects.get(slot_at=NOON + minutes(60)), Run.objects.get(slot_at=None)
    assert kept.effect_key == f"{stays}@2026-03-02T13:00:00Z"
    assert (other.kind, other.request_key, other.attempts.count()) == ("manual", f"merged:{other.pk}", 1)
    assert other.effect_key != kept.effect_key
    assert {kept.verdict, other.verdict} == {old_outcome.value, new_outcome.value}
    assert AuditEvent.objects.get(verb="merge").before["runs"] == [other.pk]
    assert Entry.objects.count() == 1


def test_what_still_waits_under_the_old_name_goes_on_unless_the_new_one_has_its_slot(led):
    """A retry keeps its key; a slot that the new name ran is not run again."""
    declare("old", retry=Retry(3), catch_up="all")
    run_sync(NOON)
    ran(led, NOON + minutes(60), Outcome.FAILED)
    declare("new", retry=Retry(3), catch_up="all")
    run_sync(NOON + minutes(61), Retire.NOTHING)
    led.record(NOON + minutes(120))
    Run.objects.filter(entry__name="new").update(state="done", verdict="succeeded")
    declare("new", retry=Retry(3), catch_up="all", aliases=["old"])

    run_sync(NOON + minutes(121))

    waiting = Run.objects.exclude(state="done").get()
    assert (waiting.slot_at, waiting.effect_key) == (NOON + minutes(60), "old@2026-03-02T13:00:00Z")
    parted = Run.objects.get(slot_at=None)
    assert (parted.verdict, parted.effect_key) == ("cancelled", "old@2026-03-02T14:00:00Z")
    assert parted.detail.startswith("the slot 2026-03-02 14:00:00 UTC has run ")


def test_slots_that_both_wrote_off_are_counted_once(led):
    """Both were paused, or nothing looked: the account of the name that goes by now is the account."""
    declare("old", catch_up="none")
    run_sync(NOON)
    job(cron("0 * * * *"), name="new", catch_up="none")(lambda: None)
    run_sync(NOON + minutes(1))
    led.record(NOON + minutes(300))
    declare("new", catch_up="none", aliases=["old"])

    run_sync(NOON + minutes(301))

    assert sum(each.count for each in Range.objects.all()) + Run.objects.exclude(slot_at=None).count() == 5
    assert AuditEvent.objects.get(verb="merge").before["ranges"][0]["reason"] == "catch_up"


def test_while_one_of_them_runs_nothing_is_merged(renamed, led):
    """A run that is going belongs to its entry until it ends; the next sync does it."""
    led.record(NOON + minutes(180))
    begun = led.begin(NOON + minutes(180))[0]
    declare("new", aliases=["old"])

    done = sync.sync(NOON + minutes(181), retire=Retire.FEW)

    assert Entry.objects.count() == 2
    assert done.renames == [
        "the history of old joins that of new when no run of either is going: then run manage.py crons sync again"
    ]
    assert led.finish(begun, NOON + minutes(182))
    assert run_sync(NOON + minutes(183)) == {"renamed": ["new"]}
    assert Entry.objects.count() == 1


def test_an_open_incident_and_a_pause_of_the_new_name_stay(renamed, led):
    """Both are of the job as it goes by now; its next success must find the incident."""
    ran(led, NOON + minutes(180), Outcome.FAILED)
    inspect(NOON + minutes(181))
    ledger.pause("new", NOON + minutes(182), by="ann", reason="audit")
    declare("new", aliases=["old"])

    run_sync(NOON + minutes(183))

    row = Entry.objects.get()
    assert (row.paused_at, row.pause_reason) == (NOON + minutes(182), "audit")
    assert Pause.objects.get().scope == f"entry:{row.pk}"
    assert Incident.objects.get(rule="failing").open_key == f"failing:{row.pk}"
    ledger.resume("new", NOON + minutes(190), by="ann")
    ran(led, NOON + minutes(240))
    inspect(NOON + minutes(241))
    assert Incident.objects.get(rule="failing").open_key is None


def test_a_name_that_is_declared_is_no_former_one(renamed):
    """Two entries stay two, whatever one of them is called besides."""
    declare("new", aliases=["old"])
    entry("old", "new", cron("0 5 * * *"))

    run_sync(NOON + minutes(130))

    assert list(Entry.objects.order_by("name").values_list("name", flat=True)) == ["new", "old"]


def heartbeat(*declares):
    moments = {"started_at": NOON, "beat_at": NOON, "expected_by": NOON + minutes(600)}
    Heartbeat.objects.create(
        instance="web2", kind="serve", host="web2", pid=7, boot_id="b", declares=declares, **moments
    )


def test_a_name_that_another_projects_scheduler_declares_is_no_former_one(renamed):
    """Somebody else's history is not ours, whatever our jobs were once called."""
    Entry.objects.filter(name="old").update(retired_at=None)
    heartbeat("old", "theirs")
    declare("new", aliases=["old"])

    run_sync(NOON + minutes(130), Retire.NOTHING)

    assert list(Entry.objects.order_by("name").values_list("name", flat=True)) == ["new", "old"]


def test_the_only_job_of_a_project_may_be_renamed_while_its_old_release_runs():
    """The two releases share no name; the alias says that they are one project."""
    declare("old")
    run_sync(NOON)
    heartbeat("old")
    declare("new", aliases=["old"])

    assert run_sync(NOON + minutes(1)) == {"renamed": ["new"]}
    event = AuditEvent.objects.get()
    assert (event.verb, event.subject, event.actor, event.before) == ("rename", "new", "ann", {"name": "old"})


def test_an_old_release_that_starts_again_does_not_bring_the_old_name_back():
    """In a rolling deploy it would run each slot a second time, under a key of its own."""
    declare("old")
    run_sync(NOON)
    declare("new", aliases=["old"])
    run_sync(NOON + minutes(1))
    heartbeat("new")
    declare("old")

    done = sync.sync(NOON + minutes(2), kind="serve")

    assert (done.created, Entry.objects.get().name) == ([], "new")
    assert done.problems == [
        "old was renamed by newer code, which a running scheduler has: it is not created again, or each of its slots "
        "would run twice. Start this process with the newer code, or stop that scheduler first"
    ]
    Heartbeat.objects.all().delete()
    assert sync.sync(NOON + minutes(3), kind="serve").created == ["old"]


def test_a_former_name_may_be_used_for_another_job():
    """Code that has both knows what it does."""
    declare("old")
    run_sync(NOON)
    declare("new", aliases=["old"])
    run_sync(NOON + minutes(1))
    heartbeat("new")
    declare("new")
    job(cron("0 5 * * *"), name="old")(lambda: 1)

    assert run_sync(NOON + minutes(2)) == {"created": ["old"], "unchanged": ["new"]}


def test_an_incident_that_ends_with_a_merge_says_so_to_the_stream(
    renamed, led, caplog, django_capture_on_commit_callbacks
):
    """A log collector that counts opened and closed ones must not be left with one that nobody knows any more."""
    caplog.set_level(logging.DEBUG, "crons.events")
    former = Entry.objects.get(name="old")
    about = {"rule": "failing", "key": f"failing:{former.pk}", "open_key": f"failing:{former.pk}", "entry": former}
    incident = Incident.objects.create(opened_at=NOON, changed_at=NOON, gone_at=NOON, **about)
    declare("new", aliases=["old"])

    with django_capture_on_commit_callbacks(execute=True):
        run_sync(NOON + minutes(183))

    incident.refresh_from_db()
    assert (incident.open_key, incident.gone_at, incident.closed_at) == (None, None, NOON + minutes(183))
    said = [
        (each.event, each.incident)
        for each in caplog.records
        if each.name == "crons.events" and hasattr(each, "incident")
    ]
    assert said == [("incident.closed", incident.pk)]
