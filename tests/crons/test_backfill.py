"""Filling holes: each slot once, oldest first, and never at the present's expense."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connections

from crons import api, ledger
from crons.exceptions import Refused, UnknownJob
from crons.models import AuditEvent, Entry, Range, Run
from crons.verdicts import Outcome
from tests.crons.conftest import NOON, minutes

pytestmark = pytest.mark.django_db

START = NOON + minutes(1)
AT_ONE = NOON + minutes(60)


def fill(first, last, now=AT_ONE, name="heartbeat", **options):
    """Backfill one entry."""
    return ledger.backfill(name, first, last, now, by="dana", **options)


def work_off(led, now) -> list:
    """Begin and finish what there is, one after the other; return the attempts in order."""
    done = []
    while begun := led.begin(now):
        for each in begun:
            led.finish(each, now)
        done += begun
    return done


@pytest.fixture
def hole(led, make_entry):
    """An entry that nothing looked at for an hour: 12:05 to 12:55 written off, 13:00 succeeded."""
    make_entry()
    led.record(AT_ONE)
    led.finish(led.begin(AT_ONE)[0], AT_ONE)
    assert Range.objects.get().count == 11


def test_a_hole_is_filled_oldest_first(hole, led):
    """Each slot has its own key and window; those of the hole join on to each other."""
    slots = fill(START, NOON + minutes(20))

    begun = work_off(led, AT_ONE + minutes(1))

    assert slots == [NOON + minutes(5), NOON + minutes(10), NOON + minutes(15)]
    assert [(each.since, each.until, each.kind, each.number) for each in begun] == [
        (NOON, NOON + minutes(5), "backfill", 1),
        (NOON + minutes(5), NOON + minutes(10), "backfill", 1),
        (NOON + minutes(10), NOON + minutes(15), "backfill", 1),
    ]
    assert begun[0].key == "heartbeat@2026-03-02T12:05:00Z"
    assert set(Run.objects.values_list("verdict", flat=True)) == {"succeeded"}


def test_one_at_a_time_unless_overlap_is_allowed(hole, led, make_entry):
    """A job that must not run beside itself does not here either."""
    make_entry("wide", overlap="allow")
    fill(START, NOON + minutes(20))
    fill(START, NOON + minutes(20), name="wide")

    begun = led.begin(AT_ONE + minutes(1))

    assert sorted(each.entry for each in begun) == ["heartbeat", "wide", "wide", "wide", "wide"]


def test_repeating_it_adds_nothing(hole, led):
    """Also while it is worked off, and after."""
    fill(START, NOON + minutes(20))

    assert fill(START, NOON + minutes(20)) == []
    led.finish(led.begin(AT_ONE + minutes(1))[0], AT_ONE + minutes(1), Outcome.FAILED, "boom")
    assert fill(START, NOON + minutes(20), AT_ONE + minutes(2)) == [NOON + minutes(5)]
    work_off(led, AT_ONE + minutes(3))
    assert fill(START, NOON + minutes(20), AT_ONE + minutes(4)) == []
    assert Run.objects.filter(kind="backfill").count() == 3


def test_no_slot_is_counted_twice(hole):
    """What is filled leaves the range; a range that holds nothing any more goes."""
    fill(START, NOON + minutes(20))
    written_off = Range.objects.get()
    assert (written_off.count, written_off.last_at) == (8, NOON + minutes(55))

    fill(START, AT_ONE)

    assert Range.objects.count() == 0
    assert Run.objects.filter(kind="backfill").count() == 11
    kept = AuditEvent.objects.first().before["ranges"]
    assert list(kept.values()) == [
        ["2026-03-02T12:05:00Z", "2026-03-02T12:55:00Z", 11, "missed", "catch_up"],
    ]


def test_slots_of_another_schedule_stay_in_their_range(hole):
    """They were never those that are filled now: the count of what was written off must stay true."""
    Entry.objects.update(schedule="*/4 * * * *")

    assert len(fill(NOON + minutes(1), NOON + minutes(20))) == 4

    assert Range.objects.get().count == 11


def test_what_was_recorded_is_reopened_and_what_succeeded_is_left(led, make_entry):
    """A slot has one row: failed and skipped ones are tried again, no second row is made."""
    make_entry()
    led.record(NOON + minutes(5))
    led.finish(led.begin(NOON + minutes(5))[0], NOON + minutes(5), Outcome.FAILED, "boom")
    led.record(NOON + minutes(10))
    led.finish(led.begin(NOON + minutes(10))[0], NOON + minutes(10))
    failed, succeeded = Run.objects.order_by("slot_at")

    assert fill(START, NOON + minutes(11), NOON + minutes(11)) == [NOON + minutes(5)]

    failed.refresh_from_db()
    assert (failed.state, failed.kind, failed.detail) == ("waiting", "slot", "asked for again by dana: backfill")
    assert Run.objects.get(pk=succeeded.pk).ended_at == NOON + minutes(10)
    assert Run.objects.count() == 2
    event = AuditEvent.objects.get()
    assert (event.verb, event.subject, event.before["verdicts"]) == (
        "backfill",
        "heartbeat",
        {str(failed.pk): "failed"},
    )
    assert event.after == {"from": "2026-03-02T12:01:00Z", "to": "2026-03-02T12:11:00Z", "slots": 1}


def test_slots_from_before_the_entry_was_known_are_filled_too(led, make_entry):
    """A new report for last week; its first window begins at the slot before, not in the future."""
    make_entry(since=AT_ONE)

    fill(NOON, NOON + minutes(11))

    begun = work_off(led, AT_ONE + minutes(1))
    assert [(each.since, each.until) for each in begun] == [
        (NOON - minutes(5), NOON),
        (NOON, NOON + minutes(5)),
        (NOON + minutes(5), NOON + minutes(10)),
    ]


def test_what_fell_due_meanwhile_is_recorded_first(led, make_entry):
    """A slot that is filled must not be planned a moment later: the unique key would park the entry."""
    make_entry()

    slots = fill(START, NOON + minutes(16), NOON + minutes(16))

    # 12:15 is the newest, which the schedule itself brings back.
    assert slots == [NOON + minutes(5), NOON + minutes(10)]
    led.record(NOON + minutes(20))
    assert Entry.objects.get().parked_reason == ""
    assert Run.objects.get(slot_at=NOON + minutes(15)).kind == "slot"


def test_slots_that_fall_due_go_first(hole, led):
    """The present must not wait for the past."""
    fill(START, NOON + minutes(20))
    led.record(AT_ONE + minutes(5))

    order = [each.until for each in work_off(led, AT_ONE + minutes(5))]

    assert order == [AT_ONE + minutes(5), NOON + minutes(5), NOON + minutes(10), NOON + minutes(15)]


def test_a_slot_that_meets_a_filled_one_waits_and_is_not_skipped(hole, led):
    """Otherwise a day's backfill would use up the day's own slots."""
    fill(START, NOON + minutes(20))
    [filling] = led.begin(AT_ONE + minutes(1))
    led.record(AT_ONE + minutes(5))

    assert led.begin(AT_ONE + minutes(5)) == []
    assert Run.objects.get(slot_at=AT_ONE + minutes(5)).state == "due"
    led.finish(filling, AT_ONE + minutes(6))
    [next_one] = led.begin(AT_ONE + minutes(6))
    assert next_one.until == AT_ONE + minutes(5)


def test_a_thousand_slots_do_not_stand_before_others(led, make_entry):
    """One look takes a few rows; those of another entry begin all the same."""
    make_entry("minute", schedule="* * * * *", since=NOON - timedelta(days=1))
    led.record(NOON - timedelta(minutes=1))
    fill(NOON - timedelta(hours=16), NOON - timedelta(minutes=1), NOON, name="minute")
    make_entry("other")
    led.record(NOON + minutes(5))
    led.begin(NOON + minutes(5), room=1)

    names = {each.entry for each in led.begin(NOON + minutes(5), room=2)}

    assert names <= {"other", "minute"}
    assert Run.objects.filter(entry__name="other", state="running").count() == 1


def test_too_many_slots_are_refused_with_a_span_that_fits(make_entry):
    """A typing error in a year must not queue half a million runs."""
    make_entry("minute", schedule="* * * * *")
    told = []
    for days in (1, 366):
        with pytest.raises(Refused) as error:
            fill(NOON - timedelta(days=days), NOON, NOON, name="minute")
        told.append(str(error.value))

    assert told == [
        "1440 slots of 'minute' in this span have no success, and at most 1000 are filled at once: "
        "nothing was recorded. The first 1000 lie before 2026-03-02T04:40:00Z: end the span there.",
        "the span holds 527040 slots of 'minute', expected at most 100000: nothing was recorded.",
    ]
    assert Run.objects.count() == 0


def test_spans_and_entries_that_cannot_be_filled_are_refused(make_entry):
    """Each says why; nothing is recorded."""
    make_entry()
    make_entry("by_hand", schedule="")
    make_entry("gone")
    Entry.objects.filter(name="gone").update(retired_at=NOON)
    make_entry("garbled", schedule="61 * * * *")
    told = []
    for name, first, last in (
        ("heartbeat", NOON, NOON),
        ("heartbeat", NOON, AT_ONE + minutes(1)),
        ("heartbeat", NOON.replace(tzinfo=None), AT_ONE),
        ("heartbeat", datetime.min.replace(tzinfo=UTC), AT_ONE),
        ("by_hand", NOON, AT_ONE),
        ("gone", NOON, AT_ONE),
        ("garbled", NOON, AT_ONE),
    ):
        with pytest.raises(Refused) as error:
            fill(first, last, name=name)
        told.append(str(error.value))
    with pytest.raises(UnknownJob, match="Did you mean 'heartbeat'"):
        fill(NOON, AT_ONE, name="heartbeet")

    assert told[:6] == [
        "from 2026-03-02T12:00:00Z to 2026-03-02T12:00:00Z is no span: expected the earlier moment first.",
        "the span ends at 2026-03-02T13:01:00Z, which is to come: slots to come run by themselves.",
        "2026-03-02T12:00:00 has no time zone: expected an aware moment.",
        "the span begins at 0001-01-01T00:00:00+00:00: expected a moment since 1970-01-01T00:00:00Z.",
        "'by_hand' has no schedule, so it has no slots. See: manage.py crons run by_hand",
        "'gone' is retired since 2026-03-02 12:00:00 UTC: nobody declares it, so nothing would begin it.",
    ]
    assert told[6].startswith("'garbled' cannot be planned, so its slots are not known: ")
    assert (Run.objects.count(), AuditEvent.objects.count()) == (0, 0)


def test_a_dry_run_leaves_no_trace(led, make_entry):
    """Not even of the look at the account."""
    make_entry()

    slots = fill(START, NOON + minutes(11), NOON + minutes(11), dry_run=True)

    assert slots == [NOON + minutes(5)]
    assert (Run.objects.count(), Range.objects.count(), AuditEvent.objects.count()) == (0, 0, 0)
    assert Entry.objects.get().accounted_until == NOON


def test_a_pause_that_comes_later_holds_it(hole, led):
    """The way to stop a backfill for a while; what is filled during a pause is let through, as asked."""
    fill(START, NOON + minutes(20))
    Entry.objects.update(paused_at=AT_ONE + minutes(1))
    assert led.begin(AT_ONE + minutes(1)) == []

    Entry.objects.update(paused_at=AT_ONE - minutes(1))

    assert len(led.begin(AT_ONE + minutes(1))) == 1


def test_a_garbled_schedule_does_not_keep_others_from_beginning(led, make_entry):
    """The window of a filled slot is read off the schedule; the slot itself is known."""
    make_entry(since=AT_ONE)
    fill(NOON, NOON + minutes(1))
    Entry.objects.update(schedule="61 * * * *")

    [begun] = led.begin(AT_ONE + minutes(1))

    assert (begun.since, begun.until) == (NOON, NOON)


def test_the_api_passes_on_who_asked(hole, monkeypatch):
    """As every verb does."""
    monkeypatch.setattr(ledger, "database_now", lambda: AT_ONE)

    assert api.backfill("heartbeat", START, NOON + minutes(6), by="eve") == [NOON + minutes(5)]

    assert AuditEvent.objects.get().actor == "eve"
    assert Run.objects.get(kind="backfill").requested_by == "eve"


@pytest.mark.django_db(transaction=True)
def test_two_who_fill_at_once_fill_it_once(hole):
    """The entry's row decides."""
    gate, said = threading.Barrier(2), []

    def ask():
        gate.wait()
        try:
            said.append(len(fill(START, NOON + minutes(20))))
        finally:
            connections.close_all()

    racers = [threading.Thread(target=ask) for _ in range(2)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()

    assert sorted(said) == [0, 3]
    assert Run.objects.filter(kind="backfill").count() == 3
