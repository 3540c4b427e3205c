"""Rules over an entry's newest runs, and over the code that schedulers run."""

from __future__ import annotations

from datetime import timedelta

import pytest

from crons import watch
from crons.models import Delivery, Entry, Heartbeat, Incident, Run
from crons.verdicts import Outcome
from crons.watch.rules import FEW
from tests.crons.conftest import NOON, minutes

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_registry")]


@pytest.fixture(autouse=True)
def admins(settings):
    """Somebody reads mail."""
    settings.ADMINS = ["ops@example.com"]


@pytest.fixture
def slot(led):
    """Record what is due at a minute after noon, begin it *late* minutes later, end it, and ask all rules."""

    def at(minute, *, late=0.0, outcome=Outcome.SUCCEEDED, room=10):
        led.record(NOON + minutes(minute))
        now = NOON + minutes(minute + late)
        for each in led.begin(now, room) if room else []:
            led.finish(each, now, outcome, "" if outcome == Outcome.SUCCEEDED else "ValueError: x")
        watch.inspect(now)
        watch.inspect_rules(now)

    return at


def told(kind):
    found = Delivery.objects.filter(incident__rule=kind).order_by("pk")
    return [(each.notice["change"], each.subject) for each in found]


def test_a_slot_begun_late_is_told_until_one_is_in_time(make_entry, slot):
    """It was looked at in time, and no place was free: nothing said so."""
    make_entry("report")
    slot(5)
    assert Incident.objects.count() == 0
    slot(10, late=2)
    slot(15, late=3)
    slot(20, late=0.5)
    slot(25)

    assert told("late") == [("opened", "report begun late"), ("closed", "report is begun in time again")]
    notice = Delivery.objects.filter(incident__rule="late").order_by("pk")[0].notice
    assert notice["text"] == "the slot 2026-03-02 12:10:00 UTC was begun 2 min late"
    assert notice["next_step"] == "Why: manage.py crons why report 2026-03-02T12:10Z"
    assert Incident.objects.get(rule="late").summary == (
        "its last 2 slots were begun late; the slot 2026-03-02 12:15:00 UTC was begun 3 min late"
    )


def test_a_slot_of_a_monthly_job_that_was_late_is_not_called_well(make_entry, slot):
    """After eight days the rule looks at it no more; that its next slot was in time would be an invention."""
    make_entry("report", "0 13 2 * *")
    slot(60, late=2)
    watch.inspect_rules(NOON + timedelta(days=8))
    watch.inspect_rules(NOON + timedelta(days=8, hours=2))

    assert told("late") == [
        ("opened", "report begun late"),
        ("closed", "report begun late, and without another slot for 8 d: told of no more"),
    ]
    notice = Delivery.objects.filter(incident__rule="late").order_by("pk")[1].notice
    assert notice["text"] == (
        "It was: the slot 2026-03-02 13:00:00 UTC was begun 2 min late\nWhether it is well its next slot will show."
    )


def test_a_slot_that_was_recorded_and_not_begun_is_missed(make_entry, slot):
    """A newer slot took its place in the queue: each hour again, and nobody was told."""
    make_entry("report")
    slot(5)
    for minute in range(10, 25, 5):
        slot(minute, room=0)
    slot(25)

    assert told("missed") == [
        ("opened", "report missed slots that were recorded"),
        ("closed", "report is begun again"),
    ]
    assert Incident.objects.get(rule="missed").summary == (
        "2 slots in a row were recorded, and not begun in time: it had not begun when the slot "
        "2026-03-02 12:20:00 UTC fell due"
    )
    assert Run.objects.filter(verdict="missed").count() == 3


def test_what_an_outage_cost_is_said_once(make_entry, slot):
    """Its slots were missed and begun late, too."""
    make_entry("report", "* * * * *")
    slot(1)
    slot(61)
    slot(62)

    assert {each.rule for each in Incident.objects.all()} == {"outage"}


def test_a_job_that_fails_time_and_again_is_one_incident(make_entry, slot):
    """Each failure was over with the next success, and five mails a day said nothing of the whole."""
    make_entry("load")
    for number in range(1, 25):
        slot(5 * number, outcome=Outcome.FAILED if number % 4 == 0 else Outcome.SUCCEEDED)

    assert told("unsteady") == [("opened", "load fails time and again")]
    assert Incident.objects.get(rule="unsteady").summary == (
        "5 of its last 20 runs did not succeed, the last for: ValueError: x"
    )

    for number in range(25, 37):
        slot(5 * number)

    assert told("unsteady")[1:] == [("closed", "load is steady again")]


def test_a_job_says_how_many_of_its_runs_may_fail(make_entry, slot):
    """Three of ten are bad for a backup; for a probe of somebody else's server no number is."""
    make_entry("backup", unsteady=(3, 10))
    make_entry("probe", unsteady=(0, 20))
    for number in range(1, 12):
        slot(5 * number, outcome=Outcome.FAILED if number in (3, 5, 10) else Outcome.SUCCEEDED)

    assert told("unsteady") == [("opened", "backup fails time and again")]
    assert Incident.objects.get(rule="unsteady").summary == (
        "3 of its last 10 runs did not succeed, the last for: ValueError: x"
    )

    for number in range(12, 20):
        slot(5 * number)

    assert told("unsteady")[1:] == [("closed", "backup is steady again")]


def test_what_only_fails_is_no_trend(make_entry, slot):
    """The rule *failing* says it, at its first and fifth in a row."""
    make_entry("load")
    for number in range(1, 8):
        slot(5 * number, outcome=Outcome.FAILED)

    assert told("unsteady") == []
    assert told("failing") == [("opened", "load failed"), ("worsened", "load failed 5 times in a row: failed")]
    assert Incident.objects.get().severity == "critical"


def test_many_that_are_late_at_once_are_one_incident(make_entry, slot):
    """The pool was full: one cause, one message."""
    for number in range(FEW + 1):
        make_entry(f"job{number}")
    slot(5)
    slot(10, late=2)

    assert told("late") == [("opened", "6 jobs begun late")]


def test_what_is_retired_is_looked_at_no_more(make_entry, slot):
    """Nobody waits for it."""
    make_entry("report")
    slot(5, late=2)
    Entry.objects.update(retired_at=NOON + minutes(8))
    watch.inspect_rules(NOON + minutes(9))

    assert Incident.objects.get(rule="late").open_key is None


# ── old code ──────────────────────────────────────────────────────────────────────────────────────


def serve(host, minute, *declares, release=""):
    """A scheduler that was started at a minute after noon."""
    Heartbeat.objects.create(
        instance=host, kind="serve", host=host, pid=7, boot_id="b", started_at=NOON + minutes(minute),
        beat_at=NOON, expected_by=NOON + minutes(600), declares=sorted(declares), release=release,
    )  # fmt: skip


def test_a_scheduler_that_a_deploy_has_left_out_is_told_after_a_while():
    """It begins what the new code has changed, and not what is new."""
    serve("web1", 0, "a", "b", release="41")
    serve("web2", 30, "a", "c", release="42")
    watch.inspect_rules(NOON + minutes(39))
    assert Incident.objects.filter(rule="old code").count() == 0

    watch.inspect_rules(NOON + minutes(40))
    Heartbeat.objects.filter(instance="web1").delete()
    watch.inspect_rules(NOON + minutes(50))

    assert told("old code") == [
        ("opened", "serve on web1 (pid 7) runs other code than the rest"),
        ("closed", "serve on web1 (pid 7) is on the code of the rest"),
    ]
    assert Incident.objects.get(rule="old code").summary == (
        "serve on web1 (pid 7) runs other code than serve on web2 (pid 7), which was started after it: "
        "release 41, not 42; it does not know c; it still knows b"
    )


def test_schedulers_of_one_code_and_of_two_projects_are_as_they_should_be():
    """Two projects on one database share no job but those of crons."""
    serve("web1", 0, "a", "b", "crons.prune", release="41")
    serve("web2", 30, "a", "b", "crons.prune", release="41")
    serve("other", 60, "x", "crons.prune", release="7")

    watch.inspect_rules(NOON + minutes(300))

    assert Incident.objects.filter(rule="old code").count() == 0
