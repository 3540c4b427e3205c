"""With catch_up="latest" the queue is bounded by the entries: a newer slot replaces older runs that have not begun."""

import pytest
from django.db import connections

from crons import ledger
from crons.attempts import Unstarted
from crons.jobs import Retry
from crons.ledger import existing
from crons.models import Entry, Run
from crons.signals import run_ended
from crons.verdicts import Outcome
from tests.crons.conftest import NOON, minutes

pytestmark = pytest.mark.django_db

MISSED = ("missed", "catch_up")


def runs(entry: str = "heartbeat") -> list[tuple[str, str, str]]:
    """Return the runs of one entry in the order of their slots."""
    rows = Run.objects.filter(entry__name=entry).order_by("planned_at", "pk")
    return [
        (f"{at:%H:%M}", state, verdict) for at, state, verdict in rows.values_list("planned_at", "state", "verdict")
    ]


@pytest.mark.parametrize("overlap", ["skip", "allow"])
def test_a_newer_slot_replaces_the_run_that_has_not_begun(led, make_entry, overlap):
    """Whoever wants each slot says catch_up="all"; "latest" is one run, whether a trigger or a place was missing."""
    make_entry(overlap=overlap)
    led.record(NOON + minutes(5))

    led.record(NOON + minutes(10))

    older, newer = Run.objects.order_by("slot_at")
    assert (older.state, older.verdict, older.reason, older.ended_at) == ("done", *MISSED, NOON + minutes(10))
    assert older.detail == "it had not begun when the slot 2026-03-02 12:10:00 UTC fell due"
    assert (older.wake_at, older.active_key, older.inspect_at) == (None, None, None)
    assert (newer.state, newer.verdict, newer.slot_at) == ("due", "", NOON + minutes(10))
    assert [each.run for each in led.begin(NOON + minutes(10))] == [newer.pk]


def test_the_newer_run_keeps_the_place_in_the_queue(led, make_entry):
    """At its end, an entry whose slots come faster than its turn would never begin."""
    make_entry("often", schedule="* * * * *")
    make_entry("seldom", schedule="2-59/10 * * * *")
    for minute in (1, 2, 3, 4):
        led.record(NOON + minutes(minute))

    [waiting] = Run.objects.filter(entry__name="often", state="due")
    begun = led.begin(NOON + minutes(4), room=1)

    assert (waiting.slot_at, waiting.planned_at) == (NOON + minutes(4), NOON + minutes(4))
    assert waiting.wake_at == NOON + minutes(1)
    assert [(each.entry, each.slot_at) for each in begun] == [("often", NOON + minutes(4))]


def test_the_window_of_the_run_covers_the_slots_that_it_replaced(led, make_entry):
    """Dropped slots lose no data: context.since is the last slot that succeeded."""
    make_entry()
    led.record(NOON + minutes(5))
    [first] = led.begin(NOON + minutes(5))
    led.finish(first, NOON + minutes(6))
    for minute in (10, 15, 20):
        led.record(NOON + minutes(minute))

    [begun] = led.begin(NOON + minutes(20))

    assert (begun.since, begun.until) == (NOON + minutes(5), NOON + minutes(20))


def test_a_replaced_run_is_announced_with_its_entry(led, make_entry, django_capture_on_commit_callbacks):
    """Whoever counts verdicts by the signal misses none."""
    make_entry()
    led.record(NOON + minutes(5))
    heard = []

    def listen(run, **_):
        heard.append((run.entry.name, run.slot_at, run.verdict, run.reason))

    run_ended.connect(listen)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            led.record(NOON + minutes(10))
    finally:
        run_ended.disconnect(listen)

    assert heard == [("heartbeat", NOON + minutes(5), *MISSED)]


@pytest.mark.parametrize("catch_up", ["all", "none"])
def test_other_ways_to_catch_up_replace_nothing(led, make_entry, catch_up):
    """With "all" every slot matters; with "none" the grace bounds how long one waits."""
    make_entry(catch_up=catch_up)
    led.record(NOON + minutes(5))

    led.record(NOON + minutes(10))

    assert runs() == [("12:05", "due", ""), ("12:10", "due", "")]


def test_what_was_sent_is_not_replaced(led, make_entry):
    """A worker may be about to begin it; its place before later slots is kept also when it is taken back."""
    make_entry("sent", executor="far")
    make_entry("requeued", executor="far")
    led.record(NOON + minutes(5))
    messages = ledger.send(NOON + minutes(5), {"far": 10})
    requeued = Run.objects.get(entry__name="requeued")
    ledger.requeue([requeued.pk], NOON + minutes(6), "could not be sent", unsent=True)

    for minute in (10, 15, 20):
        led.record(NOON + minutes(minute))

    assert len(messages) == 2
    later = [("12:10", "done", "missed"), ("12:15", "done", "missed"), ("12:20", "due", "")]
    assert runs("sent") == [("12:05", "sent", ""), *later]
    assert runs("requeued") == [("12:05", "due", ""), *later]


def test_what_runs_or_waits_for_another_try_is_not_replaced(led, make_entry):
    """It has begun: another try is given up only for a newer slot that succeeded."""
    make_entry("running", overlap="allow")
    make_entry("retried", retry=Retry(2, wait=minutes(30)))
    led.record(NOON + minutes(5))
    begun = {each.entry: each for each in led.begin(NOON + minutes(5))}
    led.finish(begun["retried"], NOON + minutes(6), Outcome.FAILED, "no luck")

    led.record(NOON + minutes(10))

    assert runs("running") == [("12:05", "running", ""), ("12:10", "due", "")]
    assert runs("retried") == [("12:05", "waiting", ""), ("12:10", "due", "")]


def test_what_a_person_asked_for_is_not_replaced(led, make_entry):
    """A manual run, a backfilled slot and a slot asked for again are wanted for themselves."""
    make_entry("manual")
    make_entry("filled")
    make_entry("again")
    led.record(NOON + minutes(5))
    for begun in led.begin(NOON + minutes(5)):
        led.finish(begun, NOON + minutes(6), Outcome.FAILED, "no luck")
    ledger.request("manual", NOON + minutes(7), "test", by="ann")
    ledger.backfill("filled", NOON - minutes(10), NOON - minutes(5), NOON + minutes(7), by="ann")
    ledger.retry(Run.objects.get(entry__name="again").pk, NOON + minutes(7), by="ann")

    led.record(NOON + minutes(10))

    assert runs("manual")[1:] == [("12:07", "due", ""), ("12:10", "due", "")]
    assert runs("filled")[0] == ("11:50", "waiting", "")
    assert runs("again") == [("12:05", "waiting", ""), ("12:10", "due", "")]


def test_a_run_that_was_released_unstarted_is_replaced_too(led, make_entry):
    """It counts as no try, so it has not begun."""
    make_entry()
    led.record(NOON + minutes(5))
    [begun] = led.begin(NOON + minutes(5))
    unstarted = Unstarted()
    unstarted.attempts.add(begun.attempt)
    ledger.release_unstarted(led.instance.name, [], unstarted, NOON + minutes(6))

    led.record(NOON + minutes(10))

    assert runs() == [("12:05", "done", "missed"), ("12:10", "due", "")]


def test_a_garbled_run_is_left_to_begin_which_says_what_is_wrong(led, make_entry):
    """Its verdict is failed, with the column's name, and not that a newer slot came."""
    entry = make_entry(since=NOON + minutes(5))
    broken = Run.objects.create(
        entry=entry, slot_at=None, planned_at=NOON, wake_at=NOON, trigger="test", recorded_at=NOON
    )

    led.record(NOON + minutes(10))

    broken.refresh_from_db()
    assert (broken.state, broken.verdict) == ("due", "")


def test_a_queue_from_when_every_slot_mattered_ends_over_several_passes(led, make_entry, monkeypatch):
    """One transaction must not end a hundred thousand runs."""
    monkeypatch.setattr(existing, "MOST_REPLACED", 2)
    entry = make_entry(catch_up="all")
    led.record(NOON + minutes(25))
    Entry.objects.filter(pk=entry.pk).update(policy={**entry.policy, "catch_up": "latest"})

    led.record(NOON + minutes(30))
    first = [state for _, state, _ in runs()]
    led.record(NOON + minutes(35))
    led.record(NOON + minutes(40))

    assert first.count("done") == 2  # which of them is the database's choice: they are not sorted
    assert first[-1] == "due"
    assert runs()[-1] == ("12:40", "due", "")
    assert [state for _, state, _ in runs()].count("due") == 2


def test_replacing_costs_two_statements_for_the_whole_batch(led, make_entry, django_assert_num_queries):
    """A pass that records a thousand entries asks nothing for each of them."""
    for number in range(300):
        make_entry(f"job{number}")
    led.record(NOON + minutes(5))

    with django_assert_num_queries(10):  # six, and two savepoints with their releases
        led.record(NOON + minutes(10))

    assert Run.objects.filter(state="due").count() == 300


def test_the_queue_is_as_long_as_there_are_entries(led, make_entry):
    """It grew with each pass, and what reads it with it, while no place came free."""
    template = make_entry()
    Entry.objects.bulk_create(
        Entry(
            name=f"job{number}",
            job="job",
            schedule="* * * * *",
            zone="UTC",
            policy=template.policy,
            first_seen_at=NOON,
            accounted_until=NOON,
            wake_at=NOON,
        )
        for number in range(2_000)
    )
    template.delete()

    for minute in range(1, 11):
        while led.record(NOON + minutes(minute)).entries == ledger.BATCH:
            pass

    due = Run.objects.filter(state="due")
    assert due.count() == 2_000
    assert set(due.values_list("slot_at", "wake_at")) == {(NOON + minutes(10), NOON + minutes(1))}
    assert Run.objects.filter(state="done", verdict="missed", reason="catch_up").count() == 9 * 2_000


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_run_that_somebody_is_about_to_begin_is_neither_waited_for_nor_ended(led, make_entry):
    """Whoever begins a run by its name locks it and then waits for its entry: waiting for the run is a deadlock."""
    make_entry()
    led.record(NOON + minutes(5))
    beginner = connections["default"].copy()
    try:
        beginner.set_autocommit(False)
        with beginner.cursor() as cursor:
            cursor.execute("SELECT id FROM crons_run FOR UPDATE")

            led.record(NOON + minutes(10))

            assert runs() == [("12:05", "due", ""), ("12:10", "due", "")]
            cursor.execute("UPDATE crons_run SET state = 'running', tries = 1, wake_at = NULL WHERE state = 'due'")
            beginner.commit()
    finally:
        beginner.close()
    led.record(NOON + minutes(15))

    assert runs()[0] == ("12:05", "running", "")
