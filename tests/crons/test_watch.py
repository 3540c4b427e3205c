"""Failures become incidents, incidents become messages, each told once."""

from __future__ import annotations

import threading
import traceback
from datetime import timedelta
from functools import partial

import pytest
from django.core import mail
from django.db import OperationalError

from crons import ledger, watch
from crons.attempts import Chunk
from crons.models import Delivery, Entry, Incident, Run
from crons.triggers.alert_sender import AlertSender
from crons.verdicts import Outcome, named_error
from crons.watch.alerts import Channel, outbox
from tests.crons.conftest import NOON, minutes

pytestmark = pytest.mark.django_db

TRACE = 'Traceback (most recent call last):\n  File "x.py", line 3, in f\nValueError: order 17 has no customer'


@pytest.fixture(autouse=True)
def admins(settings):
    """One administrator."""
    import django

    settings.ADMINS = ["ops@example.com"] if django.VERSION >= (6, 0) else [("Ops", "ops@example.com")]


@pytest.fixture
def run_slot(led, make_entry):
    """Run the slot *n* × 5 minutes after noon to its end, and let the watch look."""
    make_entry()

    def run(number, outcome=Outcome.SUCCEEDED, error=""):
        now = NOON + minutes(5 * number)
        led.record(now)
        [begun] = led.begin(now)
        ledger.write_output([Chunk(begun.attempt, 0, "stdout", f"output of slot {number}\n")])
        led.finish(begun, now, outcome, error)
        watch.inspect(now)
        outbox.send_due(now)
        return begun

    return run


def subjects():
    """Return the subjects of the mails sent so far."""
    return [message.subject.removeprefix("[Django] ") for message in mail.outbox]


def test_the_first_failure_is_mailed_with_what_is_needed_to_act(run_slot):
    """The mail says what, when, where, why, and how to see the rest."""
    begun = run_slot(1, Outcome.FAILED, TRACE)

    assert subjects() == ["heartbeat failed"]
    body = mail.outbox[0].body
    for part in (
        "heartbeat failed",
        "slot 2026-03-02 12:05:00 UTC, begun 1 time(s), trigger serve",
        "ValueError: order 17 has no customer",
        "output of slot 1",
        f"manage.py crons show {begun.run}",
    ):
        assert part in body


def test_the_same_failure_again_is_not_mailed(run_slot):
    """No storm: numbers that differ do not make another error."""
    run_slot(1, Outcome.FAILED, TRACE)
    run_slot(2, Outcome.FAILED, TRACE.replace("17", "18"))
    run_slot(3, Outcome.FAILED, TRACE.replace("line 3", "line 4"))

    assert subjects() == ["heartbeat failed"]
    assert Incident.objects.get().count == 3


def test_a_job_says_which_failure_in_a_row_is_told_of(run_slot):
    """Of a job whose next slot makes up for it, one failure is nobody's news; it is seen from the first on."""
    Entry.objects.update(policy={"tell_after": 3})
    failed = partial(run_slot, outcome=Outcome.FAILED)
    failed(1, error="ValueError: a")
    failed(2, error="OSError: b")
    assert [each.kind for each in watch.find_problems() if each.entry == "heartbeat"][:1] == ["failing"]
    run_slot(3)
    assert subjects() == []

    for number in range(4, 10):
        failed(number, error="OSError: b")
    run_slot(10)

    assert subjects() == [
        "heartbeat failed 3 times in a row: failed",
        "heartbeat failed 5 times in a row: failed",
        "heartbeat works again",
    ]
    assert "OSError: b" in mail.outbox[0].body


def test_what_was_not_told_is_told_where_the_policy_changes(run_slot):
    """Somebody lowers it because of this very failure, and waits for the mail."""
    Entry.objects.update(policy={"tell_after": 10})
    for number in (1, 2, 3):
        run_slot(number, Outcome.FAILED, TRACE)
    Entry.objects.update(policy={})
    run_slot(4, Outcome.FAILED, TRACE)
    run_slot(5, Outcome.FAILED, TRACE)

    assert subjects() == ["heartbeat failed 4 times in a row: failed", "heartbeat failed 5 times in a row: failed"]


def test_another_failure_is_mailed_once(run_slot):
    """What changed is told; two errors that take turns are told once each."""
    for number, error in enumerate(["ValueError: a", "OSError: b", "ValueError: a", "OSError: b"], start=1):
        run_slot(number, Outcome.FAILED, error)

    assert subjects() == ["heartbeat failed", "heartbeat fails differently: failed"]


def test_success_closes_the_incident_and_is_mailed(run_slot):
    """Recovery is a change too, and the next failure is a first one again."""
    run_slot(1, Outcome.FAILED, TRACE)
    run_slot(2)
    run_slot(3)
    run_slot(4, Outcome.FAILED, TRACE)

    assert subjects() == ["heartbeat failed", "heartbeat works again", "heartbeat failed"]
    assert [incident.closed_at is None for incident in Incident.objects.order_by("pk")] == [False, True]


def test_a_retired_entry_is_no_incident_any_more(run_slot):
    """Nobody waits for it: health must not stay red for ever, and nobody needs a mail."""
    run_slot(1, Outcome.FAILED, TRACE)
    Entry.objects.update(retired_at=NOON + minutes(6))

    watch.inspect(NOON + minutes(7))

    assert Incident.objects.get().open_key is None
    assert len(mail.outbox) == 1


def test_success_alone_is_never_mailed(run_slot):
    """No news is good news."""
    run_slot(1)
    run_slot(2)

    assert mail.outbox == []


def test_two_processes_tell_once(run_slot):
    """However many look, the incident's key and the delivery's are unique."""
    run_slot(1, Outcome.FAILED, TRACE)
    Run.objects.update(inspect_at=NOON)

    watch.inspect(NOON + minutes(6))
    outbox.send_due(NOON + minutes(6))

    assert len(mail.outbox) == 1
    assert Incident.objects.count() == 1


def test_no_admins_no_delivery(run_slot, settings):
    """The incident is there for health to show; nothing waits for nobody."""
    settings.ADMINS = []
    run_slot(1, Outcome.FAILED, TRACE)

    assert (Incident.objects.count(), Delivery.objects.count()) == (1, 0)


class Broken(Channel):
    """A mail server that refuses."""

    def __init__(self, name):
        super().__init__(name, {})

    def send(self, notice, sending):
        raise ConnectionRefusedError("no mail server")


def test_a_message_that_cannot_be_sent_is_tried_again_later(run_slot, monkeypatch):
    """The outbox keeps it with its error; pauses grow, up to an hour."""
    monkeypatch.setattr(outbox, "make_channel", Broken)
    run_slot(1, Outcome.FAILED, TRACE)
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.tries, delivery.error) == ("pending", 1, "ConnectionRefusedError: no mail server")
    assert delivery.next_try_at == NOON + minutes(5) + outbox.FIRST_PAUSE

    monkeypatch.undo()
    outbox.send_due(NOON + minutes(5.5))
    assert mail.outbox == []
    outbox.send_due(NOON + minutes(7))
    outbox.send_due(NOON + minutes(8))

    assert subjects() == ["heartbeat failed"]
    delivery.refresh_from_db()
    assert (delivery.state, delivery.next_try_at, delivery.error) == ("sent", None, "")


def test_a_message_is_given_up_after_a_weekend(run_slot, monkeypatch, caplog):
    """A mail server may be down from Friday to Monday; a dead one does not keep a row waking schedulers for ever."""
    monkeypatch.setattr(outbox, "make_channel", Broken)
    run_slot(1, Outcome.FAILED, TRACE)

    tried = []
    while (at := Delivery.objects.get().next_try_at) is not None:
        tried.append((at - NOON) // timedelta(minutes=1) - 5)
        outbox.send_due(at)

    assert tried[:8] == [1, 3, 7, 15, 31, 63, 123, 183]
    assert timedelta(minutes=tried[-1]) > timedelta(days=3)
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.tries, delivery.next_try_at) == ("failed", outbox.MOST_TRIES, None)
    assert caplog.messages[-1] == (
        "an alert is given up after 78 tries: heartbeat failed: ConnectionRefusedError: no mail server"
    )


@pytest.mark.django_db(transaction=True)
def test_a_mail_server_that_hangs_does_not_hold_the_scheduler(monkeypatch):
    """Sending goes on in a thread of its own; a second call does not start a second one."""
    entered, release, calls = threading.Event(), threading.Event(), []

    def hang(now, channel):
        calls.append(channel)
        entered.set()
        assert release.wait(30)

    monkeypatch.setattr(outbox, "due_channels", lambda now: ["admins"])
    monkeypatch.setattr(outbox, "send_due", hang)
    alert_sender = AlertSender()

    alert_sender.start()
    assert entered.wait(30)
    alert_sender.start()
    alert_sender._looking.join(30)
    release.set()
    alert_sender.finish(30)

    assert calls == ["admins"]


def test_a_database_that_is_away_is_one_line(monkeypatch, caplog):
    """A traceback of sixty lines at each turn hides what is wrong, and the name of a function tells nothing."""

    def away(*args, **kwargs):
        raise OperationalError("disk I/O error")

    monkeypatch.setattr(ledger, "writing", away)

    watch.inspect(NOON)

    assert [(record.getMessage(), record.exc_info) for record in caplog.records] == [
        (
            "incidents could not be looked at; the next pass does it: the database did not answer: disk I/O error",
            None,
        )
    ]


def test_an_error_of_many_lines_goes_by_its_first(run_slot):
    """A database's error ends in a detail; the last line alone names nothing."""
    error = 'IntegrityError: duplicate key value violates "u"\nDETAIL:  Key (id)=(1) already exists.\n'
    run_slot(1, Outcome.FAILED, TRACE.rpartition("ValueError")[0] + error)

    summary = 'failed: IntegrityError: duplicate key value violates "u"'
    assert Incident.objects.get().summary == summary
    assert Run.objects.get().detail == summary.removeprefix("failed: ")


@pytest.mark.parametrize(
    ("error", "name"),
    [
        ("the job called sys.exit(2)", "the job called sys.exit(2)"),
        ("'/bin/sh -c echo\necho' exited with 3", "echo' exited with 3"),
        (TRACE, "ValueError: order 17 has no customer"),
        (
            TRACE + "\nDuring handling:\n\n" + TRACE.replace("ValueError: o", "KeyError: o") + "\nmore",
            "KeyError: order 17 has no customer",
        ),
        ("", ""),
    ],
)
def test_an_error_is_named_by_its_exception(error, name):
    """Of a chain it is the outermost, which is what left the job."""
    assert named_error(error) == name


def test_an_exception_group_is_named_by_itself():
    """Python frames it with bars, and its last line is a rule."""
    try:
        raise ExceptionGroup("two went wrong", [ValueError("a"), KeyError("b")])
    except ExceptionGroup:
        error = traceback.format_exc()

    assert named_error(error) == "ExceptionGroup: two went wrong (2 sub-exceptions)"


def test_a_mail_says_what_it_shows(run_slot):
    """A line that reads backwards, or words that nobody sees, are read by filters and by machines."""
    run_slot(1, Outcome.FAILED, TRACE + "pay\u202eten\U000e0041\u200b")

    assert "pay�ten��" in mail.outbox[0].body


def test_a_mail_carries_no_control_characters(run_slot):
    """A mail is read in terminals too."""
    begun = run_slot(1, Outcome.FAILED, TRACE + "\x1b[2J\ttab")

    assert "customer\ttab\n" in mail.outbox[0].body
    assert "\x1b" not in mail.outbox[0].body
    assert f"manage.py crons show {begun.run}" in mail.outbox[0].body


def test_numbers_ids_and_addresses_do_not_make_another_error():
    """The mark is of the kind of error, not of its instance."""
    first = watch.fingerprint("failed", "KeyError: <Order 17 at 0x7f3a>")
    second = watch.fingerprint("failed", "KeyError: <Order 9 at 0x11ff>")

    assert first == second
    assert watch.fingerprint("timed_out", "KeyError: <Order 17 at 0x7f3a>") != first
    assert watch.fingerprint("failed", "ValueError: <Order 17 at 0x7f3a>") != first
