"""What shows on the first page that a quiet system works, and what a busy one does."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from crons.models import Attempt, Entry, Range, Run
from crons.verdicts import Verdict
from crons.web import overview
from tests.crons.conftest import NOON, minutes

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


def ended(entry, at, verdict="succeeded", took=60, **fields):
    """A run of *entry* that is over, with its attempt."""
    given = {"planned_at": at, "slot_at": at, "recorded_at": at, "ended_at": at + timedelta(seconds=took), **fields}
    run = Run.objects.create(entry=entry, state="done", verdict=verdict, trigger="serve", tries=1, **given)
    attempt = tried(run, at, outcome=verdict, ended_at=run.ended_at)
    Run.objects.filter(pk=run.pk).update(current_attempt=attempt.pk)
    return run


def tried(run, at, **fields):
    where = {"executor": "process", "instance": "i", "host": "web1", "pid": 7, "boot_id": "b"}
    return Attempt.objects.create(run=run, number=1, token=uuid.uuid4(), begun_at=at, **where, **fields)


def test_evidence_counts_what_is_accounted_for_by_verdict(make_entry):
    """A page that only says that nothing is wrong could be one that does not look."""
    entry, other = make_entry("minutely"), make_entry("nightly")
    for number in range(7):
        ended(entry, NOON - minutes(number + 1))
    ended(other, NOON - minutes(9), "failed")
    ended(other, NOON - 2 * DAY, "lost")
    Range.objects.create(
        entry=other, first_at=NOON - minutes(60), last_at=NOON - minutes(20), count=37, verdict="missed",
        reason="catch_up", trigger="serve", recorded_at=NOON,
    )  # fmt: skip

    seen = overview.look(DAY, NOON)

    assert (seen.evidence.succeeded, seen.evidence.at_least) == (7, False)
    assert seen.evidence.others == ((Verdict.FAILED, 1), (Verdict.MISSED, 37))
    assert [(each.run.entry.name, each.run.verdict, each.before) for each in seen.ended_last] == [
        ("minutely", "succeeded", 6),
        ("nightly", "failed", 0),
        ("nightly", "lost", 0),
    ]


def test_nothing_is_counted_without_end(make_entry, monkeypatch):
    """To count a million rows takes longer than to show the page."""
    monkeypatch.setattr(overview, "MOST_COUNTED", 3)
    entry = make_entry()
    for number in range(5):
        ended(entry, NOON - minutes(number + 1))

    seen = overview.look(DAY, NOON)

    assert (seen.evidence.succeeded, seen.evidence.at_least) == (3, True)


def test_empty_ledger_has_no_evidence():
    """Nothing is made up."""
    seen = overview.look(DAY, NOON)

    assert seen.evidence.is_empty
    assert seen.ended_last == []


@pytest.fixture
def outage(make_entry):
    """Seventeen entries overdue; one long run; one retired."""
    entries = [make_entry(f"job{number:02}", since=NOON - minutes(47)) for number in range(17)]
    for number in range(8):
        ended(entries[0], NOON - DAY - minutes(number))
    run = Run.objects.create(
        entry=entries[0], state="running", planned_at=NOON - minutes(30), recorded_at=NOON, trigger="serve", tries=1
    )
    tried(run, NOON - minutes(30), lease_until=NOON + minutes(1))
    gone = make_entry("gone")
    Entry.objects.filter(pk=gone.pk).update(retired_at=NOON - minutes(5))
    return entries


def test_whole_board_costs_twelve_statements(outage):
    """With everything that it shows: an outage, a run, something retired."""
    with CaptureQueriesContext(connection) as captured:
        seen = overview.look(DAY, NOON)

    assert len(captured) <= 12
    [long] = seen.running.rows
    assert seen.usual[long.run.entry_id].is_beyond(NOON - long.begun_at)
    assert [each.name for each in seen.retired.rows] == ["gone"]
    assert len(seen.problems.rows) == 17
    assert [len(each.problems) for each in seen.folded.rows] == [17]


def test_page_says_it_in_one_line(outage, client, monkeypatch):
    """Three names at once, the others where somebody asks; what takes long is marked in words."""
    monkeypatch.setattr("crons.watch.look.Look.now", NOON)
    client.force_login(User.objects.create_superuser("dana"))

    page = client.get("/crons/").content.decode()

    assert "<strong>17 entries</strong>" in page
    assert page.count("was due, and nothing has looked") == 1
    assert "<summary>and 14 more</summary>" in page
    assert "longer than usual" in page
    assert "usually 1 min" in page
    assert 'hx-trigger="every 15s"' in page
