"""`crons why` at a terminal and for programs."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from crons.models import Range
from tests.crons.cli.conftest import NOW

pytestmark = pytest.mark.django_db


def test_why_prints_verdict_facts_and_what_to_do(crons, clock, make_entry, make_run, make_attempt):
    """The verdict first: at night nobody reads to the end to find it."""
    entry = make_entry()
    run = make_run(entry, NOW - timedelta(minutes=15), verdict="failed")
    make_attempt(run, outcome="failed", error="Traceback (most recent call last):\nValueError: no rows")

    said = crons("why", "report", "2026-10-25T02:00+02:00")

    assert said.out.splitlines() == [
        "report, slot 2026-10-25 02:00:00 +02:00: failed.",
        "  The schedule: Every 30 minutes, counted in UTC (every 1800s), in Europe/Berlin.",
        f"  serve recorded it at 02:00:00 as run {run.pk}.",
        "  Attempt 1 began at 02:00:00 on web1 and ended at 02:01:30, after 1 min 30 s: failed: ValueError: no rows.",
        "  The job has no retry=, so a failure is not tried again by itself.",
        "  The next slot is 02:30:00.",
        f"To do: read what it wrote: manage.py crons log {run.pk}",
        f"To do: when mended: manage.py crons retry {run.pk}",
    ]
    assert (said.err, said.code) == ("", 0)


def test_a_moment_needs_no_quotes(crons, clock, make_entry):
    """Copied from a line that crons printed; a word that a script left empty is no moment, not the newest slot."""
    make_entry()

    asked = [crons("why", "report", *words.split(",")) for words in ("2026-10-25,02:00:00,+02:00", "2026-10-25T00:00Z")]
    empty = crons("why", "report", "")

    assert asked[0].out == asked[1].out
    assert asked[0].out.startswith("report, slot 2026-10-25 02:00:00 +02:00: ")
    assert (empty.out, empty.code) == ("", 1)
    assert "'' is no moment." in empty.err


def test_why_json_is_one_object(crons, clock, make_entry):
    """Programs read words of a closed set, and pass the sentences on."""
    entry = make_entry()
    pause = {"since": "2026-10-25T00:05:00+00:00", "until": None, "by": "dana", "reason": "moving", "scope": "all"}
    slots = {"first_at": NOW - timedelta(minutes=15), "last_at": NOW - timedelta(minutes=15), "count": 1}
    ended = {"verdict": "skipped", "reason": "paused", "trigger": "serve", "recorded_at": NOW}
    Range.objects.create(entry=entry, pause=pause, **slots, **ended)

    said = crons("why", "report", "2026-10-25T02:00+02:00", "--json")

    assert json.loads(said.out) == {
        "entry": "report",
        "at": "2026-10-25T00:00:00Z",
        "zone": "Europe/Berlin",
        "status": "skipped",
        "reason": "paused",
        "run": None,
        "headline": "report, slot 2026-10-25 02:00:00 +02:00: skipped, because it was paused.",
        "because": [
            "The schedule: Every 30 minutes, counted in UTC (every 1800s), in Europe/Berlin.",
            "dana paused everything at 02:05:00 until somebody resumes it: moving.",
            "It is not paused any more.",
        ],
        "do": [
            "to run it after all: manage.py crons backfill report"
            " --since 2026-10-25T00:00:00Z --until 2026-10-25T00:00:01Z"
        ],
    }


def test_why_of_a_run_by_its_number(crons, clock, make_entry, make_run):
    """What somebody asked for has no slot."""
    run = make_run(make_entry(), None, requested_by="ann", trigger="api")

    said = crons("why", "report", "--run", str(run.pk))

    assert said.out.splitlines()[:2] == [
        f"report, run {run.pk} by hand at 2026-10-25 02:15:00 +02:00: succeeded.",
        "  ann asked for it at 02:15:00 (trigger api); no slot was due.",
    ]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("reprot",), "'reprot' is not declared. Did you mean 'report'? See: manage.py crons list"),
        (("report", "25:00"), "'25:00' is no moment. Expected a time such as 09:00"),
        (("report", "2026-02-30"), "'2026-02-30' is no moment."),
        (("report", "--run", "7"), "run 7 is none of 'report'. See: manage.py crons history report"),
    ],
)
def test_why_refuses_what_it_cannot_answer(crons, clock, make_entry, words, complaint):
    """What came, what was expected, and where to look."""
    make_entry()

    said = crons("why", *words)

    assert (said.out, said.code) == ("", 1)
    assert complaint in said.err


def test_why_shows_hostile_text_as_text(crons, clock, make_entry, make_run):
    """A job's own words must not steer the terminal of who reads them."""
    make_run(make_entry(), NOW - timedelta(minutes=15), verdict="cancelled", detail="\x1b[2Jgone\u202e.txt")

    said = crons("why", "report", "2026-10-25T02:00+02:00")

    assert "gone�.txt" in said.out
    assert "\x1b" not in said.out
