"""Pausing one entry, a tag, everything: each pause ends by its own end."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta, timezone

import pytest
from django.db import connection, connections
from django.db.migrations.executor import MigrationExecutor

from crons import api, cron, job, ledger
from crons.declarations import entries, sync
from crons.declarations.retiring import Retire
from crons.exceptions import Refused, UnknownJob
from crons.models import AuditEvent, Delivery, Deployment, Entry, Pause, Range, Run
from crons.watch import notice_of
from tests.crons.conftest import NOON, minutes

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """The database's clock says noon until a test moves it."""
    moments = {"now": NOON}
    monkeypatch.setattr(ledger, "database_now", lambda: moments["now"])
    return moments


@pytest.fixture
def three(make_entry):
    """Three entries, two of them tagged billing."""
    for name, tags in (("bill", ["billing"]), ("dun", ["billing", "mail"]), ("greet", ["mail"])):
        make_entry(name)
        Entry.objects.filter(name=name).update(tags=tags)


def held() -> dict[str, str]:
    """Return what holds each entry, by name; not those that nothing holds."""
    return {each.name: f"{each.pause_scope}:{each.pause_reason}" for each in api.entries().exclude(paused_at=None)}


def test_everything_is_paused_and_only_that_is_resumed(three):
    """Who stops the house must not, when it goes on, start what somebody else had stopped."""
    api.pause("dun", by="eve", reason="lawyers")

    assert api.pause_all(by="dana", reason="flood") == ["bill", "dun", "greet"]
    assert held() == {"bill": "all:flood", "dun": "all:flood", "greet": "all:flood"}

    assert api.resume_all(by="dana") == ["bill", "greet"]
    assert held() == {"dun": ":lawyers"}
    assert api.resume("dun", by="eve").paused_at is None
    assert (held(), Pause.objects.count()) == ({}, 0)


def test_a_tag_and_everything_end_apart(three):
    """Two who pause do not know of each other."""
    assert api.pause_all(by="dana", reason="bank is down", tag="billing") == ["bill", "dun"]
    api.pause_all(by="eve", reason="flood")
    api.pause_all(by="finn", reason="spam", tag="mail")

    assert api.resume_all(by="eve") == []
    assert held() == {"bill": "tag:billing:bank is down", "dun": "tag:mail:spam", "greet": "tag:mail:spam"}
    assert api.resume_all(by="finn", tag="mail") == ["greet"]
    assert held() == {"bill": "tag:billing:bank is down", "dun": "tag:billing:bank is down"}
    assert api.resume_all(by="dana", tag="billing") == ["bill", "dun"]


def test_the_pause_that_lasts_longest_is_named(three):
    """A reader asks how long; the answer is that of the last to end."""
    api.pause_all(by="dana", reason="backup", until=NOON + minutes(20))
    api.pause("bill", by="eve", reason="audit", until=NOON + minutes(60))

    bill, dun = Entry.objects.get(name="bill"), Entry.objects.get(name="dun")
    assert (bill.paused_until, bill.paused_by, bill.pause_scope) == (NOON + minutes(60), "eve", "")
    assert (dun.paused_until, dun.paused_by, dun.pause_scope) == (NOON + minutes(20), "dana", "all")


def test_slots_of_a_wide_pause_are_accounted_for(three, clock, led):
    """As with one entry: before it they run, within it they are skipped, after it they run again."""
    clock["now"] = NOON + minutes(6)
    api.pause_all(by="dana", reason="flood")
    clock["now"] = NOON + minutes(16)
    api.resume_all(by="dana")
    led.record(NOON + minutes(20))

    assert Run.objects.filter(entry__name="bill").count() == 2
    assert {run.slot_at for run in Run.objects.all()} == {NOON + minutes(5), NOON + minutes(20)}
    assert [(each.first_at, each.last_at, each.reason) for each in Range.objects.all()] == [
        (NOON + minutes(10), NOON + minutes(15), "paused")
    ] * 3


def test_a_wide_pause_with_an_end_ends_by_itself(three, led):
    """Nobody has to be awake."""
    api.pause_all(by="dana", reason="backup", until=NOON + minutes(7))

    led.record(NOON + minutes(10))

    assert {run.slot_at for run in Run.objects.all()} == {NOON + minutes(10)}
    assert held() == {}
    assert ledger.wide_pauses(NOON + minutes(10), "default") == []


def test_what_a_deploy_adds_is_paused_as_well(three, settings, empty_registry):
    """Everything means everything: a job that is new, has a new tag, or is declared again."""
    settings.CRONJOBS = ()
    job(cron("0 * * * *"), name="greet")(lambda: None)
    sync.sync(NOON, retire=Retire.FEW)
    assert Entry.objects.get(name="bill").retired_at == NOON
    api.pause_all(by="dana", reason="flood")

    job(cron("0 * * * *"), name="fresh")(lambda: None)
    job(cron("0 * * * *"), name="bill")(lambda: None)
    sync.sync(NOON + minutes(1))

    assert held() == {"bill": "all:flood", "fresh": "all:flood", "greet": "all:flood"}
    assert api.resume_all(by="dana") == ["bill", "fresh", "greet"]


def test_a_tag_that_comes_later_brings_its_pause(three, settings, empty_registry):
    """And one that goes takes it along; what fell due before is accounted for as it stood."""
    settings.CRONJOBS = ()
    job(cron("*/5 * * * *"), name="bill", tags=["billing"])(lambda: None)
    job(cron("*/5 * * * *"), name="greet", tags=["mail"])(lambda: None)
    sync.sync(NOON, retire=Retire.FEW)
    api.pause_all(by="dana", reason="bank is down", tag="billing")
    empty_registry.clear()
    job(cron("*/5 * * * *"), name="bill", tags=["mail"])(lambda: None)
    job(cron("*/5 * * * *"), name="greet", tags=["billing"])(lambda: None)

    sync.sync(NOON + minutes(6))

    assert held() == {"greet": "tag:billing:bank is down"}
    assert [each.entry.name for each in Range.objects.all()] == ["bill"]
    assert [run.entry.name for run in Run.objects.all()] == ["greet"]


def test_one_entry_cannot_be_lifted_out_of_a_wide_pause(three):
    """It would be paused again by the next deploy; and whoever asks has to know what holds it."""
    api.pause_all(by="dana", reason="flood")

    with pytest.raises(Refused) as error:
        api.resume("bill", by="eve")

    assert str(error.value) == (
        "'bill' has no pause of its own: everything is paused since 2026-03-02 12:00:00 UTC by dana: flood. "
        "To end it: manage.py crons resume --all"
    )
    assert held()["bill"] == "all:flood"


def test_pauses_are_refused_where_they_would_hold_nothing_or_tell_nothing(three):
    """Each says what came and what was expected; none of it leaves a row."""
    told = []
    for ask in (
        lambda: api.pause_all(by="dana", reason="x", tag="biling"),
        lambda: api.pause_all(by="dana", reason=" "),
        lambda: api.pause("bill", by="dana", reason="x", until=NOON),
        lambda: api.pause("bill", by="dana", reason="x", until=NOON.replace(tzinfo=None)),
    ):
        with pytest.raises(Refused) as error:
            ask()
        told.append(str(error.value))
    with pytest.raises(UnknownJob, match="Did you mean 'bill'"):
        api.pause("bil", by="dana", reason="x")

    assert told == [
        "no entry is tagged 'biling'. Did you mean 'billing'? Known tags: billing, mail.",
        "a pause needs a reason: whoever wonders why nothing runs will read it.",
        "until 2026-03-02T12:00:00+00:00 is past: expected a moment to come.",
        "until=2026-03-02T12:00:00 has no time zone: expected an aware moment.",
    ]
    assert (Pause.objects.count(), AuditEvent.objects.count(), held()) == (0, 0, {})


def test_pausing_again_says_it_anew(three):
    """A second reason replaces the first; there is one pause to end."""
    api.pause_all(by="dana", reason="flood")
    api.pause_all(by="eve", reason="flood, and fire")

    assert set(held().values()) == {"all:flood, and fire"}
    assert len(api.resume_all(by="eve")) == 3
    assert api.resume_all(by="eve") == []
    events = AuditEvent.objects.order_by("pk").values_list("verb", "actor", "subject_type", "subject")
    assert list(events) == [
        ("pause", "dana", "all", "all"),
        ("pause", "eve", "all", "all"),
        ("resume", "eve", "all", "all"),
    ]
    assert AuditEvent.objects.first().after == {"until": None, "entries": 3}


def test_a_pause_and_its_audit_event_are_one_deed(three, monkeypatch):
    """If who did it cannot be written down, it is not done."""
    from crons.ledger.operations import pauses

    monkeypatch.setattr(pauses, "note", lambda *args, **kwargs: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        api.pause_all(by="dana", reason="flood")

    assert (held(), Pause.objects.count()) == ({}, 0)


def test_two_thousand_entries_take_no_more_statements_than_one_thousand_twice(
    make_entry, django_assert_max_num_queries
):
    """A flood does not wait for a statement per entry."""
    made = make_entry("first")
    fields = {each.attname: getattr(made, each.attname) for each in Entry._meta.concrete_fields if each.attname != "id"}
    Entry.objects.bulk_create(
        [Entry(**{**fields, "name": f"e{number}", "job": f"e{number}"}) for number in range(1999)]
    )

    with django_assert_max_num_queries(50):
        names = api.pause_all(by="dana", reason="flood")

    assert len(names) == 2000
    assert Entry.objects.filter(paused_at=NOON, pause_scope="all").count() == 2000


@pytest.mark.django_db(transaction=True)
def test_an_entry_declared_at_that_moment_is_held(three, settings, empty_registry, monkeypatch):
    """The pause sees it or it sees the pause, whichever commits first."""
    settings.CRONJOBS = ()
    Deployment.objects.get_or_create(pk=1, defaults={"identity": "here", "adopted_at": NOON})
    job(cron("0 * * * *"), name="fresh")(lambda: None)
    writes, goes_on = threading.Event(), threading.Event()
    real = ledger.apply_pauses

    def slow(paused, now, using):
        real(paused, now, using)
        if paused[0].name == "fresh":
            writes.set()
            goes_on.wait(5)

    monkeypatch.setattr(entries, "apply_pauses", slow)

    def deploy():
        try:
            sync.sync(NOON)
        finally:
            connections.close_all()

    def stop():
        try:
            ledger.pause_all(NOON, by="dana", reason="flood")
        finally:
            connections.close_all()

    deploying, stopping = threading.Thread(target=deploy), threading.Thread(target=stop)
    deploying.start()
    assert writes.wait(10)
    stopping.start()
    goes_on.set()
    deploying.join()
    stopping.join()

    assert held()["fresh"] == "all:flood"


@pytest.mark.django_db(transaction=True)
def test_pauses_and_messages_of_the_release_before_are_kept():
    """Whoever migrates over a paused job still finds it paused, and can end that; what waits in the outbox is told."""
    executor = MigrationExecutor(connection)
    executor.migrate([("crons", "0002_asked_at")])
    try:
        apps = executor.loader.project_state([("crons", "0002_asked_at")]).apps
        incident = apps.get_model("crons", "Incident").objects.create(rule="failing", opened_at=NOON, changed_at=NOON)
        told = {"event": "failing:x", "channel": "admins", "subject": "old failed", "text": 'no "customer"\n17'}
        apps.get_model("crons", "Delivery").objects.create(incident=incident, next_try_at=NOON, **told)
        paused = apps.get_model("crons", "Entry").objects.create(
            name="old",
            job="old",
            schedule="* * * * *",
            zone="UTC",
            first_seen_at=NOON,
            accounted_until=NOON,
            paused_at=NOON,
            paused_until=NOON + timedelta(days=1),
            paused_by="dana",
            pause_reason="audit",
        )
    finally:
        again = MigrationExecutor(connection)
        again.migrate(again.loader.graph.leaf_nodes())

    row = Pause.objects.get()
    assert (row.scope, row.entry_id, row.by, row.reason) == (f"entry:{paused.pk}", paused.pk, "dana", "audit")
    assert (row.paused_at, row.until) == (NOON, NOON + timedelta(days=1))
    assert notice_of(Delivery.objects.get()).as_text() == 'old failed\n\nno "customer"\n17'


@pytest.mark.parametrize("hours", [0, -5, 14])
def test_an_end_beyond_all_schedules_is_refused(three, hours):
    """No zone can show it, and the first page that tried would fail."""
    never = datetime.max.replace(tzinfo=timezone(timedelta(hours=hours)))

    for pause in (lambda: api.pause("bill", by="dana", reason="x", until=never),
                  lambda: api.pause_all(by="dana", reason="x", until=never)):  # fmt: skip
        with pytest.raises(Refused, match=r"is never: leave it out, and it holds until somebody resumes it\.$"):
            pause()

    assert held() == {}
