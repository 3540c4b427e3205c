"""Reads of the ledger go where its writes go, whatever the project's router says of reading."""

from __future__ import annotations

from typing import Any, cast

import pytest

from crons import api, ledger, watch
from crons.attempts import Unstarted
from crons.declarations import sync
from crons.dispatch import Dispatcher
from crons.jobs import Job, registry
from crons.jobs.policies import Retry
from crons.ledger import deployment
from crons.models import Run
from crons.triggers import heartbeat
from crons.triggers.entry import EntryTrigger
from crons.triggers.session import Session
from crons.verdicts import Outcome
from crons.watch.alerts import outbox
from tests.crons.conftest import NOON, minutes

pytestmark = pytest.mark.django_db


class Replica:
    """Sends reads to a replica that lags behind: whoever asks of the ledger's models reads what is no longer so."""

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        if model._meta.app_label == "crons":
            raise AssertionError(f"{model.__name__} is read from a replica")
        return None


@pytest.fixture
def replica(led, make_entry, settings):
    """A job known here, with two slots due at 12:10; from now on a router sends reads elsewhere."""
    registry.jobs["heartbeat"] = Job("heartbeat", print)
    make_entry(retry=Retry(1), catch_up="all")
    settings.DATABASE_ROUTERS = [Replica()]
    led.record(NOON + minutes(10))


def begin(instance):
    """Begin one run; the helper that other tests use reads entries as a test may."""
    ledger.settle(NOON + minutes(20))
    return ledger.begin(NOON + minutes(20), {"process": 1}, registry.jobs, instance)[0]


def test_the_ledger_reads_what_it_writes(replica, led):
    """Begin, finish, retry, fence, cancel and expire, with a failure that is told."""
    first = begin(led.instance)
    assert ledger.read_attempt(first.attempt) == first
    led.finish(first, NOON + minutes(20), Outcome.TIMED_OUT)
    second = begin(led.instance)
    with ledger.fenced(second.attempt):
        pass
    ledger.renew([second.attempt], NOON + minutes(20))
    ledger.request_cancel(second.run, NOON + minutes(20), reason="enough")
    ledger.expire(NOON + minutes(20))
    ledger.release_unstarted(led.instance.name, [], Unstarted(), NOON + minutes(20))
    watch.inspect(NOON + minutes(20))
    outbox.send_due(NOON + minutes(20))

    assert [problem.kind for problem in api.health()].count("failing") == 1


def test_operating_reads_what_it_writes(replica, led):
    """What people ask is answered from where it was written."""
    api.pause("heartbeat", by="ann", reason="moving")
    api.resume("heartbeat", by="ann")
    run = api.run_now("heartbeat", by="ann")
    api.cancel(run.pk, by="ann", reason="enough")
    deployment.adopt("ann")
    heartbeat.beat(led.instance, NOON)
    assert [each.entry for each in api.upcoming("heartbeat", count=1)] == ["heartbeat"]
    sync.sync(ledger.database_now())
    sync.replan_changed_zones()

    assert {each.entry.name for each in api.history("heartbeat")} == {"heartbeat"}


def test_the_trigger_reads_what_it_writes(replica, led):
    """Its sentences name the entry, after the run was read anew."""
    said: list[str] = []
    session = cast(Session, Standing(Dispatcher("crontab", led.instance, {})))

    assert EntryTrigger(session, said.append).manual("heartbeat", by="ann") == 1

    run = Run.objects.using("default").latest("pk")
    assert said == [f"run {run.pk} of heartbeat is recorded and waits for its turn."]


class Standing:
    """A session without a place to run anything."""

    stopping = None

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.dispatcher = dispatcher
