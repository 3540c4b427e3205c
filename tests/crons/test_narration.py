"""Incidents in the stream of events: each opens, comes back and closes there once, after it is committed."""

from __future__ import annotations

import logging
from contextlib import suppress

import pytest
from django.db import transaction

from crons import cron, job, watch
from crons.declarations import sync
from crons.declarations.retiring import Retire
from crons.events import EVENTS
from crons.exceptions import CronsError
from crons.models import Delivery, Incident
from crons.verdicts import Outcome
from crons.watch import Problem, problems
from tests.crons.conftest import NOON, minutes

pytestmark = pytest.mark.django_db


@pytest.fixture
def said(caplog, django_capture_on_commit_callbacks):
    """Do something, commit it, and return what the stream says of incidents: the event, the rule and the text."""
    caplog.set_level(logging.DEBUG, "crons.events")

    def said(act, *arguments):
        caplog.clear()
        with django_capture_on_commit_callbacks(execute=True):
            act(*arguments)
            assert of_incidents(caplog) == []  # nothing is committed yet
        return of_incidents(caplog)

    return said


def of_incidents(caplog):
    records = [each for each in caplog.records if getattr(each, "event", "").startswith("incident.")]
    for each in records:
        assert all(hasattr(each, field) for field in EVENTS[each.event])
    assert {each.incident for each in records} <= set(Incident.objects.values_list("pk", flat=True))
    return [(each.event, each.rule, each.getMessage()) for each in records]


@pytest.fixture
def look(monkeypatch):
    """Have inspection look at *minute* after noon and find *found*."""
    now: list[Problem] = []
    monkeypatch.setattr(problems, "RULES", [])
    monkeypatch.setattr("crons.watch.inspection.OVER_TIME", [lambda _: now])

    def look(minute, *found):
        now[:] = found
        watch.inspect_rules(NOON + minutes(minute))

    return look


def test_an_incident_that_comes_back_is_told_as_such(said, look, make_entry):
    """A log collector that counts what opens and what closes ends at nought, and sees that it was there again."""
    found = Problem.of("parked", "no zone 's3cret'", make_entry("backup"))

    assert said(look, 0, found) == [
        ("incident.opened", "parked", "incident opened: backup cannot be planned"),
    ]
    assert said(look, 1, found) == []
    assert said(look, 2) == [("incident.closed", "parked", "incident closed")]
    assert said(look, 3, found) == [
        ("incident.reopened", "parked", "incident reopened: backup cannot be planned"),
    ]
    assert said(look, 4) == []  # it has to be gone for an hour now
    assert said(look, 65) == [("incident.closed", "parked", "incident closed")]


def test_what_is_rolled_back_is_not_told(said, look, make_entry):
    """A look that another process disturbs is made again: it would be told of twice."""
    found = Problem.of("parked", "no zone 'X'", make_entry("backup"))

    def fails():
        with suppress(CronsError), transaction.atomic():
            look(0, found)
            raise CronsError

    assert said(fails) == []
    assert Incident.objects.count() == 0


def test_failures_are_told_without_their_errors(said, led, make_entry):
    """What a job raised may have a secret in it."""
    make_entry("report")

    def slot(minute, outcome):
        led.record(NOON + minutes(minute))
        for begun in led.begin(NOON + minutes(minute)):
            led.finish(begun, NOON + minutes(minute), outcome, "ValueError: s3cret")
        watch.inspect(NOON + minutes(minute))

    assert said(slot, 5, Outcome.FAILED) == [("incident.opened", "failing", "incident opened: report failed")]
    assert said(slot, 10, Outcome.FAILED) == []
    assert said(slot, 15, Outcome.SUCCEEDED) == [("incident.closed", "failing", "incident closed")]


def test_outages_are_told(said, led, make_entry):
    """One that comes back within an hour is the same."""
    make_entry("report", catch_up="none")

    def outage(minute):
        led.record(NOON + minutes(minute))
        watch.inspect(NOON + minutes(minute))

    opened, closed, again = (
        ("incident.opened", "outage", "incident opened: outage"),
        ("incident.closed", "outage", "incident closed"),
        ("incident.reopened", "outage", "incident reopened: outage"),
    )
    assert said(outage, 32) == [opened, closed]
    assert said(outage, 62) == [again]


def test_what_was_retired_is_told_and_is_info(said, empty_registry, settings):
    """As the table of rules has it: who wants to hear of what is wrong alone leaves it out by that."""
    settings.ADMINS = ["ops@example.com"]
    for name in ("load", "report"):
        job(cron("0 3 * * *"), name=name)(lambda: None)
    sync.sync(NOON, by="ann")
    empty_registry.clear()
    job(cron("0 3 * * *"), name="report")(lambda: None)

    assert said(lambda: sync.sync(NOON, retire=Retire.FEW, by="ann")) == [
        ("incident.opened", "retired", "incident opened: load retired"),
        ("incident.closed", "retired", "incident closed"),
    ]
    assert Incident.objects.get().severity == Delivery.objects.get().notice["severity"] == "info"
