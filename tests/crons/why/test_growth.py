"""An answer costs the same after a year: so many statements at most, none of which reads the history."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from crons import api, ledger
from crons.ledger import note
from crons.models import Attempt, Entry, Range, Run
from crons.why.statements import MOST_STATEMENTS
from tests.crons.conftest import NOON, minutes
from tests.crons.filling import full_scans, plan
from tests.crons.growing import analyze, grow_done, grow_due, grow_ranges, shrink

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("files_that_shrink_again")]
NOW = NOON + minutes(5)


@pytest.fixture
def grown(empty_registry, world, make_entry, settings):
    """Twenty entries with a hundred thousand runs, ten thousand ranges, and an audit trail."""
    settings.CRONS = {**settings.CRONS, "GROUPS": {"reports": 1}}
    shrink()
    for number in range(20):
        make_entry(f"entry{number}", schedule="* * * * *")
    world.record(5)
    for number in range(2_000):
        note("pause", "entry", f"entry{number % 20}", "dana", NOON, "default", reason="night")
    for old, new in (("first", "second"), ("second", "entry3")):
        note("rename", "entry", new, "dana", NOON, "default", before={"name": old}, after={"name": new})
    grow_done(100_000, NOW)
    grow_due(2_000, NOW)
    grow_ranges(10_000, NOW)
    Entry.objects.update(first_seen_at=NOON - timedelta(days=400))
    world.clock.now = NOW
    world.lives("entry3")
    return world


def questions() -> dict[str, tuple[str, object, int | None]]:
    """One of each kind, among many rows."""
    entry = Entry.objects.get(name="entry3")
    done = Run.objects.filter(entry=entry, state="done")
    failed = done.filter(verdict="failed").order_by("-planned_at").first() or done.order_by("-planned_at").first()
    late = done.order_by("planned_at").first()
    Run.objects.filter(pk=late.pk).update(recorded_at=late.planned_at + timedelta(hours=3))
    missed = Range.objects.filter(entry=entry).order_by("-last_at").first()
    Run.objects.filter(entry=entry, slot_at__in=[missed.first_at, missed.last_at]).delete()
    Range.objects.filter(pk=missed.pk).update(reason="catch_up")
    skipped = done.exclude(pk__in=[failed.pk, late.pk]).order_by("-planned_at").first()
    detail = f"run {failed.pk} (attempt 1) was still going"
    Run.objects.filter(pk=skipped.pk).update(verdict="skipped", reason="overlap", detail=detail)
    waiting = Run.objects.filter(entry=entry, state="due").order_by("planned_at").first()
    Run.objects.filter(pk=waiting.pk).update(recorded_at=waiting.planned_at + timedelta(hours=3))
    unrecorded = NOW - timedelta(days=200)
    return {
        "the newest": ("entry3", None, None),
        "failed": ("entry3", failed.slot_at, None),
        "late": ("entry3", late.slot_at, None),
        "missed": ("entry3", missed.first_at, None),
        "overlap": ("entry3", skipped.slot_at, None),
        "due": ("entry3", waiting.slot_at, None),
        "by its number": ("entry3", None, waiting.pk),
        "by its first name": ("first", waiting.slot_at, None),
        "unrecorded": ("first", unrecorded, None),
        "no slot": ("entry3", NOON - timedelta(seconds=30), None),
        "to come": ("entry4", NOW + timedelta(days=3), None),
        "long ago": ("entry3", NOON - timedelta(days=300), None),
    }


def test_no_answer_reads_the_history(grown):
    """At night the database is slow already."""
    asked = questions()

    def wrong() -> list[str]:
        found = []
        for question, (name, moment, run) in asked.items():
            with CaptureQueriesContext(connection) as captured:
                api.why(name, moment, run=run)
            found += [f"{question}: {each}" for each in full_scans(captured)]
            if len(captured) > MOST_STATEMENTS:
                found.append(f"{question}: {len(captured)} statements")
            for each in captured:
                steps = "\n".join(plan(each["sql"])) if each["sql"].startswith("SELECT") else ""
                if "crons_run" in each["sql"] and "ANY(" in steps:
                    found.append(f"{question}: skips through an index: {each['sql']}")
                # Renames are looked for in the trail itself: once, where no entry has the name any more.
                is_by_subject = "crons_audit_subject" in steps or "rename" in each["sql"]
                if "crons_auditevent" in each["sql"] and not is_by_subject:
                    found.append(f"{question}: the audit trail not by its subject: {steps}")
        return found

    assert "\n".join(wrong()) == ""
    analyze()
    assert "\n".join(wrong()) == ""


def test_a_long_list_is_cut_and_said_to_be(world, report):
    """Of a run that was tried again and again the last tries are told."""
    run = world.run(5, 5.2)
    attempt = Attempt.objects.get(run=run)
    for number in range(2, 40):
        attempt.pk, attempt.number, attempt.token = None, number, f"{number:032x}"
        attempt.save()
    Run.objects.update(tries=39)

    answer = api.why("report", ledger.database_now().replace(minute=5, second=0))

    assert "It was tried 39 times; these are the last 5." in answer.because
    assert [each.number for each in answer.facts.run.attempts] == [35, 36, 37, 38, 39]
