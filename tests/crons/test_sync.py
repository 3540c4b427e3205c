"""Declarations → rows: what a sync creates, changes, renames and retires, and what it must never lose."""

from __future__ import annotations

from datetime import timedelta

import pytest

from crons import Retry, command, cron, entry, every, job, ledger
from crons.declarations import sync
from crons.declarations.entries import reschedule as reschedule_entry
from crons.declarations.retiring import Retire
from crons.exceptions import InvalidSchedule, Refused
from crons.jobs import registry
from crons.models import AuditEvent, Entry, Range, Run
from crons.schedules import FAR_FUTURE
from crons.verdicts import Outcome
from tests.crons.conftest import NOON, minutes
from tests.crons.test_garbled_rows import GARBLED, garble

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nothing_else_declared(settings):
    """Only what the test declares."""
    registry.clear()
    settings.CRONJOBS = ()
    settings.CRONS = {}


def declare(schedule, name="report", **options):
    """Declare a job of that name, anew if there is one."""
    registry.jobs.pop(name, None)
    registry.entries.pop(name, None)

    @job(schedule, name=name, **options)
    def body(region: str = "") -> None:
        """Report."""

    return body


def run_sync(now, retire=Retire.FEW):
    """Sync at *now*, and return what was done as a dict without the empty parts."""
    done = sync.sync(now, retire=retire, by="ann")
    return {name: value for name, value in vars(done).items() if value}


def test_a_new_declaration_counts_from_now():
    """A job deployed at noon owes nothing for the morning."""
    declare(cron("0 * * * *"))

    assert run_sync(NOON + minutes(30)) == {"created": ["report"]}
    row = Entry.objects.get()
    assert (row.first_seen_at, row.accounted_until) == (NOON + minutes(30), NOON + minutes(30))
    assert row.wake_at == NOON + minutes(60)
    assert run_sync(NOON + minutes(31)) == {"unchanged": ["report"]}


def test_a_changed_schedule_closes_the_account():
    """What fell due under the old text is recorded under the old text; counting starts anew."""
    declare(cron("0 * * * *"))
    run_sync(NOON)
    declare(cron("*/10 * * * *"))

    assert run_sync(NOON + minutes(75)) == {"changed": ["report"]}

    assert [run.slot_at for run in Run.objects.all()] == [NOON + minutes(60)]
    row = Entry.objects.get()
    assert (row.schedule, row.accounted_until, row.wake_at) == ("*/10 * * * *", NOON + minutes(75), NOON + minutes(80))


def test_a_changed_policy_applies_from_now():
    """Slots that are overdue at the change are judged by the rules of their time."""
    declare(cron("0 * * * *"), catch_up="all")
    run_sync(NOON)
    declare(cron("0 * * * *"), catch_up="none")

    run_sync(NOON + minutes(125))

    assert Run.objects.count() == 2
    assert Entry.objects.get().policy["catch_up"] == "none"


def test_an_alias_carries_the_history_over():
    """A rename keeps the account: no slot is forgotten, none is run twice."""
    declare(cron("0 * * * *"), name="old_name")
    run_sync(NOON)
    pk = Entry.objects.get().pk
    registry.clear()
    declare(cron("0 * * * *"), name="new_name", aliases=("old_name",))

    assert run_sync(NOON + minutes(5)) == {"renamed": ["new_name"]}
    row = Entry.objects.get()
    assert (row.pk, row.name, row.job, row.accounted_until) == (pk, "new_name", "new_name", NOON)


@pytest.mark.parametrize("written", [True, False], ids=["with its key", "recorded before keys were kept"])
def test_a_retry_keeps_its_key_over_a_rename(led, written):
    """What happens once for each key must not happen again because somebody found a better name."""
    declare(cron("0 * * * *"), name="old_name", retry=Retry(3))
    run_sync(NOON)
    led.record(NOON + minutes(60))
    led.finish(led.begin(NOON + minutes(60))[0], NOON + minutes(60), Outcome.FAILED)
    if not written:
        Run.objects.update(effect_key="")
    registry.clear()
    declare(cron("0 * * * *"), name="new_name", aliases=("old_name",), retry=Retry(3))
    run_sync(NOON + minutes(61))

    again = led.begin(NOON + minutes(90))[0]

    assert (again.entry, again.number) == ("new_name", 2)
    assert again.key == f"old_name@{NOON + minutes(60):%Y-%m-%dT%H:%M:%S}Z"


def test_what_is_asked_for_keeps_its_key_over_a_rename(led):
    """A manual run too, and the message of one that a worker begins."""
    declare(cron("0 * * * *"), name="old_name", executor="celery")
    run_sync(NOON)
    ledger.request("old_name", NOON, "api", key="mine")
    registry.clear()
    declare(cron("0 * * * *"), name="new_name", aliases=("old_name",), executor="celery")
    run_sync(NOON + minutes(1))

    (message,) = ledger.send(NOON + minutes(1), {"celery": 1})

    assert (message.entry, message.key) == ("new_name", "old_name#mine")


def test_what_nobody_declares_is_retired_not_deleted():
    """Its past is recorded, its history stays, and it never wakes."""
    declare(cron("0 * * * *"))
    run_sync(NOON)
    registry.clear()

    assert run_sync(NOON + minutes(61)) == {"retired": ["report"]}
    row = Entry.objects.get()
    assert (row.retired_at, row.wake_at) == (NOON + minutes(61), FAR_FUTURE)
    assert [run.slot_at for run in Run.objects.all()] == [NOON + minutes(60)]


def test_while_a_cron_module_fails_nothing_of_code_is_retired(monkeypatch):
    """Its jobs are not gone; a retired entry would have no slots, and so no verdicts, until it is mended."""
    declare(cron("0 * * * *"))
    run_sync(NOON)
    registry.clear()
    monkeypatch.setattr(registry, "broken", {"stock.cron": "NameError: name 'x' is not defined"})

    assert run_sync(NOON + minutes(5)) == {
        "problems": ["stock.cron cannot be imported: NameError: name 'x' is not defined."]
    }
    assert Entry.objects.get().retired_at is None


def test_what_waits_of_a_retired_entry_gets_its_verdict(led):
    """No process knows the job any more: what waits would stand as due for ever, a slot without a verdict."""
    declare(cron("0 * * * *"))
    run_sync(NOON)
    led.record(NOON + minutes(60))
    registry.clear()

    run_sync(NOON + minutes(61))

    run = Run.objects.get()
    assert (run.state, run.verdict, run.detail) == ("done", "cancelled", "nobody declares the entry any more")


def test_a_run_going_on_outlives_its_retired_entry(led):
    """A release that still has the job may be finishing it."""
    declare(cron("0 * * * *"))
    run_sync(NOON)
    led.record(NOON + minutes(60))
    begun = led.begin(NOON + minutes(60))[0]
    registry.clear()

    run_sync(NOON + minutes(61))

    assert led.finish(begun, NOON + minutes(62))
    assert Run.objects.get().verdict == "succeeded"


def test_a_retired_entry_cannot_be_run_by_hand():
    """Nothing would ever begin it."""
    declare(cron("0 * * * *"))
    run_sync(NOON)
    registry.clear()
    run_sync(NOON + minutes(1))

    with pytest.raises(Refused, match="'report' is retired since 2026-03-02 12:01:00 UTC"):
        ledger.request("report", NOON + minutes(2), "api")


def test_a_retired_entry_that_comes_back_has_no_hole():
    """Nothing was to run while nobody declared it, and the account says so, by the schedule of that time."""
    declare(cron("0 * * * *"))
    run_sync(NOON)
    registry.clear()
    run_sync(NOON + minutes(1))
    declare(cron("*/10 * * * *"))

    assert run_sync(NOON + timedelta(days=2, minutes=1)) == {"changed": ["report"]}
    row = Entry.objects.get()
    assert (row.retired_at, row.accounted_until) == (None, NOON + timedelta(days=2, minutes=1))
    assert row.wake_at == NOON + timedelta(days=2, minutes=10)
    assert Run.objects.count() == 0
    found = Range.objects.get()
    assert (found.first_at, found.last_at) == (NOON + minutes(60), NOON + timedelta(days=2))
    assert (found.count, found.verdict, found.reason) == (48, "skipped", "retired")


def test_a_long_retirement_is_counted_not_walked_through(django_assert_max_num_queries):
    """Three years of seconds are one row, and no hundred million steps."""
    declare(every(seconds=1))
    run_sync(NOON)
    registry.clear()
    run_sync(NOON)
    declare(every(seconds=1))

    with django_assert_max_num_queries(20):
        run_sync(NOON + timedelta(days=1000))

    assert [each.count for each in Range.objects.all()] == [1000 * 86400]


def test_a_retired_entry_whose_texts_cannot_be_read_comes_back():
    """What it had no account of meanwhile is written off under the text that is declared now."""
    declare(cron("0 * * * *"))
    run_sync(NOON)
    registry.clear()
    run_sync(NOON + minutes(1))
    Entry.objects.update(schedule="61 * * * *")
    declare(cron("0 * * * *"))

    run_sync(NOON + minutes(121))

    assert [(each.count, each.reason) for each in Range.objects.all()] == [(2, "retired")]


def test_entries_made_by_people_are_left_alone():
    """A sync knows its own sources only."""
    Entry.objects.create(
        name="by_hand", job="report", source="admin", zone="UTC", first_seen_at=NOON, accounted_until=NOON
    )

    run_sync(NOON)

    assert Entry.objects.get().retired_at is None


def test_a_parked_entry_gets_another_chance():
    """Once the declaration is mended, the slots since then are accounted for under it."""
    declare(cron("0 * * * *"))
    run_sync(NOON)
    Entry.objects.update(schedule="61 * * * *", parked_reason="minute is 61", wake_at=FAR_FUTURE)

    assert run_sync(NOON + minutes(90)) == {"changed": ["report"]}
    row = Entry.objects.get()
    assert (row.parked_reason, row.schedule) == ("", "0 * * * *")
    assert row.accounted_until == NOON
    assert row.wake_at == NOON + minutes(60)


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"overrides": {"timeout": "x"}}, "cannot be read"),
        ({"overrides": {"schedule": "x"}, "schedule": "x"}, "'x'"),
        ({"overrides": {"schedule": "0 * * * *", "zone": "Mars/X"}, "zone": "Mars/X"}, "Mars/X"),
    ],
    ids=["rule", "schedule", "zone"],
)
def test_a_parked_entry_keeps_nothing_else_from_being_written(columns, why):
    """One row ended `crons sync` and `crons serve`: no new job was created, and no message named the row."""
    declare(cron("0 * * * *"))
    run_sync(NOON)
    Entry.objects.update(**columns)
    ledger.record(NOON + minutes(60), "tick")
    kept = Entry.objects.values("schedule", "zone", "overrides", "parked_reason", "wake_at", "version")
    parked = kept.get()
    declare(cron("0 * * * *"), name="fresh")

    done = run_sync(NOON + minutes(61))

    (problem,) = done.pop("problems")
    assert done == {"created": ["fresh"]}
    assert problem.startswith("report: ")
    assert why in problem
    assert kept.get(name="report") == parked
    assert why in parked["parked_reason"]


@pytest.mark.parametrize("text", ["[1]", "null"])
@pytest.mark.parametrize("is_parked", [True, False])
def test_overrides_that_cannot_be_read_are_mended(text, is_parked):
    """`crons health` says to sync; nobody can read from them what a person had said, so what is declared holds."""
    declare(cron("0 * * * *"))
    run_sync(NOON)
    garble(Entry.objects.get(), "overrides", text)
    if is_parked:
        ledger.record(NOON + minutes(60), "tick")

    assert run_sync(NOON + minutes(61)) == {"changed": ["report"]}

    row = Entry.objects.get()
    assert (row.overrides, row.parked_reason) == ({}, "")
    event = AuditEvent.objects.get()
    assert (event.verb, event.subject, event.actor) == ("mend", "report", "ann")
    assert (event.before, event.after) == ({"overrides": text}, {"overrides": {}})
    ledger.record(NOON + minutes(61), "tick")
    assert [run.slot_at for run in Run.objects.all()] == [NOON + minutes(60)]


@pytest.mark.parametrize("column", ["args", "policy", "tags"])
def test_a_garbled_row_that_is_not_parked_yet_is_mended(column):
    """What stands in for it is empty: where nothing was declared, the row was called unchanged."""
    declare(cron("0 * * * *"))
    run_sync(NOON)
    garble(Entry.objects.get(), column, "5")

    assert run_sync(NOON + minutes(1)) == {"changed": ["report"]}

    assert run_sync(NOON + minutes(1)) == {"unchanged": ["report"]}


@pytest.mark.parametrize("fate", ["declared", "renamed", "merged", "retired", "back"])
def test_a_sync_gets_past_every_garbled_row(fate):
    """Whatever becomes of the entry: only rules that a person may have changed are left for somebody to mend."""
    names = [f"bad{place:03}" for place in range(len(GARBLED))]
    for name in names:
        declare(cron("0 * * * *"), name=name)
    run_sync(NOON)
    if fate == "back":
        registry.clear()
        run_sync(NOON + minutes(1), Retire.ALL)
    if fate == "merged":
        for name in names:
            declare(cron("0 * * * *"), name=f"new{name}")
        run_sync(NOON + minutes(1))
    for name, (column, text) in zip(names, GARBLED, strict=True):
        for row in Entry.objects.filter(name__in=[name, f"new{name}"]):
            garble(row, column, text)
    ledger.record(NOON + minutes(60), "tick")
    if fate != "back":
        registry.clear()
    for name in names if fate != "retired" else ():
        aliased = {"name": f"new{name}", "aliases": [name]} if fate in ("renamed", "merged") else {"name": name}
        declare(cron("0 * * * *"), **aliased)
    declare(cron("0 * * * *"), name="good")

    done = run_sync(NOON + minutes(61), Retire.ALL)

    sync.replan_changed_zones()
    assert done["created"] == ["good"]
    unmended = {problem.partition(":")[0].removeprefix("new") for problem in done.get("problems", ())}
    assert {GARBLED[names.index(name)][0] for name in unmended} <= {"overrides"}
    deeds = ("changed", "unchanged", "renamed", "retired")
    written = {name.removeprefix("new") for deed in deeds for name in done.get(deed, ())} - {"good"}
    assert written == {*names} - unmended
    retired = {"retired": {*names}, "back": unmended}.get(fate, set())
    assert set(Entry.objects.exclude(retired_at=None).values_list("name", flat=True)) == retired
    assert "renames" not in done


def test_a_pause_survives_a_deploy():
    """What a person said holds until a person says otherwise."""
    declare(cron("0 * * * *"))
    run_sync(NOON)
    ledger.pause("report", NOON, by="dana", reason="audit")
    declare(every(minutes=30))

    run_sync(NOON + minutes(61))

    row = Entry.objects.get()
    assert (row.paused_at, row.pause_reason) == (NOON, "audit")
    assert [(r.count, r.verdict, r.reason) for r in Range.objects.all()] == [(1, "skipped", "paused")]


def test_one_job_may_have_several_entries():
    """The same job for two regions: two rows, two histories, each with its arguments."""
    declare(None)
    entry("report_eu", "report", cron("0 6 * * *", zone="Europe/Berlin"), args={"region": "eu"})
    entry("report_us", "report", cron("0 6 * * *", zone="America/New_York"), args={"region": "us"})

    run_sync(NOON)

    rows = Entry.objects.exclude(name="report").order_by("name").values_list("name", "job", "zone", "args")
    assert list(rows) == [
        ("report_eu", "report", "Europe/Berlin", {"region": "eu"}),
        ("report_us", "report", "America/New_York", {"region": "us"}),
    ]
    assert Entry.objects.get(name="report").wake_at == FAR_FUTURE


def test_management_commands_are_declared_in_a_line():
    """command(…) needs no function."""
    command("clearsessions", schedule=cron("@daily"), owner="ops")

    run_sync(NOON)

    row = Entry.objects.get()
    assert (row.name, row.schedule, row.owner) == ("clearsessions", "@daily", "ops")


def test_new_time_zone_data_plans_anew():
    """A wake-up that was stored under old rules may be wrong by an hour."""
    declare(cron("0 6 * * *", zone="Europe/Berlin"))
    run_sync(NOON)
    Entry.objects.update(zone_hash="of last year's data")

    assert sync.replan_changed_zones() == ["Europe/Berlin"]
    assert Entry.objects.get().wake_at is None
    assert sync.replan_changed_zones() == []


def reschedule(now, text, zone="", reason=""):
    """Have the report fall due as Ada says."""
    return reschedule_entry("report", now, text=text, zone=zone, by="ada", reason=reason)


def test_a_persons_schedule_closes_the_account():
    """What fell due under the declared text is recorded under it; then the person's counts."""
    declare(cron("0 * * * *"))
    run_sync(NOON)

    row = reschedule(NOON + minutes(70), "30 9 * * *", "Europe/Berlin", "the office opens later")

    assert [run.slot_at for run in Run.objects.all()] == [NOON + minutes(60)]
    assert (row.schedule, row.zone, row.wake_at) == ("30 9 * * *", "Europe/Berlin", NOON + timedelta(hours=20.5))
    [event] = AuditEvent.objects.all()
    assert (event.verb, event.subject, event.actor, event.reason) == (
        "reschedule",
        "report",
        "ada",
        "the office opens later",
    )
    assert event.before == {"schedule": "0 * * * *", "zone": "UTC"}
    assert event.after == {"schedule": "30 9 * * *", "zone": "Europe/Berlin"}


def test_a_persons_schedule_stands_over_later_declarations_until_it_is_dropped():
    """A deploy at night must not move what somebody moved by hand in the evening."""
    declare(cron("0 * * * *"))
    run_sync(NOON)
    reschedule(NOON, "30 9 * * *")
    assert run_sync(NOON) == {"unchanged": ["report"]}

    declare(cron("15 * * * *"))
    assert run_sync(NOON) == {"changed": ["report"]}
    row = Entry.objects.get()
    assert (row.schedule, row.overrides["declared"]) == ("30 9 * * *", "15 * * * *")

    row = reschedule(NOON, None)

    assert (row.schedule, row.zone, row.overrides) == ("15 * * * *", "UTC", {})
    assert run_sync(NOON) == {"unchanged": ["report"]}


def test_a_declaration_that_says_what_a_person_said_ends_the_override():
    """Then there is nothing left to stand over."""
    declare(cron("0 * * * *"))
    run_sync(NOON)
    reschedule(NOON, "30 9 * * *")
    declare(cron("30 9 * * *"))

    assert run_sync(NOON) == {"changed": ["report"]}

    assert Entry.objects.get().overrides == {}


def test_a_schedule_that_cannot_be_read_changes_nothing():
    """Nor is it audited, nor that of a retired entry."""
    declare(cron("0 * * * *"))
    run_sync(NOON)

    with pytest.raises(InvalidSchedule, match="61"):
        reschedule(NOON, "61 * * * *")
    registry.clear()
    run_sync(NOON)
    with pytest.raises(Refused, match="'report' is retired since 2026-03-02 12:00:00 UTC"):
        reschedule(NOON, "30 9 * * *")

    assert Entry.objects.get().schedule == "0 * * * *"
    assert [event.verb for event in AuditEvent.objects.all()] == ["retire"]
