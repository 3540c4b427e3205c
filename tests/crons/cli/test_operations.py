"""The verbs of operators: filling holes, running with other arguments, cancelling, following."""

import json
import sys
from contextlib import suppress
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command

from crons.models import AuditEvent, Range, Run
from tests.crons.cli.conftest import NOW, Terminal

pytestmark = pytest.mark.django_db


def objects(text):
    return [json.loads(line) for line in text.splitlines()]


# backfill


@pytest.fixture
def hole(clock, make_entry):
    """Three half hours that nobody looked at."""
    entry = make_entry()
    Range.objects.create(
        entry=entry,
        first_at=NOW - timedelta(minutes=75),
        last_at=NOW - timedelta(minutes=15),
        count=3,
        verdict="missed",
        reason="catch_up",
        trigger="crontab",
        recorded_at=NOW,
    )
    return entry


def test_backfill_shows_the_slots_before_it_does_anything(crons, hole):
    """In the entry's zone, with the offset that tells both hours of this night apart."""
    said = crons("backfill", "report", "--from", "2026-10-24T23:00Z", "--dry-run")

    assert said.out.splitlines() == [
        "2026-10-25 01:00:00 +02:00",
        "2026-10-25 01:30:00 +02:00",
        "2026-10-25 02:00:00 +02:00",
        "3 slots of report in this span have no success.",
    ]
    assert (Run.objects.count(), AuditEvent.objects.count()) == (0, 0)


def test_backfill_needs_a_yes(crons, hole):
    """Nobody is here to ask: the line that needs nobody is told."""
    said = crons("backfill", "report", "--from", "2026-10-24T23:00Z")

    assert (said.code, said.err) == (
        1,
        "this needs a yes, and nobody is here to ask: manage.py crons backfill report … --yes\n",
    )
    assert Run.objects.count() == 0


@pytest.mark.parametrize(("answer", "made"), [("y\n", 3), ("\n", 0)])
def test_backfill_at_a_terminal_asks(hole, monkeypatch, paint, answer, made):
    """A span that is too long is seen in the question."""
    monkeypatch.setattr(sys, "stdin", Terminal(answer))

    with suppress(CommandError):
        call_command("crons", "backfill", "report", "--from", "2026-10-24T23:00Z", stdout=paint, stderr=paint)

    assert (
        "Run 3 slots of report, from 2026-10-25 01:00:00 +02:00 to 2026-10-25 02:00:00 +02:00? [y/N] "
    ) in paint.getvalue()
    assert Run.objects.filter(kind="backfill").count() == made


def test_backfill_repeated_finds_nothing(crons, hole):
    """Whoever is not sure whether it was done does it again."""
    first = crons("backfill", "report", "--from", "2026-10-24T23:00Z", "--yes")
    second = crons("backfill", "report", "--from", "2026-10-24T23:00Z", "--yes")
    as_json = crons("backfill", "report", "--from", "2026-10-24T22:30Z", "--to", "2026-10-24T23:00Z", "--yes", "--json")

    assert first.out == "3 slots of report are run, oldest first. See: manage.py crons history report\n"
    assert second.out == "Every slot in this span has succeeded, or waits for its turn already.\n"
    assert objects(as_json.out) == [{"entry": "report", "at": "2026-10-24T22:30:00Z"}]
    assert (Run.objects.count(), Range.objects.count()) == (4, 0)
