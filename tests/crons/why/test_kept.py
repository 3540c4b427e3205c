"""What the rows keep for whoever asks later, and rows that somebody has garbled."""

from __future__ import annotations

import pytest
from django.db import connection

from crons import api, ledger
from crons.models import AuditEvent, Range
from tests.crons.conftest import NOON, minutes
from tests.crons.test_garbled_rows import GARBLED, garble
from tests.crons.why.test_questions import deploy, nothing_else_declared

pytestmark = pytest.mark.django_db
__all__ = ["nothing_else_declared"]


def test_a_range_keeps_the_pause_that_skipped_its_slots(world, report):
    """The pause's own row goes when it ends; a slot that was missed has none."""
    world.record(5)
    ledger.pause_all(world.at(6), by="dana", reason="the bank is down", until=NOON + minutes(30))
    world.record(21)
    ledger.resume_all(world.at(22), by="eve")
    world.record(41)

    kept = {each.reason: each.pause for each in Range.objects.all()}

    assert kept == {
        "paused": {
            "since": "2026-03-02T12:06:00+00:00",
            "until": "2026-03-02T12:30:00+00:00",
            "by": "dana",
            "reason": "the bank is down",
            "scope": "all",
        },
        "catch_up": None,
    }


def test_a_deploy_that_changes_when_an_entry_runs_is_noted(world, nothing_else_declared, settings):
    """One that changes nothing of it, or only its rules, is not."""
    deploy(world, 0)
    deploy(world, 5)
    settings.CRONS = {"RELEASE": "42"}
    deploy(world, 10, "30 * * * *")
    deploy(world, 15, "30 * * * *", catch_up="all")

    event = AuditEvent.objects.get()

    assert (event.verb, event.subject, event.actor, event.at) == ("change", "report", "crons sync", NOON + minutes(10))
    assert event.before == {"schedule": "0 * * * *", "zone": "UTC"}
    assert event.after == {"schedule": "30 * * * *", "zone": "UTC", "host": "web1", "release": "42"}


@pytest.mark.parametrize(("column", "text"), [*GARBLED, ("tags", "7"), ("tags", "{}"), ("parked_reason", "x" * 5_000)])
def test_a_garbled_row_is_answered_all_the_same(world, report, column, text):
    """What cannot be planned is just what people ask about."""
    world.run(5, 5.2)
    garble(report, column, text)

    for moment in (None, "12:05", "12:07", "2026-03-02", "2026-03-02T12:10", "2026-03-03T02:00"):
        assert world.ask("report", moment, 9).startswith("report")


@pytest.mark.parametrize("kept", ['"x"', "7", "[]", '{"since": "soon", "by": null, "scope": 7}', "{}"])
def test_a_garbled_pause_of_a_range_is_answered_all_the_same(world, report, kept):
    """Somebody wrote into the row by hand."""
    ledger.pause("report", world.at(1), by="dana", reason="night")
    world.record(5)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE crons_range SET pause = %s", [kept])

    answer = api.why("report", NOON + minutes(5))

    assert answer.headline == "report, slot 2026-03-02 12:05:00 +00:00: skipped, because it was paused."
