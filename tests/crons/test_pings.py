"""Pings: a real receiver is told of starts, successes and failures, and that the whole is alive."""

from __future__ import annotations

import uuid

import pytest

from crons import signals
from crons.dispatch import Dispatcher
from crons.verdicts import Outcome
from crons.watch.alerts import pings
from tests.crons.conftest import NOON, minutes
from tests.crons.receivers import hangs, receiver, says

pytestmark = pytest.mark.django_db
PATIENCE = 30


@pytest.fixture
def connected(monkeypatch):
    """As in a scheduler; without pauses between tries."""
    monkeypatch.setattr(pings, "PAUSES_SECONDS", (0.0, 0.0, 0.0))
    pings.connect()
    yield
    signals.attempt_begun.disconnect(dispatch_uid="crons.pings")
    signals.run_ended.disconnect(dispatch_uid="crons.pings")
    pings.finish(PATIENCE)


def test_a_run_pings_its_start_and_its_ending(connected, led, make_entry, settings, django_capture_on_commit_callbacks):
    make_entry("nightly")
    with receiver() as found:
        settings.CRONS = {**settings.CRONS, "ALERTS": {"PING": {"JOBS": {"*": f"{found.url}/{{name}}?create=1"}}}}
        for number, outcome in enumerate([Outcome.SUCCEEDED, Outcome.FAILED], start=1):
            now = NOON + minutes(5 * number)
            led.record(now)
            [begun] = led.begin(now)
            signals.attempt_begun.send_robust(None, begun=begun)
            with django_capture_on_commit_callbacks(execute=True):
                led.finish(begun, now, outcome, "ValueError: \x1b[2Jboom")
        pings.finish(PATIENCE)

    rid = uuid.uuid5(uuid.NAMESPACE_OID, f"crons run {begun.run}")
    assert [line.split("?")[0] for line, _, _ in found.got] == [
        "POST /hooks/s3cr3t-token/nightly/start",
        "POST /hooks/s3cr3t-token/nightly",
        "POST /hooks/s3cr3t-token/nightly/start",
        "POST /hooks/s3cr3t-token/nightly/fail",
    ]
    assert found.got[3][0].endswith(f"?create=1&rid={rid} HTTP/1.1")
    assert found.got[3][2].decode() == f"nightly failed (run {begun.run})\nValueError: boom"


def test_a_job_without_an_address_pings_nothing(connected, led, make_entry, settings):
    make_entry("nightly")
    with receiver() as found:
        settings.CRONS = {**settings.CRONS, "ALERTS": {"PING": {"JOBS": {"other": found.url}}}}
        led.record(NOON + minutes(5))
        [begun] = led.begin(NOON + minutes(5))
        signals.attempt_begun.send_robust(None, begun=begun)
        pings.finish(PATIENCE)

    assert found.got == []


def test_the_deployment_pings_only_while_it_works(settings, make_entry, instance):
    """The dead-man switch: who hears nothing any more knows that nothing looks at the clock."""
    with receiver() as found:
        settings.CRONS = {**settings.CRONS, "ALERTS": {"PING": {"DEPLOYMENT": found.url}}}
        dispatcher = Dispatcher("test", instance, {})
        dispatcher.inspect_rules(NOON, "")
        pings.finish(PATIENCE)
        assert [line for line, _, _ in found.got] == ["POST /hooks/s3cr3t-token HTTP/1.1"]
        make_entry("nightly")

        dispatcher.inspect_rules(NOON + minutes(60), "")
        pings.finish(PATIENCE)

    assert len(found.got) == 1


def test_a_receiver_that_refuses_is_given_up_and_named_without_its_secret(connected, caplog):
    with receiver() as found:
        found.answer = says("500 no")
        pings.PINGER.put(found.url, b"")
        pings.finish(PATIENCE)

    assert len(found.got) == 3
    assert caplog.messages == ["a ping was given up after 3 tries: 127.0.0.1 answered 500"]


def test_a_receiver_that_hangs_holds_up_no_other(connected):
    with receiver() as slow, receiver() as quick:
        slow.answer = hangs
        pings.PINGER.put(slow.url, b"")
        for _ in range(3):
            pings.PINGER.put(quick.url, b"")
        thread = pings.PINGER.threads.get(quick.url.split("/")[2])
        if thread is not None:
            thread.join(PATIENCE)

        assert len(quick.got) == 3
        slow.over.set()
