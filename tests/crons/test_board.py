"""The first page's questions, asked of rows."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext

from crons import job, ledger
from crons.exceptions import LedgerUnavailable
from crons.jobs import registry
from crons.models import Attempt, Entry, Heartbeat, Incident, Range, Run
from crons.schedules import FAR_FUTURE
from crons.testing import clock
from crons.verdicts import MEANINGS
from crons.watch.waiting import waiting
from crons.web import overview
from tests.crons.conftest import NOON, minutes
from tests.crons.filling import fill, full_scans, plan

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


def run_of(entry, at, **fields):
    """A run that is over, unless *fields* say otherwise."""
    given = {"state": "done", "verdict": "succeeded", "slot_at": at, "planned_at": at, "recorded_at": at, **fields}
    return Run.objects.create(entry=entry, trigger="serve", **given)


def attempt_of(run, at, **fields):
    """An attempt at *run* that began then."""
    where = {"executor": "process", "instance": "i", "host": "web1", "pid": 7, "boot_id": "b"}
    return Attempt.objects.create(run=run, number=1, token=uuid.uuid4(), begun_at=at, **where, **fields)


def beat(now, **fields):
    """A scheduler on another machine: this one's kernel says nothing of it."""
    given = {"beat_at": now, "expected_by": now + minutes(1), "started_at": now - minutes(60), **fields}
    return Heartbeat.objects.create(instance=uuid.uuid4().hex, kind="serve", host="web1", pid=7, boot_id="b", **given)


def looked(entry, at, **fields):
    """Something planned *entry* then."""
    Entry.objects.filter(pk=entry.pk).update(accounted_until=at, wake_at=at + minutes(5), **fields)


def test_nothing_is_wrong_where_everything_is_planned(make_entry):
    """A page that cries wolf is not read."""
    looked(make_entry(), NOON)

    seen = overview.look(DAY, NOON)

    assert seen.is_well
    assert (seen.problems.rows, seen.did_not_run.rows, seen.running.rows) == ([], [], [])
    assert [slot.at for slot in seen.upcoming.rows] == [NOON + minutes(5)]


def test_a_stopped_clock_holds_for_the_page(make_entry):
    """The page asked the database for the time, so that a day played in a test lay in the page's past."""
    looked(make_entry(), NOON)

    with clock.at(NOON):
        seen = overview.look(DAY)

    assert seen.as_of == NOON
    assert [slot.at for slot in seen.upcoming.rows] == [NOON + minutes(5)]


def test_cron_module_that_fails_is_wrong(make_entry, monkeypatch):
    """Its jobs wait, and no row says why."""
    looked(make_entry(), NOON)
    monkeypatch.setattr(registry, "broken", {"stock.cron": "NameError: name 'x' is not defined"})

    seen = overview.look(DAY, NOON)

    assert [(each.kind, each.text, each.entry) for each in seen.problems.rows] == [
        ("broken", "no job of stock.cron is begun here: NameError: name 'x' is not defined", "")
    ]
    assert not seen.is_well


def test_silence_of_all_triggers_is_said_with_its_moment(make_entry):
    """Nothing else on the page is true any more, so this stands first."""
    looked(make_entry("a"), NOON - minutes(90))
    looked(make_entry("b"), NOON - minutes(60))

    seen = overview.look(DAY, NOON)

    assert seen.unwatched_since == NOON - minutes(60)
    assert [(each.kind, each.entry) for each in seen.problems.rows] == [("overdue", "a"), ("overdue", "b")]
    assert not seen.is_well


def test_one_late_entry_is_not_silence(make_entry):
    """Where another entry was planned just now, something does look."""
    looked(make_entry("a"), NOON - minutes(90))
    looked(make_entry("b"), NOON)

    seen = overview.look(DAY, NOON)

    assert seen.unwatched_since is None
    assert [each.entry for each in seen.problems.rows] == ["a"]


def test_declared_entry_that_nothing_ever_planned_is_overdue(make_entry):
    """A newcomer who starts no trigger must not read that nothing is wrong."""
    make_entry(since=NOON - minutes(10))
    Entry.objects.update(wake_at=None)

    seen = overview.look(DAY, NOON)

    assert [(each.kind, each.text) for each in seen.problems.rows] == [
        ("overdue", "is declared, and nothing has looked yet")
    ]
    assert seen.unwatched_since == NOON - minutes(10)


def test_scheduler_that_fell_silent_is_wrong_and_one_that_beats_is_named(make_entry):
    """A dead process says nothing by itself."""
    looked(make_entry(), NOON)
    beat(NOON - minutes(30), expected_by=NOON - minutes(29))
    alive = beat(NOON)

    seen = overview.look(DAY, NOON)

    assert [(each.kind, each.text) for each in seen.problems.rows] == [("scheduler", "serve on web1 (pid 7) is silent")]
    assert seen.schedulers == [alive]


def test_parked_entries_and_open_incidents_are_wrong(make_entry):
    """Each with where to read on; closed incidents are history."""
    parked, failing = make_entry("parked"), make_entry("failing")
    looked(failing, NOON)
    Entry.objects.filter(pk=parked.pk).update(parked_reason="the zone 'Mars' is unknown", wake_at=FAR_FUTURE)
    run = run_of(failing, NOON - minutes(5), verdict="failed")
    about = {"rule": "failing", "entry": failing, "run": run, "opened_at": NOON, "changed_at": NOON}
    Incident.objects.create(open_key="failing:1", summary="failed: boom", count=3, **about)
    Incident.objects.create(open_key=None, closed_at=NOON, summary="failed: long ago", **about)

    seen = overview.look(DAY, NOON)

    assert [(each.kind, each.text, each.run_id) for each in seen.problems.rows] == [
        ("parked", "cannot be planned: the zone 'Mars' is unknown", None),
        ("failing", "failed: boom (3 times)", run.pk),
    ]


def test_due_runs_that_nobody_begins_are_wrong_unless_one_is_in_the_way(make_entry):
    """An overlapping run explains itself; a full pool does not."""
    stuck, busy = make_entry("stuck"), make_entry("busy")
    for entry in (stuck, busy):
        looked(entry, NOON)
        run_of(entry, NOON - minutes(10), state="due", verdict="", wake_at=NOON - minutes(10))
    run_of(busy, NOON - minutes(20), state="running", verdict="", active_key=busy.pk)

    seen = overview.look(DAY, NOON)

    [problem] = seen.problems.rows
    assert (problem.kind, problem.entry, problem.since) == ("waiting", "stuck", NOON - minutes(10))
    assert problem.text == (
        "a run waits to be begun: no place has come free, or no running process knows the job 'stuck'"
    )


def test_a_run_that_waits_for_the_broker_says_so(make_entry):
    """Who is woken by that must look at the broker, not for places in a scheduler."""
    entry = make_entry("far")
    looked(entry, NOON)
    refused = "could not be sent: OperationalError: Connection refused."
    run = run_of(entry, NOON - minutes(10), state="due", verdict="", wake_at=NOON - minutes(1), sends=4, detail=refused)

    [problem] = overview.look(DAY, NOON).problems.rows

    why = f"no worker begins it, after 4 message(s); of the last: {refused}"
    assert (problem.run_id, problem.text) == (run.pk, f"a run waits to be begun: {why}")


def test_a_run_that_nobody_sends_again_or_no_broker_takes_is_wrong_too(make_entry):
    """Into a silent broker nothing is sent any more, and what is not handed over is not counted."""
    sent, returned, fresh = make_entry("sent"), make_entry("returned"), make_entry("fresh")
    for entry in (sent, returned, fresh):
        looked(entry, NOON)
    early, now = NOON - minutes(10), {"verdict": "", "sends": 1, "wake_at": NOON}
    run_of(sent, early, state="sent", detail="sent to far", **{**now, "wake_at": NOON - minutes(5)})
    run_of(returned, early, state="due", detail="could not be sent: OSError: down", **now)
    run_of(fresh, early, state="sent", detail="sent to far", **now)

    found = {each.entry.name: each.why for each in waiting(NOON - minutes(1))}

    assert found == {
        "sent": "no worker begins it, after 1 message(s); of the last: sent to far",
        "returned": "no worker begins it, after 1 message(s); of the last: could not be sent: OSError: down",
    }


def test_runs_of_one_entry_that_wait_do_not_hide_another(make_entry, monkeypatch):
    """A backlog of hundreds is one line, and says so where not all of it was read."""
    many, one = make_entry("many"), make_entry("one")
    for n in range(4):
        run_of(many, NOON - minutes(20 + n), state="due", verdict="", wake_at=NOON - minutes(20 + n))
    first = run_of(one, NOON - minutes(10), state="due", verdict="", wake_at=NOON - minutes(10))

    found = [(each.entry.name, each.count, each.at_least) for each in waiting(NOON)]
    monkeypatch.setattr("crons.watch.waiting.COUNTED", 3)
    cut = [(each.entry.name, each.count, each.at_least) for each in waiting(NOON)]

    assert found == [("many", 4, False), ("one", 1, False)]
    assert cut == [("many", 3, True), ("one", 1, False)]
    assert waiting(first.wake_at)[0].entry.name == "many"


def test_what_did_not_run_is_grouped_and_says_why(make_entry):
    """A job that fails each minute must not hide the one that was missed once; the worst stands first."""
    flapping, nightly = make_entry("flapping"), make_entry("nightly")
    runs = [run_of(flapping, NOON - minutes(n), verdict="failed", detail=f"E{n}") for n in (30, 20, 10)]
    run_of(flapping, NOON - minutes(5))
    skipped = {"verdict": "skipped", "reason": "paused", "count": 4, "trigger": "tick", "recorded_at": NOON}
    Range.objects.create(entry=nightly, first_at=NOON - minutes(99), last_at=NOON - minutes(2), **skipped)
    missed = {**skipped, "verdict": "missed", "reason": "catch_up", "count": 12}
    Range.objects.create(entry=nightly, first_at=NOON - 9 * DAY, last_at=NOON - minutes(200), **missed)

    seen = overview.look(DAY, NOON).did_not_run.rows

    assert [(each.entry.name, each.verdict, each.reason, each.count) for each in seen] == [
        ("flapping", "failed", "", 3),
        ("nightly", "missed", "catch_up", 12),
        ("nightly", "skipped", "paused", 4),
    ]
    assert (seen[0].run_id, seen[0].detail, seen[0].first_at) == (runs[2].pk, "E10", NOON - minutes(30))
    assert seen[1].meaning == MEANINGS["catch_up"]


def test_window_says_how_far_back_it_asks(make_entry):
    """Last week's trouble is asked for, not shown unasked."""
    run_of(make_entry(), NOON - 3 * DAY, verdict="lost")

    assert overview.look(DAY, NOON).did_not_run.rows == []
    assert [each.verdict for each in overview.look(7 * DAY, NOON).did_not_run.rows] == ["lost"]


def test_attempts_that_go_on_are_shown_and_ended_ones_not(make_entry):
    """A lease is what tells them apart, whatever the run says."""
    entry = make_entry()
    run = run_of(entry, NOON, state="running", verdict="")
    going = attempt_of(run, NOON, lease_until=NOON + minutes(1))
    attempt_of(run_of(entry, NOON - minutes(5)), NOON - minutes(5), outcome="succeeded", ended_at=NOON)

    assert [each.pk for each in overview.look(DAY, NOON).running.rows] == [going.pk]


def test_long_lists_are_cut_and_counted(make_entry):
    """A page of ten thousand lines answers nothing; a silent cut would be a lie."""
    for n in range(overview.SHOWN + 3):
        run_of(make_entry(f"job{n:03}"), NOON - minutes(n), verdict="failed")

    listed = overview.look(DAY, NOON).did_not_run

    assert (len(listed.rows), listed.more, listed.at_least) == (overview.SHOWN, 3, False)


def test_cut_says_at_least_where_not_all_was_read(make_entry, monkeypatch):
    """More were there than were read."""
    monkeypatch.setattr(overview, "READ", 4)
    entry = make_entry()
    for n in range(6):
        run_of(entry, NOON - minutes(n), verdict="failed")

    listed = overview.look(DAY, NOON).did_not_run

    assert (listed.rows[0].count, listed.at_least) == (4, True)


def test_time_is_the_databases_own(make_entry):
    """The machine that shows the page may be wrong about the time."""
    looked(make_entry(), NOON)

    first = overview.look(DAY).as_of
    second = overview.look(DAY).as_of

    assert first.tzinfo is not None
    assert NOON < first <= second


def test_database_that_does_not_answer_is_said(monkeypatch):
    """Where nothing can be told, nothing may look well."""

    def fail(*args):
        raise OperationalError("gone")

    monkeypatch.setattr(overview, "_look", fail)

    with pytest.raises(LedgerUnavailable, match=r"^the database did not answer: gone$"):
        overview.look(DAY, NOON)


def test_board_costs_ten_statements_and_no_scan_with_many_rows(empty_registry, make_entry):
    """The page is looked at when everything is slow already."""
    job(None, name="job1")(lambda: None)
    entries = [make_entry(f"job{n}") for n in range(5)]
    fill(entries, 20_000, NOON, range_hours=12)

    with CaptureQueriesContext(connection) as captured:
        seen = overview.look(7 * DAY, NOON)

    assert len(captured) == 10
    assert full_scans(captured) == []
    plans = "\n".join(step for query in captured.captured_queries for step in plan(query["sql"]))
    # The few that did not end well are read in order, and reading stops at the limit.
    assert "crons_run_not_well" in plans
    assert "crons_range_last" in plans
    assert seen.did_not_run.rows


def test_slots_that_are_filled_one_after_the_other_wait_well(make_entry):
    """Between two of a hole of a thousand none is going for a moment: that is no reason to wake anybody."""
    entry = make_entry()
    looked(entry, NOON)
    asked = {"state": "waiting", "verdict": "", "wake_at": NOON - minutes(30), "asked_at": NOON - minutes(30)}
    for place in range(3):
        run_of(entry, NOON - minutes(60 - place), kind="backfill", **asked)
    done = run_of(entry, NOON - minutes(70))
    attempt = attempt_of(done, NOON - minutes(3), ended_at=NOON - timedelta(seconds=20), outcome="succeeded")

    served = [each.kind for each in overview.look(DAY, NOON).problems.rows]
    Attempt.objects.filter(pk=attempt.pk).update(ended_at=NOON - minutes(2))
    [stuck] = overview.look(DAY, NOON).problems.rows

    assert served == []
    assert (stuck.kind, stuck.entry, stuck.since) == ("waiting", entry.name, NOON - minutes(30))
    assert stuck.text.startswith("3 runs wait to be begun: no place has come free")


def test_what_was_retired_in_the_last_week_is_shown(make_entry):
    """What is missing does not show by itself, and a sync may have been a mistake."""
    for name, days in (("just now", 0), ("lately", 7), ("long ago", 8)):
        make_entry(name.replace(" ", "_"))
        Entry.objects.filter(name=name.replace(" ", "_")).update(retired_at=NOON - days * DAY, wake_at=FAR_FUTURE)

    seen = overview.look(DAY, NOON)

    assert [each.name for each in seen.retired.rows] == ["just_now", "lately"]
    assert seen.is_well


def test_others_runs_that_wait_take_no_place_from_what_may_be_seen(make_entry):
    """Of ten thousand entries whose runs wait the first were read, and then a team's were left of them: none."""
    for number in range(3):
        entry = make_entry(f"entry{number}")
        run_of(entry, NOON - minutes(20 - number), state="due", verdict="", wake_at=NOON - minutes(20 - number))

    def of_the_last(rows):
        return rows.filter(name="entry2") if rows.model is Entry else rows

    assert [run.entry.name for run in ledger.first_late(NOON, 100, 1, of_the_last)] == ["entry2"]
    assert [run.entry.name for run in ledger.first_late(NOON, 100, 9, lambda rows: rows.none())] == []
    assert len(ledger.first_late(NOON, 100, 2, lambda rows: rows)) == 2
