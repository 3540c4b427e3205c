"""Which triggers came to a slot second: kept where the slot was named, at no cost for whoever comes first."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any, cast

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from crons import api, ledger
from crons.dispatch import Dispatcher
from crons.exceptions import LedgerUnavailable
from crons.jobs import Job, registry
from crons.ledger import existing
from crons.models import Entry, Run
from crons.presentation import came_second, describe_second
from crons.testing import clock as stopped
from crons.triggers.entry import EntryTrigger
from crons.triggers.session import Session
from tests.crons.conftest import NOON, minutes

pytestmark = pytest.mark.django_db
SLOT = NOON + minutes(5)


class Standing:
    """A session without a place to run anything."""

    stopping = None

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.dispatcher = dispatcher


@pytest.fixture(autouse=True)
def web1(monkeypatch):
    monkeypatch.setattr(existing, "host", lambda: "web1")


@pytest.fixture
def come(led, make_entry):
    """Have a trigger name the slot of 12:05 so many seconds after it; what it said is returned."""
    registry.jobs["heartbeat"] = Job("heartbeat", print)
    make_entry()

    def at(seconds: int, trigger: str = "crontab") -> list[str]:
        said: list[str] = []
        session = cast(Session, Standing(Dispatcher(trigger, led.instance, {})))
        with stopped.at(SLOT + minutes(seconds / 60)):
            EntryTrigger(session, said.append).scheduled("heartbeat")
        return said

    return at


def shown(*arguments: str) -> str:
    out = StringIO()
    call_command("crons", *arguments, stdout=out)
    return out.getvalue()


def test_whoever_comes_first_pays_nothing(come):
    with CaptureQueriesContext(connection) as captured:
        come(1)

    assert Run.objects.get().came_second is None
    assert [each["sql"] for each in captured if each["sql"].startswith("UPDATE") and "came_second" in each["sql"]] == []


def test_the_first_three_who_come_second_are_named_and_all_are_counted(come, led):
    led.record(SLOT)
    for seconds, trigger in ((1, "crontab"), (2, "beat"), (3, "crontab"), (4, "crontab"), (5, "beat")):
        come(seconds, trigger)

    run = Run.objects.get()

    assert (run.trigger, run.state) == ("serve", "due")
    assert run.came_second == {
        "count": 5,
        "first": [
            {"who": f"{trigger} on web1", "at": f"2026-03-02T12:05:0{seconds}+00:00"}
            for seconds, trigger in ((1, "crontab"), (2, "beat"), (3, "crontab"))
        ],
    }


def test_people_are_told_of_it(come, led, staff):
    """In `show`, on the page of the run, and in `why`, each in the entry's zone."""
    led.record(SLOT)
    Entry.objects.update(zone="Europe/Paris")
    for seconds in range(4, 8):
        come(seconds)
    run = Run.objects.get()

    page = staff("view_entry", "view_run").get(f"/crons/runs/{run.pk}").content.decode()
    with stopped.at(SLOT + minutes(1)):
        because = api.why("heartbeat", run=run.pk).because
        lines = shown("show", str(run.pk))
        row = json.loads(shown("show", str(run.pk), "--json"))

    named = ", ".join(f"crontab on web1 at 2026-03-02 13:05:0{seconds} +01:00" for seconds in (4, 5, 6))
    assert describe_second(run) == f"{named}, and 1 more"
    assert "<dt>Came second</dt>" in page
    assert f"{named}, and 1 more" in page.replace("<wbr>", "")
    assert f"{named}, and 1 more" in " ".join(lines.split())
    assert (
        "These came second, and found it recorded: crontab on web1 at 13:05:04, crontab on web1 at 13:05:05, "
        "crontab on web1 at 13:05:06, and 1 more."
    ) in because
    assert row["came_second"]["count"] == 4


def test_nothing_is_said_where_nobody_came(come, staff):
    come(1)
    run = Run.objects.get()

    page = staff("view_entry", "view_run").get(f"/crons/runs/{run.pk}").content.decode()

    assert "Came second" not in page
    assert "came second" not in shown("show", str(run.pk))


def test_a_database_that_refuses_keeps_nobody_from_the_run(come, led, monkeypatch):
    """The note is the least that a trigger does."""

    def away(*_: Any) -> None:
        raise LedgerUnavailable("the database did not answer: gone")

    led.record(SLOT)
    monkeypatch.setattr(ledger, "note_second", away)

    said = come(1)

    pk = Run.objects.get().pk
    assert said == [
        f"run {pk} of heartbeat does not keep that this came second: the database did not answer: gone",
        f"run {pk} of heartbeat is recorded and waits for its turn.",
    ]


@pytest.mark.parametrize(
    ("garbled", "first"),
    [
        ([1], []),
        ({"count": "many", "first": "me"}, []),
        ({"count": -4, "first": [7, {"who": "x"}, {"who": "x", "at": "noon"}, {"at": None}]}, None),
        ({"count": 2, "first": [{"who": "\x1b[2Jx", "at": "2026-03-02T12:05:00"}]}, None),
    ],
)
def test_what_somebody_has_written_there_by_hand_stops_nobody(come, led, staff, garbled, first):
    led.record(SLOT)
    Run.objects.update(came_second=garbled)
    run = Run.objects.get()

    assert came_second(run) == ((), 0)
    assert staff("view_entry", "view_run").get(f"/crons/runs/{run.pk}").status_code == 200
    come(1)

    kept = Run.objects.get().came_second
    assert kept["count"] >= 1
    if first is not None:
        assert kept["first"] == [{"who": "crontab on web1", "at": "2026-03-02T12:05:01+00:00"}]


def test_an_insert_that_lost_a_race_says_so_on_the_run_that_won(led, make_entry, monkeypatch):
    """Somebody else has written the slot between the look and the INSERT; the entry beside it is recorded."""
    make_entry()
    led.record(SLOT)
    make_entry("well")
    Entry.objects.filter(name="heartbeat").update(accounted_until=NOON, wake_at=NOON)
    monkeypatch.setattr(existing.queries, "after_accounts", lambda *_: [])

    done = led.record(SLOT + minutes(1), "tick")

    assert (done.runs, done.parked) == ([("well", SLOT)], ["heartbeat"])
    kept = {run.entry.name: run.came_second for run in Run.objects.select_related("entry")}
    told = {"count": 1, "first": [{"who": "tick on web1", "at": "2026-03-02T12:06:00+00:00"}]}
    assert kept == {"heartbeat": told, "well": None}
