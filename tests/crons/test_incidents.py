"""The one mechanism: what rules find opens, worsens and closes incidents, and each change is told once."""

from __future__ import annotations

import threading
from datetime import timedelta
from functools import partial

import pytest
from django.db import connections

from crons import watch
from crons.models import Delivery, Entry, Incident
from crons.watch import Problem, find_problems, problems, rules
from crons.watch.look import Look
from tests.crons.conftest import NOON, minutes

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def admins(settings):
    """Somebody reads mail."""
    settings.ADMINS = ["ops@example.com"]


@pytest.fixture
def seen(monkeypatch):
    """What the only rule finds: tests change the list between two looks."""
    found: list[Problem] = []

    def rule(look):
        yield from found

    monkeypatch.setattr(problems, "RULES", [])
    monkeypatch.setattr("crons.watch.inspection.OVER_TIME", [rule])
    return found


@pytest.fixture
def look(seen):
    """Have inspection look at *minute* after noon and find *found*."""

    def at(minute, *found):
        seen[:] = found
        watch.inspect_rules(NOON + minutes(minute))

    return at


def told():
    """Subjects of all that was told, in order."""
    return list(Delivery.objects.order_by("pk").values_list("subject", flat=True))


def changes():
    """What was told, by change."""
    return [each.notice["change"] for each in Delivery.objects.order_by("pk")]


def of(entry, kind="parked", text="no zone 'X'", **more):
    return Problem.of(kind, text, entry, **more)


def test_what_a_rule_finds_is_told_when_it_opens_and_when_it_is_over(look, make_entry):
    """Once each, however often it is looked at in between."""
    entry = make_entry("backup")
    for minute in (0, 1, 2):
        look(minute, of(entry, since=NOON - minutes(60), next_step="Install tzdata"))
    look(60)
    look(61)

    assert told() == ["backup cannot be planned", "backup is planned again"]
    opened, closed = [each.notice for each in Delivery.objects.order_by("pk")]
    assert (opened["change"], opened["severity"], opened["entry"]) == ("opened", "warning", "backup")
    assert (opened["text"], opened["next_step"]) == ("no zone 'X'", "Install tzdata")
    assert opened["since"] == "2026-03-02T11:00:00+00:00"
    assert closed["facts"] == [["lasted", "2 h, until 2026-03-02 13:00:00 UTC"]]
    incident = Incident.objects.get()
    assert (incident.entry, incident.open_key, incident.closed_at) == (entry, None, NOON + minutes(60))


def test_what_may_be_over_at_once_has_to_last(look, make_entry):
    """A run that waits a minute for a place is nobody's business, at night least of all."""
    entry = make_entry("backup")
    for minute in (0, 4):
        look(minute, of(entry, "waiting", "a run waits", since=NOON))
    assert Incident.objects.count() == 0

    look(5, of(entry, "waiting", "a run waits", since=NOON))

    assert told() == ["backup waits to be begun"]


def test_what_changes_is_told_once_for_each_kind(look, make_entry):
    """Another error, more of it, worse: and two that take turns are told once each."""
    entry = make_entry("backup")
    look(0, of(entry, text="error 17 of a", count=3))
    look(1, of(entry, text="error 18 of a", count=9))
    look(2, of(entry, text="error 18 of b", count=9))
    look(3, of(entry, text="error 18 of a", count=9))
    look(4, of(entry, text="error 18 of b", count=9))
    look(5, of(entry, text="error 18 of b", count=12))
    look(6, of(entry, text="error 18 of b", count=99))
    look(7, of(entry, text="error 18 of b", count=99, severity="critical"))
    look(8, of(entry, text="error 18 of b", count=8))

    assert told() == [
        "backup cannot be planned",
        "backup cannot be planned: otherwise than before",
        "backup cannot be planned: otherwise than before",
        "backup cannot be planned: 12 times",
        "backup cannot be planned: critical",
    ]
    assert changes() == ["opened", *["worsened"] * 4]
    incident = Incident.objects.get()
    assert (incident.count, incident.severity) == (8, "critical")


def test_a_thousand_at_once_are_one_incident(look, make_entry):
    """1,000 mails tell less than one. Those that had their own keep it; who comes later joins the others."""
    entries = [make_entry(f"job{number:04}") for number in range(1_000)]
    look(0, of(entries[0]), of(entries[1]))
    look(1, *map(of, entries))
    look(2, *map(of, entries))

    assert told() == ["job0000 cannot be planned", "job0001 cannot be planned", "998 jobs cannot be planned"]
    text = Delivery.objects.order_by("-pk")[0].notice["text"]
    assert text.startswith("  job0002: no zone 'X'\n  job0003: ")
    assert text.endswith("\n  … and 968 more")

    look(3, *map(of, entries[:3]))
    look(4)

    assert sorted(told()[3:]) == ["all jobs are planned again", "job0000 is planned again", "job0001 is planned again"]
    assert Incident.objects.filter(open_key__isnull=False).count() == 0


def test_few_at_once_have_one_each(look, make_entry):
    """Each owner reads of their own."""
    entries = [make_entry(f"job{number}") for number in range(rules.FEW)]

    look(0, *map(of, entries))

    assert told() == [f"job{number} cannot be planned" for number in range(rules.FEW)]


def test_what_comes_back_at_once_is_the_same_incident(look, make_entry):
    """A fault that comes and goes was a mail at each turn; it is over when it has been gone for an hour."""
    entry = make_entry("backup")
    for minute in range(0, 60, 10):
        look(minute, of(entry))
        look(minute + 5)
    look(114)
    assert told() == ["backup cannot be planned", "backup is planned again", "backup cannot be planned, again"]
    assert changes() == ["opened", "closed", "worsened"]

    look(116)

    assert told()[3:] == ["backup is planned again"]
    assert Incident.objects.count() == 1
    look(116 + 61, of(entry))
    assert Incident.objects.count() == 2
    assert changes()[-1] == "opened"


def test_a_rule_that_fails_closes_nothing(look, seen, make_entry, monkeypatch):
    """Whether it is over is not known; that the rule fails is an incident itself."""
    look(0, of(make_entry("backup")))

    def broken(look):
        raise RuntimeError("no such column")

    monkeypatch.setattr("crons.watch.inspection.OVER_TIME", [broken])
    watch.inspect_rules(NOON + minutes(1))

    assert told() == ["backup cannot be planned", "broken could not be looked at"]
    assert Incident.objects.filter(open_key__isnull=False).count() == 2


def test_who_looked_earlier_neither_closes_nor_opens_again(look, make_entry):
    """A process that was stopped between its look and its write finds what others did meanwhile."""
    entry = make_entry("backup")
    look(10, of(entry))
    look(9)
    assert Incident.objects.get().open_key is not None
    look(12)
    look(11, of(entry))

    assert Incident.objects.get().closed_at == NOON + minutes(12)
    assert changes() == ["opened", "closed"]


def test_as_many_as_a_rule_reads_may_be_more(look, make_entry, monkeypatch):
    """What it has not come to may still be so: nothing of its kind is closed."""
    monkeypatch.setattr("crons.watch.inspection.READ", 3)
    entries = [make_entry(f"job{number}") for number in range(4)]
    look(0, *map(of, entries[:2]))

    look(1, *map(of, entries[1:4]))

    assert Incident.objects.filter(open_key__isnull=False).count() == 4


def test_what_a_look_says_itself_is_not_said_again_by_its_incident(make_entry, settings):
    """The first page would count each parked entry twice."""
    make_entry("backup")
    Entry.objects.update(parked_reason="no zone", wake_at=NOON + minutes(600), accounted_until=NOON)
    watch.inspect_rules(NOON)

    found = [each.kind for each in find_problems(Look(NOON)) if each.entry == "backup"]

    assert Incident.objects.filter(rule="parked").count() == 1
    assert found == ["parked"]


def test_what_holds_for_one_process_is_no_incident(settings, empty_registry):
    """Two releases that declare different jobs would open and close it in turns."""
    settings.CRONS = {"ENABLED": False}

    watch.inspect_rules(NOON)

    assert Incident.objects.count() == 0


def test_every_rule_has_its_terms():
    """A severity that no channel knows would be routed nowhere."""
    for kind, terms in rules.RULES.items():
        assert terms.severity in rules.SEVERITIES, kind
        assert len(kind) <= 20, kind
        assert terms.lasts <= timedelta(minutes=15), kind
        assert not (terms.looks and terms.by_event), kind


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_racing_processes_tell_once(seen, make_entry, admins):
    """Each scheduler, tick and run looks, and cron starts those of all hosts in the same second."""
    entries = [make_entry(f"job{number}") for number in range(8)]

    for minute, found in ((0, entries[:3]), (1, entries), (2, [])):
        seen[:] = map(of, found)
        at_once(6, partial(watch.inspect_rules, NOON + minutes(minute)))

    assert sorted(told()) == sorted(
        [f"job{number} cannot be planned" for number in range(8)]
        + [f"job{number} is planned again" for number in range(8)]
    )
    assert Incident.objects.count() == 8


def at_once(count, act):
    """Have so many threads, each with a connection of its own, do the same at the same time."""
    barrier, errors = threading.Barrier(count), []

    def one():
        try:
            barrier.wait(60)
            act()
        except Exception as error:  # noqa: BLE001 (a thread's error fails the test below)
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=one) for _ in range(count)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(120)
    assert errors == []
