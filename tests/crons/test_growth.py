"""What people ask costs the same after a year: no plan reads the history, with statistics and without."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.db.models import F, Q
from django.test.utils import CaptureQueriesContext, override_settings

from crons import api
from crons.doctor import rows as doctor
from crons.jobs import Policy
from crons.management.verbs.log import run_to_follow
from crons.models import Attempt, Entry, Range, Run
from crons.watch import Look, Problem, last_success_of, usual_of
from crons.watch.past import idle, silent, too_long
from crons.web import incidents, overview, runs, timeline
from tests.crons.conftest import NOON, minutes
from tests.crons.filling import full_scans, plan
from tests.crons.growing import analyze, grow_done, grow_due, grow_ranges, shrink

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("files_that_shrink_again")]
NOW = NOON + minutes(5)
PERSON = User(username="ann", is_active=True, is_superuser=True)


@pytest.fixture
def recorded(empty_registry, make_entry, led, monkeypatch):
    """Twenty entries, a run of each that is due: the patterns of what grows."""
    shrink()
    for number in range(20):
        make_entry(f"entry{number}")
    led.record(NOW)
    for module in ("crons.ledger.database_now", "crons.doctor.rows.ledger.database_now"):
        monkeypatch.setattr(module, lambda *_: NOW)


def asked(*arguments: str) -> list[str]:
    """What a verb prints, by lines."""
    out = io.StringIO()
    call_command("crons", *arguments, stdout=out)
    return out.getvalue().splitlines()


# Each question, and the index along which it reads the runs.
QUESTIONS: dict[str, tuple[Callable[[], Any], str]] = {
    "history": (lambda: asked("history"), "crons_run_planned"),
    "history of one": (lambda: asked("history", "entry3"), "crons_run_entry_planned"),
    # With one failure in fifty either index of what did not end well will do.
    "history of failures": (lambda: asked("history", "--verdict", "failed"), "crons_run_verdict|crons_run_not_well"),
    "history of what never was": (lambda: asked("history", "--verdict", "lost"), "crons_run_verdict"),
    # Others have failed 2,000 times, and it never.
    "history of one's failures": (lambda: asked("history", "entry3", "--verdict", "failed"), "crons_run_entry_verdict"),
    # It has failed 5,000 times, and never succeeded.
    "history of one's successes": (
        lambda: asked("history", "entry5", "--verdict", "succeeded"),
        "crons_run_entry_succeeded",
    ),
    "usual": (lambda: usual_of(all_ids()), "(?s)(?=.*crons_run_entry_succeeded)(?=.*(PRIMARY KEY|crons_attempt_pkey))"),
    "usual of one": (lambda: usual_of(all_ids()[5:6]), "crons_run_entry_succeeded"),
    "rules over the past": (lambda: over_the_past(), "crons_run_entry_succeeded"),
    "last success": (lambda: last_success_of(all_ids()), "crons_run_entry_succeeded"),
    "first page": (lambda: overview.look(timedelta(days=7), NOW), "crons_run_open"),
    "first page of a team": (
        lambda: of_a_team(overview.look, timedelta(days=7), NOW),
        "crons_run_(not_well|planned|entry_verdict)",
    ),
    "page of a run": (lambda: runs.look(runs.run_of(str(newest_run().pk), PERSON)), "crons_run_entry_planned"),
    "page of a team's run": (lambda: of_a_team(runs.run_of, str(newest_run().pk)), "."),
    # All that these entries have is of these days: then PostgreSQL may as well go by the entry alone.
    "timeline": (
        lambda: timeline.past(list(by_name().values())[:15], NOW, "7d", "UTC"),
        "crons_run_entry_succeeded|crons_run_entry_id",
    ),
    "incidents": (lambda: incidents.look(PERSON), ""),
    "incidents of a team": (lambda: of_a_team(incidents.look), ""),
    "health": (api.health, "crons_run_open"),
    "list": (lambda: asked("list"), "crons_run_entry_planned"),
    "log --follow": (lambda: run_to_follow("entry3"), "(?s)(?=.*crons_run_running)(?=.*crons_run_open)"),
    "doctor": (lambda: doctor._durations(by_name()), "crons_run_entry_planned"),
    "doctor of one": (lambda: doctor._durations(by_name("entry3")), "crons_run_entry_planned"),
}


def of_a_team(ask: Callable[..., Any], *given: Any) -> Any:
    """Ask as a person who sees two of the entries only; the rights themselves are Django's, and not asked here."""
    member = User(username="dana", is_active=True)
    member.has_perm = lambda *_: True
    with override_settings(CRONS={"RIGHTS": f"{__name__}.two_entries"}):
        return ask(*given, user=member)


def two_entries(user: User, permission: str) -> Q:
    """What a hook of a project answers."""
    return Q(name__in=["entry3", "entry5"]) | Q(tags__has_tag="shop")


def all_ids() -> list[int]:
    """The ids of the entries in the order of their names."""
    return list(Entry.objects.order_by("pk").values_list("pk", flat=True))


def newest_run() -> Run:
    """A run that is over."""
    return Run.objects.filter(entry__name="entry3", state="done").order_by("-planned_at")[0]


def over_the_past() -> list[Problem]:
    """What the rules over an entry's own past find: entry5 has never succeeded, the others did a minute ago."""
    Entry.objects.update(policy=Policy(max_silence=minutes(28)).as_json())
    return [problem for rule in (too_long, silent, idle) for problem in rule(Look(NOW + minutes(25)))]


def by_name(*names: str) -> dict[str, Entry]:
    """The entries, or those of these names, by name."""
    return {each.name: each for each in Entry.objects.all() if not names or each.name in names}


def wrong_plans() -> Iterator[str]:
    """Name each question that reads a big table whole, or its runs along another index than is written for it."""
    for question, (ask, index) in QUESTIONS.items():
        with CaptureQueriesContext(connection) as captured:
            ask()
        yield from (f"{question}: {found}" for found in full_scans(captured))
        steps = "\n".join(step for each in captured if "crons_run" in each["sql"] for step in plan(each["sql"]))
        # SQLite skips through an index from its first row: at each step of a recursion, all of it. An entry it may find
        # so by its id, along an index that ends with it, where statistics say that these twenty wake at one moment.
        if any("ANY(" in step and "crons_entry_wake" not in step for step in steps.splitlines()):
            yield f"{question}: skips through an index"
        if not re.search(index, steps):
            reads = [step for step in steps.splitlines() if re.search("scan|search", step, re.IGNORECASE)]
            yield f"{question}: not by {index}, but {reads}"


def test_no_question_reads_the_history(recorded):
    """`history` counted the attempts of a million runs to show twenty: 7.5 s. `doctor` ordered them all: 9.5 s."""
    grow_done(100_000, NOW)
    grow_due(2_000, NOW)
    grow_ranges(10_000, NOW)
    # A week of them is a few: where it is all, PostgreSQL may as well read the whole table.
    month = timedelta(days=30)
    old = Range.objects.filter(last_at__lt=NOW - timedelta(hours=1))
    old.update(first_at=F("first_at") - month, last_at=F("last_at") - month)
    Run.objects.filter(entry__name="entry5", state="done").update(verdict="failed")

    assert "\n".join(wrong_plans()) == ""
    assert [problem.entry for problem in over_the_past()] == ["entry5"]
    analyze()
    assert "\n".join(wrong_plans()) == ""


def test_history_counts_the_attempts_of_what_it_shows(recorded):
    """Programs read how often each run was tried."""
    grow_done(40, NOW)
    newest = Run.objects.filter(state="done").order_by("-planned_at", "-pk").first()
    begun_at = newest.planned_at
    attempt = Attempt(run=newest, number=2, token="1" * 32, executor="process", instance="i", host="h", pid=1)
    attempt.boot_id, attempt.begun_at = "b", begun_at
    attempt.save()

    shown = [json.loads(line) for line in asked("history", "--json", "--count", "30")]

    counts = {each["id"]: each["attempts"] for each in shown}
    assert counts.pop(newest.pk) == 2
    assert set(counts.values()) == {0, 1}  # what is due has none


def test_doctor_looks_past_what_was_never_begun(recorded):
    """A job that takes an hour and is due each minute: of 60 runs one tells how long it takes."""
    grow_done(20 * 5, NOW - timedelta(hours=5))
    grow_due(20 * 200, NOW)

    assert doctor._durations(by_name("entry3")) == [(Entry.objects.get(name="entry3"), timedelta(seconds=1))]
