"""Sending: a run that others begin keeps its place in the ledger, whatever becomes of its messages."""

from __future__ import annotations

import threading
from datetime import timedelta
from importlib import import_module

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from crons import api, cron, job, ledger
from crons.attempts import RunMessage
from crons.declarations import sync
from crons.dispatch import Dispatcher
from crons.exceptions import InvalidJob, LedgerUnavailable
from crons.executors import Sender
from crons.executors.publishing import LONGEST_PAUSE_SECONDS, Publisher
from crons.jobs.policies import Policy, Retry
from crons.ledger.begin import pause_after
from crons.models import Deployment, Entry, Run
from crons.triggers import worker, worker_session
from crons.verdicts import Outcome
from tests.crons import filling
from tests.crons.conftest import NOON, minutes

pytestmark = pytest.mark.django_db
FAR = {"far": 100}
SECOND = timedelta(seconds=1)


class Post(Sender):
    """Keeps what it is given; raises *error* while there is one, waits while *gate* is shut."""

    def __init__(self, alias="far"):
        super().__init__(alias=alias)
        self.sent, self.error, self.gate, self.is_closed = [], None, threading.Event(), False
        self.gate.set()

    def send(self, message):
        assert self.gate.wait(30)
        if self.error:
            raise self.error
        self.sent.append(message)

    def close(self):
        self.is_closed = True


def arrive(led, run, now, jobs=("away",), **room):
    """Begin *run* as a worker does that got a message."""
    ledger.settle(now)
    return ledger.begin(now, room or {"far": 1}, jobs, led.instance, only_run=run, arrived=True)


def unavailable(*args, **kwargs):
    raise LedgerUnavailable("gone")


@pytest.fixture
def away(make_entry, led):
    """A run of 12:05 that others begin, recorded at 12:05."""
    make_entry("away", executor="far", retry=Retry(2), route={"queue": "slow", "priority": 3})
    led.record(NOON + minutes(5))
    return Run.objects.get()


def test_a_sent_run_is_nobodys_until_somebody_begins_it(away, led):
    """It says where it stands, is sent again later, and no scheduler begins it by itself."""
    Deployment.objects.create(identity="here", adopted_at=NOON)

    messages = ledger.send(NOON + minutes(5), FAR)

    assert messages == [
        RunMessage(
            away.pk,
            "here",
            "away",
            "away@2026-03-02T12:05:00Z",
            1,
            "far",
            timedelta(hours=1),
            away.entry.policy["route"],
        )
    ]
    away.refresh_from_db()
    assert (away.state, away.sends, away.detail) == ("sent", 1, "sent to far")
    assert away.wake_at == NOON + minutes(5) + pause_after(1)
    assert ledger.send(NOON + minutes(5) + SECOND, FAR) == []
    assert ledger.begin(NOON + minutes(20), {"far": 5}, ["away"], led.instance) == []


def test_whoever_a_message_reaches_begins_it_once(away, led):
    """A message that comes twice, or again after the end, does nothing."""
    ledger.send(NOON + minutes(5), FAR)

    first = arrive(led, away.pk, NOON + minutes(5) + SECOND)
    second = arrive(led, away.pk, NOON + minutes(5) + SECOND)
    led.finish(first[0], NOON + minutes(6))
    third = arrive(led, away.pk, NOON + minutes(7))

    assert [each.entry for each in first] == ["away"]
    assert (second, third) == ([], [])
    away.refresh_from_db()
    assert (away.verdict, away.tries, away.sends) == ("succeeded", 1, 0)


def test_a_message_may_be_faster_than_the_answer_to_its_sending(away, led):
    """The broker has it, the sender believes that it failed, and the run is due again: it still arrives."""
    ledger.send(NOON + minutes(5), FAR)
    assert ledger.requeue([away.pk], NOON + minutes(6), "could not be sent: timeout") == [away.pk]

    assert len(arrive(led, away.pk, NOON + minutes(5) + SECOND)) == 1
    assert ledger.requeue([away.pk], NOON + minutes(6), "too late") == []


def test_what_nobody_begins_is_sent_again_with_growing_pauses(away, led):
    """A broker that lost its memory loses no run."""
    now, gaps = NOON + minutes(5), []
    for _ in range(8):
        [message] = ledger.send(now, FAR)
        assert ledger.send(now + pause_after(message.number) - SECOND, FAR) == []
        again = ledger.agenda(now).sent_at
        gaps.append((again - now).total_seconds())
        now = again

    assert gaps == [30, 60, 120, 240, 480, 900, 900, 900]
    assert Run.objects.get().sends == 8


def test_what_nobody_began_in_time_is_missed_and_says_how_often_it_was_sent(make_entry, led):
    """Never lost: the slot ends in a verdict."""
    make_entry("away", executor="far", deadline=minutes(10))
    led.record(NOON + minutes(5))
    ledger.send(NOON + minutes(5), FAR)
    ledger.send(NOON + minutes(6), FAR)

    ledger.settle(NOON + minutes(16))

    run = Run.objects.get()
    assert (run.verdict, run.reason) == ("missed", "not_started")
    assert run.detail == "sent 2 time(s), and nobody began it before 2026-03-02 12:15:00 UTC"
    assert arrive(led, run.pk, NOON + minutes(17)) == []


def test_a_retry_is_sent_when_its_pause_is_over_and_is_never_too_late(away, led):
    """A failed run waits, is sent, and keeps its tries; a message that comes too early begins nothing."""
    ledger.send(NOON + minutes(5), FAR)
    [begun] = arrive(led, away.pk, NOON + minutes(5))
    led.finish(begun, NOON + minutes(6), Outcome.FAILED, "no luck")

    assert ledger.send(NOON + minutes(6) + SECOND, FAR) == []
    assert arrive(led, away.pk, NOON + minutes(6) + SECOND) == []
    [message] = ledger.send(NOON + minutes(7), FAR)
    Run.objects.update(start_before=NOON)
    assert [each.number for each in arrive(led, away.pk, NOON + minutes(8))] == [2]
    assert (message.number, message.tries) == (1, 1)


def test_a_message_that_was_not_handed_over_does_not_count(away, led):
    """Else what is sent first after a night without a broker, and lost, would wait the longest pause."""
    now = NOON + minutes(5)
    for _ in range(100):
        [message] = ledger.send(now, FAR)
        ledger.requeue([away.pk], now + SECOND, "could not be sent: OSError: down", unsent=True)
        away.refresh_from_db()
        assert (message.number <= 2, away.sends) == (True, 1)
        now += SECOND

    ledger.send(now, FAR)

    away.refresh_from_db()
    assert (away.sends, away.wake_at) == (2, now + pause_after(2))


def test_what_was_missed_for_want_of_a_broker_says_so(make_entry, led):
    """Who reads that nobody began it would look at the workers."""
    make_entry("away", executor="far", deadline=minutes(10))
    led.record(NOON + minutes(5))
    [message] = ledger.send(NOON + minutes(5), FAR)
    ledger.requeue([message.run], NOON + minutes(6), "could not be sent: OSError: down", unsent=True)

    ledger.settle(NOON + minutes(16))

    run = Run.objects.get()
    assert (run.verdict, run.reason) == ("missed", "not_started")
    assert run.detail == (
        "sent 1 time(s), and nobody began it before 2026-03-02 12:15:00 UTC; "
        "of the last: could not be sent: OSError: down"
    )


def test_a_sent_retry_that_a_newer_success_overtook_is_superseded(away, led, make_entry):
    """As one that waits on this machine."""
    ledger.send(NOON + minutes(5), FAR)
    [begun] = arrive(led, away.pk, NOON + minutes(5))
    led.finish(begun, NOON + minutes(6), Outcome.FAILED, "no luck")
    ledger.send(NOON + minutes(7), FAR)
    Run.objects.create(
        entry=away.entry, slot_at=NOON + minutes(10), planned_at=NOON + minutes(10), recorded_at=NOON, state="done",
        verdict="succeeded", trigger="test",
    )  # fmt: skip

    assert arrive(led, away.pk, NOON + minutes(11)) == []
    away.refresh_from_db()
    assert away.verdict == "superseded"


def test_slots_of_an_entry_are_under_way_one_at_a_time(make_entry, led):
    """Two messages could overtake each other on the way; with overlap allowed they may."""
    make_entry("turns", executor="far", catch_up="all")
    make_entry("heap", executor="far", catch_up="all", overlap="allow")
    led.record(NOON + minutes(10))

    sent = [message.key for message in ledger.send(NOON + minutes(10), FAR)]

    assert sorted(sent) == ["heap@2026-03-02T12:05:00Z", "heap@2026-03-02T12:10:00Z", "turns@2026-03-02T12:05:00Z"]
    [begun] = arrive(led, Run.objects.get(state="sent", entry__name="turns").pk, NOON + minutes(10), jobs=["turns"])
    led.finish(begun, NOON + minutes(11))
    assert [each.key for each in ledger.send(NOON + minutes(10), FAR)] == ["turns@2026-03-02T12:10:00Z"]


def test_a_slot_that_was_taken_back_is_not_overtaken_by_the_next(make_entry, led):
    """With catch_up="all" slots come in their order, also after a broker that was down."""
    make_entry("turns", executor="far", catch_up="all")
    led.record(NOON + minutes(10))
    [first] = ledger.send(NOON + minutes(10), FAR)
    ledger.requeue([first.run], NOON + minutes(11), "could not be sent: OSError: down")
    asked = ledger.request("turns", NOON + minutes(10), "test", by="ann")

    assert [each.run for each in ledger.send(NOON + minutes(10), FAR, only_run=asked.pk)] == [asked.pk]
    ledger.request_cancel(asked.pk, NOON + minutes(10), reason="enough")
    assert ledger.send(NOON + minutes(10.5), FAR) == []
    assert [each.key for each in ledger.send(NOON + minutes(11), FAR)] == ["turns@2026-03-02T12:05:00Z"]


def test_slots_that_piled_up_do_not_keep_the_one_out_that_they_wait_for(make_entry, led):
    """After a broker that was down one message tries it first; that one must be found behind all the others."""
    make_entry("turns", executor="far", catch_up="all")
    make_entry("other", executor="far", catch_up="all")
    led.record(NOON + minutes(5))
    first = {message.run for message in ledger.send(NOON + minutes(5), FAR)}
    led.record(NOON + minutes(200))
    assert ledger.requeue(first, NOON + minutes(200.5), "could not be sent: OSError: down") == sorted(first)

    assert ledger.send(NOON + minutes(200), {"far": 1}) == []
    [tried] = ledger.send(NOON + minutes(201), {"far": 1})
    [other] = ledger.send(NOON + minutes(201), {"far": 1})
    assert {tried.run, other.run} == first


def test_what_another_sent_meanwhile_is_not_sent_beside_it(make_entry, led, monkeypatch):
    """Who looked a moment before the other's commit still sees two runs of one entry to be sent."""
    make_entry("turns", executor="far", catch_up="all")
    led.record(NOON + minutes(10))
    stale = list(Run.objects.select_related("entry").order_by("pk"))
    [message] = ledger.send(NOON + minutes(10), FAR)
    monkeypatch.setattr(import_module("crons.ledger.queue").Queue, "_batches", lambda self: [stale[1:]])

    assert ledger.send(NOON + minutes(10), FAR) == []
    assert message.run == stale[0].pk


def test_two_that_were_sent_of_one_entry_do_not_wait_for_each_other(make_entry, led):
    """Overlap was allowed, or two senders did not see each other: the older one is sent again first."""
    make_entry("turns", executor="far", catch_up="all")
    led.record(NOON + minutes(10))
    Run.objects.update(state="sent", sends=1)

    older, younger = Run.objects.order_by("pk")
    assert [each.run for each in ledger.send(NOON + minutes(11), FAR)] == [older.pk]
    Run.objects.filter(pk=older.pk).update(state="done", verdict="succeeded", wake_at=None)
    assert [each.run for each in ledger.send(NOON + minutes(11), FAR)] == [younger.pk]


def test_what_cannot_be_read_does_not_stand_before_what_can(make_entry, led):
    """Also where others begin it."""
    for number in range(8):
        make_entry(f"garbled{number}", executor="far")
    make_entry("sound", executor="far")
    led.record(NOON + minutes(5))
    for entry in Entry.objects.filter(name__startswith="garbled"):
        entry.policy |= {"overlap": "perhaps"}
        entry.save()

    assert [each.entry for each in ledger.send(NOON + minutes(5), {"far": 1})] == ["sound"]


def test_what_is_long_over_costs_a_look_nothing(make_entry, led):
    """Looking, sending, settling and beginning read what is open, not the million runs that have ended."""
    entries = [make_entry(name, executor="far", catch_up="all") for name in ("one", "two")]
    filling.fill(entries, 20_000, NOON)
    led.record(NOON + minutes(15))
    Run.objects.filter(state="due", slot_at=NOON + minutes(10)).update(sends=1)

    with CaptureQueriesContext(connection) as captured:
        messages = ledger.send(NOON + minutes(15), FAR)
        again = ledger.send(NOON + minutes(16), FAR)
        ledger.agenda(NOON + minutes(16))
        ledger.settle(NOON + minutes(16))
        ledger.expire(NOON + minutes(16))
        begun = led.begin(NOON + minutes(16))

    assert (len(messages), len(again), begun) == (2, 2, [])
    assert filling.full_scans(captured) == []


def test_a_group_gets_no_more_messages_than_it_has_places(make_entry, led, settings):
    """The rest would come back, each time a place is free, and look as if no worker took it."""
    settings.CRONS = {"GROUPS": {"few": 2}}
    for name in "abcd":
        make_entry(name, executor="far", group="few")
    make_entry("free", executor="far")
    led.record(NOON + minutes(5))
    now = NOON + minutes(5)

    assert [each.entry for each in ledger.send(now, FAR)] == ["a", "b", "free"]
    assert ledger.send(now + SECOND, FAR) == []
    arrive(led, Run.objects.get(entry__name="a").pk, now + SECOND, jobs=["a"])
    assert ledger.send(now + SECOND, FAR) == []
    # Whom nobody begins keeps the others waiting only once.
    assert "c" in [each.entry for each in ledger.send(now + pause_after(1), FAR)]
    assert "d" in [each.entry for each in ledger.send(now + 2 * pause_after(1), FAR)]


def test_a_slot_that_was_sent_while_the_one_before_runs_is_skipped(make_entry, led):
    """The same verdict as on this machine, and it names what was in the way."""
    make_entry("away", executor="far")
    led.record(NOON + minutes(5))
    ledger.send(NOON + minutes(5), FAR)
    early = Run.objects.get()
    led.record(NOON + minutes(10))
    late = Run.objects.get(slot_at=NOON + minutes(10))
    [begun] = arrive(led, early.pk, NOON + minutes(10))
    Run.objects.filter(pk=late.pk).update(state="sent", wake_at=NOON + minutes(30))

    ledger.settle(NOON + minutes(11))

    late.refresh_from_db()
    assert (late.verdict, late.reason) == ("skipped", "overlap")
    assert late.detail == f"run {early.pk} (attempt {begun.attempt}) was still going"


def test_what_is_paused_or_in_a_full_group_is_not_sent(make_entry, led, settings):
    """It would come back."""
    settings.CRONS = {"GROUPS": {"few": 1}}
    first = make_entry("first", executor="far", group="few")
    make_entry("second", executor="far", group="few")
    held = make_entry("held", executor="far")
    led.record(NOON + minutes(5))
    held.paused_at = NOON + minutes(5)
    held.save()
    run = Run.objects.get(entry=first)
    arrive(led, run.pk, NOON + minutes(5), jobs=["first"])

    assert ledger.send(NOON + minutes(5), FAR) == []


def test_what_was_sent_and_paused_is_not_in_the_way_of_who_asks(away, led):
    """Nothing is sent again while a pause holds it: the run that somebody tries meanwhile would wait for its end."""
    ledger.send(NOON + minutes(5), FAR)

    ledger.pause("away", NOON + minutes(6), by="ann", reason="no worker takes it")

    away.refresh_from_db()
    assert (away.state, away.wake_at, away.sends) == ("due", NOON + minutes(6), 1)
    assert away.detail == "paused before a worker began it"
    asked = ledger.request("away", NOON + minutes(7), "test", by="ann")
    assert [each.run for each in ledger.send(NOON + minutes(7), FAR)] == [asked.pk]
    assert arrive(led, away.pk, NOON + minutes(7)) == []
    [begun] = arrive(led, asked.pk, NOON + minutes(8))
    led.finish(begun, NOON + minutes(8))
    ledger.resume("away", NOON + minutes(9), by="ann")
    assert [each.run for each in ledger.send(NOON + minutes(9), FAR)] == [away.pk]


def test_what_somebody_asked_for_and_was_sent_stays_on_its_way_in_a_pause(make_entry, led):
    """A pause holds slots."""
    make_entry("away", executor="far")
    asked = ledger.request("away", NOON, "test", by="ann")
    ledger.send(NOON, FAR)

    ledger.pause("away", NOON + SECOND, by="ann", reason="because")

    asked.refresh_from_db()
    assert asked.state == "sent"
    assert [each.run for each in arrive(led, asked.pk, NOON + SECOND)] == [asked.pk]


def test_cancelling_what_was_sent_ends_it_at_once(away, led):
    """No worker has it yet, so there is nobody to wait for."""
    ledger.send(NOON + minutes(5), FAR)

    ledger.request_cancel(away.pk, NOON + minutes(6), reason="enough", by="ann")

    away.refresh_from_db()
    assert (away.verdict, away.detail) == ("cancelled", "enough (by ann)")
    assert arrive(led, away.pk, NOON + minutes(7)) == []


def test_whoever_waits_is_told_what_for(away, led, monkeypatch):
    """Also of what was sent."""
    ledger.send(NOON + minutes(5), FAR)
    monkeypatch.setattr(ledger, "database_now", lambda: NOON + minutes(5) + SECOND)
    run = Run.objects.select_related("entry").get()

    assert api.why_waiting([run]) == {
        run.pk: "for a worker of the executor 'far': sent 1 time(s), again at 2026-03-02 12:05:30 UTC"
    }


@pytest.mark.parametrize(
    ("route", "said"),
    [
        (
            {"que": "slow"},
            "route={'que': 'slow'}: expected a dict with some of queue, priority, routing_key, exchange.",
        ),
        ("slow", "route='slow': expected a dict with some of queue, priority, routing_key, exchange."),
        ({"priority": 256}, "route: priority=256: expected a whole number from -100 to 255."),
        ({"queue": ""}, "route: queue='': expected a text."),
    ],
)
def test_routes_that_lead_nowhere_are_refused(route, said):
    """At import, not at the first slot."""
    with pytest.raises(InvalidJob) as refused:
        Policy(route=route)

    assert str(refused.value) == said


# The publisher


@pytest.fixture
def post():
    """A sender that keeps what it is given."""
    return Post()


def message(run=1):
    return RunMessage(run, "here", "away", "key", 1, "far")


def test_a_publisher_sends_in_order_and_closes_what_was_opened(post):
    """One thread, which ends when it is told to."""
    publisher = Publisher(post)

    publisher.post([message(1), message(2), message(3)])

    assert publisher.join(30)
    assert [each.run for each in post.sent] == [1, 2, 3]
    assert publisher.returned() == []
    thread = publisher._thread
    publisher.close()
    thread.join(30)
    assert post.is_closed


def test_what_is_posted_while_the_thread_goes_is_sent(post, monkeypatch):
    """A worker's session is used for many messages of beat, and its publisher is closed after each."""
    monkeypatch.setattr("crons.executors.publishing.CLOSING_SECONDS", 0.0)
    going, gate = threading.Event(), threading.Event()

    def close():
        going.set()
        assert gate.wait(30)

    post.close = close
    publisher = Publisher(post)
    publisher.post([message(1)])
    assert publisher.join(30)
    publisher.close()
    assert going.wait(30)

    publisher.post([message(2)])
    gate.set()

    assert publisher.join(30)
    assert [each.run for each in post.sent] == [1, 2]
    publisher.close()


def test_whatever_a_transport_raises_the_publisher_goes_on(post):
    """A thread that died of it would be called a silent broker for ever."""
    publisher = Publisher(post)
    post.error = SystemExit("the transport gives up")
    publisher.post([message(1)])
    assert publisher.join(30)
    assert [each.error for each in publisher.returned()] == ["SystemExit: the transport gives up"]

    post.error, publisher._closed_until = None, 0.0
    publisher.post([message(2)])

    assert publisher.join(30)
    assert [each.run for each in post.sent] == [2]
    assert publisher.room() == 1_000


def test_a_ledger_that_is_gone_leaves_no_publisher_behind(away, instance, post, monkeypatch):
    """A web process that looks by each request would gather threads, and a worker must fork without any."""
    dispatcher = Dispatcher("test", instance, {}, {"far": post})
    post.error = OSError("down")
    dispatcher.turn(NOON + minutes(5))
    [publisher] = dispatcher.publishers.by_alias.values()
    thread = publisher._thread
    monkeypatch.setattr(ledger, "requeue", unavailable)

    with pytest.raises(LedgerUnavailable):
        dispatcher.publishers.finish()

    thread.join(30)
    assert not thread.is_alive()


def test_a_broker_that_fails_is_left_alone_for_a_while(post):
    """One failure, and the rest of the heap is not tried; nothing of it is forgotten."""
    publisher = Publisher(post)
    post.error = ConnectionRefusedError("nobody listens")
    post.gate.clear()
    publisher.post([message(1), message(2)])
    post.gate.set()
    assert publisher.join(30)

    first, second = publisher.returned()

    assert (first.run, first.error) == (1, "ConnectionRefusedError: nobody listens")
    assert (second.run, second.error) == (2, "the broker has just failed, ConnectionRefusedError: nobody listens")
    assert publisher.room() == 0
    assert publisher.returned() == []


def test_after_its_pause_one_message_tries_the_broker_first(post):
    """A thousand messages into a broker that is still down would be a thousand failures."""
    publisher = Publisher(post)
    post.error = OSError("down")
    publisher.post([message()])
    assert publisher.join(30)
    publisher._closed_until = 0.0

    assert publisher.room() == 1
    post.error = None
    publisher.post([message(7)])
    assert publisher.join(30)
    assert publisher.room() == 1_000


def test_a_broker_that_is_down_all_night_is_tried_all_night(post):
    """Of thousands of failures a pause was made that no number holds, and the thread died of each message."""
    publisher = Publisher(post)
    publisher._failures = 2_000
    post.error = OSError("down")
    publisher.post([message()])
    assert publisher.join(30)

    [returned] = publisher.returned()

    assert (returned.run, returned.error) == (1, "OSError: down")
    assert 0 < returned.pause_seconds <= LONGEST_PAUSE_SECONDS
    assert publisher._thread.is_alive()


def test_a_silent_broker_stops_the_sending_and_not_the_scheduler(post, monkeypatch, caplog):
    """It takes the connection and never answers: nothing more is given to it meanwhile."""
    monkeypatch.setattr("crons.executors.publishing.PATIENCE_SECONDS", 0.0)
    publisher = Publisher(post)
    post.gate.clear()
    publisher.post([message()])
    until = threading.Event()
    while publisher.room() and not until.wait(0.01):
        pass

    assert publisher.room() == 0
    assert not publisher.join(0)
    post.gate.set()
    assert publisher.join(30)
    assert publisher.room() == 1_000
    assert caplog.messages == [
        "executor far: the broker does not answer; nothing is sent until it does",
        "executor far: messages are taken again",
    ]


def test_a_turn_sends_and_takes_back_what_was_not_taken(away, instance, post, monkeypatch):
    """The run is due again, says why, and is sent once the broker is back."""
    dispatcher = Dispatcher("test", instance, {}, {"far": post})
    [publisher] = dispatcher.publishers.by_alias.values()
    post.error = OSError("down")
    now = NOON + minutes(5)
    dispatcher.turn(now)
    assert publisher.join(30)
    away.refresh_from_db()
    assert away.state == "sent"

    dispatcher.turn(now + SECOND)

    away.refresh_from_db()
    assert (away.state, away.detail) == ("due", "could not be sent: OSError: down")
    assert now + SECOND < away.wake_at <= now + 3 * SECOND
    post.error, publisher._closed_until = None, 0.0
    dispatcher.turn(now + minutes(1))
    assert publisher.join(30)
    assert [each.run for each in post.sent] == [away.pk]


def test_a_heap_that_was_not_taken_is_taken_back_in_few_writes(make_entry, led, instance, post):
    """A scheduler that wrote a thousand times would look at the clock a minute later."""
    for number in range(30):
        make_entry(f"away{number}", executor="far")
    led.record(NOON + minutes(5))
    dispatcher = Dispatcher("test", instance, {}, {"far": post})
    [publisher] = dispatcher.publishers.by_alias.values()
    post.error = OSError("down")
    dispatcher.begin(NOON + minutes(5))
    assert publisher.join(30)

    with CaptureQueriesContext(connection) as captured:
        dispatcher.publishers.requeue_unsent(NOON + minutes(6))

    assert [query["sql"][:6] for query in captured.captured_queries].count("UPDATE") == 2
    details = Run.objects.values_list("detail", flat=True)
    assert sorted(set(details)) == [
        "could not be sent: OSError: down",
        "could not be sent: the broker has just failed, OSError: down",
    ]
    assert set(Run.objects.values_list("state", flat=True)) == {"due"}


def test_a_process_that_ends_waits_for_what_it_sends(away, instance, post):
    """A tick looks once: what it has marked as sent it sends, or gives back."""
    dispatcher = Dispatcher("test", instance, {}, {"far": post})
    post.error = OSError("down")
    dispatcher.turn(NOON + minutes(5))

    dispatcher.publishers.finish()

    away.refresh_from_db()
    assert (away.state, away.sends) == ("due", 1)


def test_what_was_sent_goes_the_new_way_when_the_job_is_declared_anew(led, empty_registry, settings):
    """Else a run that was on its way to Celery would be nobody's once its job runs on this machine."""
    settings.CRONS, settings.CRONJOBS = {}, ()
    job(cron("*/5 * * * *"), name="away", executor="celery")(lambda: None)
    sync.sync(NOON)
    led.record(NOON + minutes(5))
    assert len(ledger.send(NOON + minutes(5), {"celery": 5})) == 1
    empty_registry.clear()
    job(cron("*/5 * * * *"), name="away")(lambda: None)

    sync.sync(NOON + minutes(6))

    assert [each.entry for each in led.begin(NOON + minutes(6))] == ["away"]
    assert arrive(led, Run.objects.get().pk, NOON + minutes(7), celery=1) == []


def test_a_message_that_names_no_executor_of_the_project_makes_nothing(away, monkeypatch):
    """A stranger on the broker could have a fork server made for each name that comes to mind."""
    monkeypatch.setattr(worker.ledger, "permit", lambda: None)
    monkeypatch.setattr(worker_session, "Session", lambda *args: pytest.fail("a session was made"))

    arrived = worker.take(away.pk, worker.deployment.here().identity, executor="x" * 50)

    assert (arrived.fate, arrived.text) == (
        "over",
        f"run {away.pk} names the executor '{'x' * 40}', which is not one of this project",
    )
