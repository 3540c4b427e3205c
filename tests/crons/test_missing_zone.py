"""One host lacks a zone: that is its own problem, and the entry is planned by those that have it."""

from __future__ import annotations

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest

from crons import ledger
from crons.declarations import sync
from crons.dispatch import Dispatcher
from crons.hosts.instances import host
from crons.jobs import job
from crons.models import Entry, Heartbeat, Run
from crons.schedules import cron, zone_data
from tests.crons.conftest import NOON, minutes

pytestmark = pytest.mark.django_db
KYIV = "Europe/Kyiv"


@pytest.fixture
def lacks_kyiv(monkeypatch):
    """Make this machine one whose time zone data is older than that name; return how to mend it."""

    def older(name):
        if name == KYIV:
            raise ZoneInfoNotFoundError(f"No time zone found with key {name}")
        return ZoneInfo(name)

    monkeypatch.setattr("crons.ledger.entries.ZoneInfo", older)
    monkeypatch.setattr(zone_data, "fingerprint", lambda zone: "" if zone == KYIV else "same")
    return lambda: monkeypatch.setattr("crons.ledger.entries.ZoneInfo", ZoneInfo)


def serve_on(name, **fields):
    given = {"beat_at": NOON, "started_at": NOON, "expected_by": NOON + minutes(60), "boot_id": "b", "pid": 7, **fields}
    return Heartbeat.objects.create(instance=name, kind="serve", host=name, **given)


def test_an_entry_is_left_to_a_host_that_has_its_zone(make_entry, lacks_kyiv):
    """It was parked for all, by the host that knew least."""
    make_entry("theirs", zone=KYIV)
    make_entry("ours")
    serve_on("web2")
    lacking = set()

    done = ledger.record(NOON + minutes(5), "tick", lacking=lacking)
    again = ledger.record(NOON + minutes(5), "tick", lacking=lacking)
    agenda = ledger.agenda(NOON + minutes(5), lacking=lacking)

    assert (done.runs, done.parked, done.left) == ([("ours", NOON + minutes(5))], [], {"theirs": KYIV})
    assert lacking == {KYIV}
    assert again.entries == 0
    assert not agenda.must_record  # this host has nothing to do, and does not ask again at once
    row = Entry.objects.get(name="theirs")
    assert (row.parked_reason, row.accounted_until, row.wake_at) == ("", NOON, NOON)
    lacks_kyiv()
    assert ledger.record(NOON + minutes(5), "serve").runs == [("theirs", NOON + minutes(5))]


@pytest.mark.parametrize("others", ["none", "here", "silent", "lacks it too"])
def test_an_entry_that_no_living_host_reads_is_parked_until_one_does(make_entry, lacks_kyiv, others):
    """Somebody has to hear of it; the first host that has the zone ends it without a person."""
    make_entry("theirs", zone=KYIV)
    if others == "here":
        serve_on(host())
    elif others != "none":
        serve_on(
            "web2",
            lacks=[KYIV] if others == "lacks it too" else None,
            expected_by=NOON if others == "silent" else NOON + minutes(60),
        )

    done = ledger.record(NOON + minutes(5), "tick", lacking=set())

    assert done.parked == ["theirs"]
    assert Entry.objects.get().parked_reason == (
        f"the zone 'Europe/Kyiv' is not in the time zone data of {host()}, nor of another host whose scheduler runs: "
        "install tzdata, and start again"
    )
    lacks_kyiv()
    ledger.record(NOON + minutes(5), "serve")
    assert Entry.objects.get().parked_reason == ""
    assert Run.objects.get().slot_at == NOON + minutes(5)


def test_a_dispatcher_remembers_what_its_machine_lacks(make_entry, lacks_kyiv, instance):
    """Else each turn would find the same entry due, fifty times a second; the heartbeat says which zones those are."""
    make_entry(zone=KYIV)
    serve_on("web2")
    dispatcher = Dispatcher("serve", instance, {})

    first = dispatcher.turn(NOON + minutes(5))
    second = dispatcher.turn(NOON + minutes(5))

    assert (first.agenda.must_record, second.agenda.must_record) == (True, False)
    assert dispatcher.lacking == {KYIV}


def test_a_start_plans_nothing_anew_for_a_zone_that_its_machine_lacks(make_entry, lacks_kyiv):
    """It cannot tell whether the rules have changed; each start of either host had all planned anew."""
    make_entry(zone=KYIV)
    Entry.objects.update(zone_hash="theirs", wake_at=NOON + minutes(5))

    assert sync.replan_changed_zones() == []
    assert Entry.objects.get().wake_at == NOON + minutes(5)


def test_a_sync_where_the_zone_is_missing_leaves_the_row_as_it_is(empty_registry, make_entry, monkeypatch):
    """It wrote that the zone has no rules, and the other hosts planned everything in it anew."""
    job(cron("*/5 * * * *", zone="Europe/Berlin"), name="theirs")(lambda: None)
    sync.sync(NOON)
    before = Entry.objects.values().get(name="theirs")
    monkeypatch.setattr("crons.ledger.entries.ZoneInfo", {}.__getitem__)
    monkeypatch.setattr(zone_data, "fingerprint", lambda zone: "")

    done = sync.sync(NOON, kind="serve")

    after = Entry.objects.values().get(name="theirs")
    assert "theirs" in done.unchanged
    assert {name for name in before if before[name] != after[name]} == {"declared_by"}
