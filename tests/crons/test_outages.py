"""An outage: nothing looks at the clock for a while. What it cost is told by whoever looks first afterwards, once."""

from __future__ import annotations

import json

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from crons import ledger, watch
from crons.models import Delivery, Entry, Incident, Range, Run
from crons.presentation import describe_run
from crons.verdicts import Outcome
from tests.crons.cli.conftest import call_crons
from tests.crons.conftest import NOON, minutes
from tests.crons.filling import full_scans
from tests.crons.growing import analyze, grow_done, grow_ranges, shrink
from tests.crons.test_incidents import at_once

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def admins(settings):
    """Somebody reads mail."""
    settings.ADMINS = ["ops@example.com"]


@pytest.fixture
def three(make_entry):
    """Three entries whose slots of an hour are twenty; accounted for until noon."""
    for name, schedule in (("a", "*/5 * * * *"), ("b", "*/15 * * * *"), ("c", "*/15 * * * *")):
        make_entry(name, schedule)


@pytest.fixture
def finish(led):
    """Begin what is due at a minute after noon, end it, and let the watch look."""

    def at(minute, outcome=Outcome.SUCCEEDED, room=10):
        begun = led.begin(NOON + minutes(minute), room)
        for each in begun:
            led.finish(each, NOON + minutes(minute), outcome, "" if outcome == Outcome.SUCCEEDED else "ValueError: x")
        watch.inspect(NOON + minutes(minute))
        return begun

    return at


def told():
    return [(each.notice["change"], each.subject) for each in Delivery.objects.order_by("pk")]


def outages():
    return list(Incident.objects.filter(rule="outage").order_by("pk"))


def test_an_hour_without_a_look_is_one_incident_and_its_end_says_what_it_cost(led, three, finish):
    """After an hour's outage nobody had been told of 17 missed slots."""
    led.record(NOON + minutes(62))
    watch.inspect(NOON + minutes(62))
    watch.inspect(NOON + minutes(62.5))
    finish(63)
    watch.inspect(NOON + minutes(64))

    assert told() == [
        ("opened", "outage: 17 slots missed, 3 still to be made up for"),
        ("closed", "outage over: 17 slots missed, 3 made up for"),
    ]
    closed = Delivery.objects.order_by("-pk")[0].notice
    assert closed["facts"] == [
        ["from", "2026-03-02 12:05:00 UTC"],
        ["until", "2026-03-02 13:02:00 UTC, 57 min"],
    ]
    assert closed["text"] == (
        "Nothing recorded in time what fell due:\n\n"
        "  a: 12 slots fell due\n  b: 4 slots fell due\n  c: 4 slots fell due"
    )
    assert closed["next_step"] == (
        "Why: manage.py crons why a 2026-03-02T12:05Z ; "
        "run what was missed after all: manage.py crons backfill NAME --since 2026-03-02T12:05Z"
    )
    assert (closed["severity"], closed["since"]) == ("critical", "2026-03-02T12:05:00+00:00")
    [incident] = outages()
    assert (incident.entry, incident.closed_at, incident.count) == (None, NOON + minutes(63), 17)


def test_an_outage_of_one_entry_is_its_owners(led, make_entry, finish):
    """Its zone's data were missing, or it was parked: all others ran."""
    make_entry("backup")
    Entry.objects.update(owner="ann", tags=["db"])
    led.record(NOON + minutes(62))
    watch.inspect(NOON + minutes(62))

    notice = Delivery.objects.get().notice
    assert notice["subject"] == "outage of backup: 11 slots missed, 1 still to be made up for"
    assert (notice["entry"], notice["owner"], notice["tags"]) == ("backup", "ann", ["db"])


def test_what_left_nothing_to_make_up_for_is_told_once(led, make_entry):
    """It began and is over: two mails in one minute tell no more than one."""
    make_entry("a", catch_up="none")
    led.record(NOON + minutes(62))
    watch.inspect(NOON + minutes(62))

    assert told() == [("closed", "outage over of a: 12 slots missed, 0 made up for")]


def test_what_was_made_up_for_without_success_is_said(led, three, finish):
    """Three were begun late: one succeeded, one failed, one was replaced by its next slot before it began."""
    led.record(NOON + minutes(62))
    watch.inspect(NOON + minutes(62))
    finish(63, Outcome.FAILED, room=1)
    finish(63, room=1)
    for minute in (65, 70, 75):
        led.record(NOON + minutes(minute))
    watch.inspect(NOON + minutes(75))

    over = [subject for change, subject in told() if change == "closed" and "outage" in subject]
    assert over == ["outage over: 18 slots missed, 1 made up for, 1 begun late without success"]


def test_a_run_that_failed_before_anybody_looked_counts_once(led, three, finish):
    """Tick ends with its look: by then what it has made up for is over, and may have failed."""
    led.record(NOON + minutes(62))
    finish(62, Outcome.FAILED)

    assert ("closed", "outage over: 17 slots missed, 0 made up for, 3 begun late without success") in told()
    assert len(outages()) == 1


def test_slots_missed_time_and_again_are_one_incident(led, make_entry, finish):
    """A tick each five minutes with a job of each minute misses four of five, for ever."""
    make_entry("a", "* * * * *")
    for minute in range(5, 120, 5):
        led.record(NOON + minutes(minute))
        finish(minute)

    # The newest slot falls due with the tick, and is none to make up for.
    assert told() == [
        ("closed", "outage over of a: 4 slots missed, 0 made up for"),
        ("worsened", "outage again of a: 8 slots missed, 0 made up for"),
    ]
    led.record(NOON + minutes(116))
    watch.inspect(NOON + minutes(177))
    assert len(outages()) == 1


def test_what_is_missed_on_purpose_or_recorded_in_time_is_no_outage(led, make_entry, finish):
    """Slots of a pause are skipped; a slot that is looked at within the grace is on time."""
    make_entry("a")
    paused = make_entry("b")
    Entry.objects.filter(pk=paused.pk).update(paused_at=NOON, paused_by="ann")
    for minute in range(5, 65, 5):
        led.record(NOON + minutes(minute) + minutes(0.9))
        finish(minute + 0.9)

    assert Range.objects.filter(verdict="skipped").exists()
    assert outages() == []
    assert not Run.objects.exclude(late_seconds=None).exists()


def test_what_is_never_made_up_for_keeps_no_outage_open(led, three, finish):
    """Somebody paused it meanwhile: a day later the rest is told."""
    led.record(NOON + minutes(62))
    finish(62, room=2)

    watch.inspect(NOON + minutes(62 + 24 * 60 + 1))

    assert told()[-1] == ("closed", "outage over: 17 slots missed, 2 made up for, 1 still to be made up for")


def test_a_thousand_entries_are_one_incident(led, make_entry):
    """One notice, which names the first twenty."""
    for number in range(300):
        make_entry(f"job{number:03}")
    while led.record(NOON + minutes(62)).entries:
        pass
    watch.inspect(NOON + minutes(62))

    assert told() == [("opened", "outage: 3300 slots missed, 300 still to be made up for")]
    assert Delivery.objects.get().notice["text"].endswith("\n  job019: 12 slots fell due\n  … and others")


def test_it_is_not_over_while_others_still_record_it(led, three, finish):
    """A hundred thousand entries are recorded in many transactions, by several processes."""
    led.record(NOON + minutes(62))
    Entry.objects.filter(name="c").update(wake_at=NOON + minutes(15))
    finish(63)
    assert [change for change, _ in told()] == ["opened"]

    Entry.objects.filter(name="c").update(wake_at=NOON + minutes(75))
    watch.inspect(NOON + minutes(64))

    assert [change for change, _ in told()] == ["opened", "closed"]


def test_what_was_begun_late_says_so_everywhere(led, three, finish):
    """A plain "succeeded" hid that the report of noon had come at one."""
    led.record(NOON + minutes(62))
    finish(63)
    led.record(NOON + minutes(65))
    finish(65)

    late, in_time = Run.objects.filter(entry__name="a").order_by("slot_at")
    assert (late.late_seconds, in_time.late_seconds) == (180, None)
    assert (describe_run(late).text, describe_run(late).tone) == ("succeeded, 3 min late", "warn")
    assert (describe_run(in_time).text, describe_run(in_time).tone) == ("succeeded", "good")
    assert "succeeded, 3 min late" in call_crons("history", "a").out
    assert "succeeded, 3 min late" in call_crons("show", str(late.pk)).out
    rows = [json.loads(line) for line in call_crons("history", "a", "--json").out.splitlines()]
    assert [each["late_seconds"] for each in rows if each["model"] == "run"] == [None, 180]


def test_what_somebody_asks_for_again_is_not_late(led, three, finish):
    """Its slot was days ago, and that is why it is run now."""
    led.record(NOON + minutes(62))
    finish(63, Outcome.FAILED)
    run = Run.objects.filter(entry__name="a").get()
    assert run.late_seconds == 180
    ledger.retry(run.pk, NOON + minutes(90), by="ann", reason="again")
    finish(91)

    run.refresh_from_db()
    assert (run.verdict, run.late_seconds) == ("succeeded", None)


@pytest.mark.usefixtures("files_that_shrink_again")
def test_no_look_at_outages_reads_the_history(empty_registry, led, make_entry, finish):
    """It is looked at in each turn while anything is open."""
    shrink()
    for number in range(20):
        make_entry(f"entry{number}")
    led.record(NOON + minutes(62))
    grow_done(20_000, NOON)
    grow_ranges(2_000, NOON)
    # Long looked at: they are copies of what was recorded late.
    Run.objects.filter(state="done").update(inspect_at=None)

    for statistics in (False, True):
        if statistics:
            analyze()
        with CaptureQueriesContext(connection) as captured:
            watch.inspect(NOON + minutes(62))
            watch.inspect_rules(NOON + minutes(62))
        assert "\n".join(full_scans(captured)) == ""
    with CaptureQueriesContext(connection) as captured:
        watch.inspect(NOON + minutes(63))
    assert len(captured) <= 12


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_racing_schedulers_tell_once(led, three, admins):
    """All hosts come back at the same moment after a power cut."""
    now = NOON + minutes(62)

    def turn():
        led.record(now)
        watch.inspect(now)

    at_once(6, turn)
    for each in led.begin(now):
        led.finish(each, now)
    at_once(6, lambda: watch.inspect(now + minutes(1)))

    assert [subject for change, subject in told() if change == "closed"] == [
        "outage over: 17 slots missed, 3 made up for"
    ]
    assert [change for change, _ in told()] == ["opened", "closed"]
    assert len(outages()) == 1
