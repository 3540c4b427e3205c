"""The rules over an entry's own past: too slow, hanging, silent, idle; on rows and a clock."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from crons.jobs import Policy
from crons.models import Attempt, AuditEvent, Entry, Incident, OutputChunk, Range, Run, WorkReport
from crons.watch import Look
from crons.watch.past import idle, silent, too_long
from tests.crons.conftest import NOON, minutes
from tests.crons.filling import full_scans
from tests.crons.growing import shrink

pytestmark = pytest.mark.django_db
_tokens = itertools.count(1)


def hours(count: float) -> timedelta:
    """So many hours."""
    return minutes(60 * count)


def ran(entry: Entry, took: float, ago: float, verdict: str = "succeeded", examined: int | None = None) -> Run:
    """Write a run of *entry* that began so many minutes before noon and took so many."""
    at = NOON - minutes(ago)
    run = Run.objects.create(
        entry=entry, slot_at=at, planned_at=at, recorded_at=at, state="done", verdict=verdict, tries=1,
        trigger="serve", ended_at=at + minutes(took),
    )  # fmt: skip
    attempt = _attempt(run, at, outcome=verdict, ended_at=at + minutes(took))
    if examined is not None:
        WorkReport.objects.create(attempt=attempt, examined=examined)
    return run


def runs(entry: Entry, ago: float) -> Attempt:
    """Write an attempt of *entry* that began so many minutes before noon and goes on."""
    at = NOON - minutes(ago)
    run = Run.objects.create(
        entry=entry, slot_at=at, planned_at=at, recorded_at=at, state="running", tries=1, trigger="serve",
        active_key=entry.pk,
    )  # fmt: skip
    return _attempt(run, at, lease_until=NOON + minutes(1))


def _attempt(run: Run, at: datetime, **fields: object) -> Attempt:
    attempt = Attempt.objects.create(
        run=run, number=1, token=f"{next(_tokens):032x}", executor="process", instance="i", host="web1", pid=7,
        boot_id="b", begun_at=at, **fields,
    )  # fmt: skip
    Run.objects.filter(pk=run.pk).update(current_attempt=attempt.pk)
    return attempt


def wrote(attempt: Attempt, ago: float | None, text: str = "half way") -> None:
    """Store a chunk of its output, written so many minutes before noon, or nobody knows when."""
    at = None if ago is None else NOON - minutes(ago)
    seq = OutputChunk.objects.filter(attempt=attempt).count()
    OutputChunk.objects.create(attempt=attempt, seq=seq, stream="stdout", text=text, written_at=at)


def found(rule, now: datetime = NOON) -> list[tuple[str, str, str]]:
    """What *rule* finds: kind, entry, text."""
    return [(each.kind, each.entry, each.text) for each in rule(Look(now))]


@pytest.fixture
def report(make_entry) -> Entry:
    """An entry whose last ten runs took nine minutes, and one of ten twelve."""
    entry = make_entry("report", timeout=None)
    for number in range(10):
        ran(entry, 12 if number == 4 else 9, 2_000 + number * 60)
    return entry


def test_what_runs_too_long_and_writes_is_slow(report, make_entry):
    """Twice the p95 and a minute more; another of that length is as always, and one of four successes is not known."""
    attempt, young = runs(report, 25), make_entry("young")
    wrote(attempt, 1)
    for number in range(4):
        ran(young, 1, 2_000 + number)
    runs(young, 50)

    [problem] = too_long(Look(NOON))

    assert (problem.kind, problem.entry, problem.run_id) == ("slow", "report", attempt.run_id)
    assert problem.text == "has been running for 25 min (usually 9 min, 95 of 100 at most 12 min)"
    assert problem.since == NOON - minutes(1)
    assert problem.next_step == (
        f"See: manage.py crons log {attempt.run_id}. If that is well, say so at the job: expected=timedelta(…)"
    )
    assert problem.facts == (
        ("attempt", f"{attempt.pk} on web1 (pid 7)"),
        ("begun", f"{attempt.begun_at:%Y-%m-%d %H:%M:%S} UTC"),
        ("usually", "9 min, 95 of 100 at most 12 min (of its last 10 successes)"),
    )
    assert found(too_long, NOON - minutes(2)) == []


def test_what_runs_too_long_and_writes_nothing_hangs(report):
    """Its output says when it was last alive: it is told once, not as slow besides."""
    attempt = runs(report, 47)
    assert found(too_long) == [
        (
            "hanging",
            "report",
            "has been running for 47 min (usually 9 min, 95 of 100 at most 12 min), and has written nothing",
        )
    ]

    wrote(attempt, 40)

    [problem] = too_long(Look(NOON))
    assert problem.text.endswith(", and has written nothing lately")
    assert problem.next_step == (
        f"See what it waits for: manage.py crons log {attempt.run_id}; end it: manage.py crons cancel {attempt.run_id}"
    )


@pytest.mark.parametrize("sign", ["output", "progress", "output of before the column", "output beyond the limit"])
def test_a_sign_of_life_keeps_it_from_hanging(report, settings, sign):
    """What is not known is no reason to call somebody at night."""
    settings.CRONS = {**settings.CRONS, "OUTPUT_LIMIT_BYTES": 6_000}
    attempt = runs(report, 47)
    if sign == "progress":
        WorkReport.objects.create(attempt=attempt, done=4, progress_at=NOON - minutes(2))
    else:
        text = "x" * 1_000 if "limit" in sign else "half way"
        wrote(attempt, {"output": 2, "output beyond the limit": 46}.get(sign), text)

    assert [kind for kind, *_ in found(too_long)] == ["slow"]


def test_slow_is_not_over_because_it_hangs(report):
    """Whoever was told that it is slow would be told that it is fast again."""
    runs(report, 47)
    Incident.objects.create(
        rule="slow", entry=report, key=f"slow:{report.pk}", open_key=f"slow:{report.pk}", summary="", opened_at=NOON,
        changed_at=NOON,
    )  # fmt: skip

    assert [kind for kind, *_ in found(too_long)] == ["hanging", "slow"]


def test_a_success_that_took_too_long_is_slow_until_the_next(report):
    """For a day at most: a yearly job is not slow for a year. What was told as hanging is not told again."""
    slow = ran(report, 30, 60)
    text = "its newest success took 30 min (usually 9 min, 95 of 100 at most 12 min)"
    assert found(too_long) == [("slow", "report", text)]
    assert found(too_long, NOON + hours(25)) == []
    Incident.objects.create(rule="hanging", entry=report, run=slow, summary="", opened_at=NOON, changed_at=NOON)
    assert found(too_long) == []
    Incident.objects.all().delete()

    ran(report, 9, 20)

    assert found(too_long) == []


def test_expected_is_what_counts_where_it_is_given(make_entry):
    """However often it has taken longer; a first run too, and one of seconds."""
    usual, first = make_entry("usual", expected=hours(1)), make_entry("first", expected=timedelta(seconds=10))
    for number in range(10):
        ran(usual, 1, 3_000 + number)
    runs(usual, 50)
    ran(first, 0.5, 30)
    assert found(too_long) == [("slow", "first", "its newest success took 30 s (expected=10 s)")]

    Entry.objects.filter(pk=usual.pk).update(overrides={"expected": 60.0})

    kinds = {(kind, name) for kind, name, _ in found(too_long)}
    assert kinds == {("slow", "first"), ("hanging", "usual")}


def test_what_is_stuck_is_not_told_twice(report):
    """Its lease is over, or its timeout: another rule says so."""
    attempt = runs(report, 47)
    Attempt.objects.filter(pk=attempt.pk).update(lease_until=NOON - minutes(1))
    assert found(too_long) == []

    Attempt.objects.filter(pk=attempt.pk).update(lease_until=NOON + minutes(1))
    Entry.objects.filter(pk=report.pk).update(policy=Policy(timeout=minutes(30)).as_json())

    assert found(too_long) == []


def test_silent_is_no_success_for_too_long(make_entry):
    """Failures do not speak; an entry that nothing has run since it was declared is silent too, and by hand as well."""
    two_days = {"max_silence": hours(48)}
    make_entry("quiet")
    for name, ago in (("fine", 47 * 60), ("backup", 49 * 60)):
        ran(make_entry(name, since=NOON - hours(1_000), **two_days), 1, ago)
    ran(Entry.objects.get(name="backup"), 1, 10, "failed")
    never = make_entry("by_hand", "", since=NOON - hours(72), **two_days)
    make_entry("young", since=NOON - hours(24), **two_days)
    retired = make_entry("retired", since=NOON - hours(72), **two_days)
    Entry.objects.filter(pk=retired.pk).update(retired_at=NOON)

    problems = list(silent(Look(NOON)))

    first, last = f"{NOON - hours(72):%Y-%m-%d %H:%M:%S} UTC", f"{NOON - minutes(49 * 60 - 1):%Y-%m-%d %H:%M:%S} UTC"
    wanted = "at least one success in 2 d is expected (max_silence)"
    assert [(each.entry, each.text) for each in problems] == [
        ("by_hand", f"has not succeeded since it was first seen, {first}; {wanted}"),
        ("backup", f"has not succeeded since {last}; {wanted}"),
    ]
    assert problems[0].since == never.first_seen_at
    assert [each.next_step for each in problems] == [
        "See: run it: manage.py crons run by_hand; what became of its runs: manage.py crons history by_hand",
        "See: manage.py crons why backup; what became of its runs: manage.py crons history backup",
    ]


def test_a_pause_is_no_silence_and_mends_none(make_entry):
    """While it lasts no time counts; after it, it is counted anew, but for what was silent before."""
    made = {}
    for name in ("paused", "silent before", "resumed", "expired", "silent before an expired"):
        made[name] = make_entry(name.replace(" ", "_"), since=NOON - hours(1_000), max_silence=hours(24))
        ran(made[name], 1, 60 * (100 if "before" in name else 40))
    at = NOON - hours(30)
    Entry.objects.filter(pk__in=[made["paused"].pk, made["silent before"].pk]).update(paused_at=at)
    AuditEvent.objects.create(at=NOON - hours(3), actor="ada", verb="resume", subject_type="entry", subject="resumed")
    for name in ("expired", "silent before an expired"):
        Range.objects.create(
            entry=made[name], first_at=at, last_at=NOON - hours(2), count=300, verdict="skipped", reason="paused",
            trigger="serve", recorded_at=at,
        )  # fmt: skip

    assert {each.entry for each in silent(Look(NOON))} == {"silent_before", "silent_before_an_expired"}
    assert {each.entry for each in silent(Look(NOON + hours(23)))} >= {"resumed", "expired"}
    assert "paused" not in {each.entry for each in silent(Look(NOON + hours(500)))}


@pytest.mark.parametrize(
    ("max_idle", "examined", "told"),
    [
        (None, [0, 0, 0, 12], 3),
        (None, [0, 0, 12], 0),
        (None, [0, 0, 0, 0], 0),
        (None, [0, None, 0, 0, 12], 0),
        (None, [5, 0, 0, 0], 0),
        (2, [0, 0], 2),
        (2, [0, 12], 0),
        (0, [0, 0, 0, 0, 12], 0),
    ],
)
def test_idle_is_nothing_examined_in_a_row(make_entry, max_idle, examined, told):
    """By default only where there used to be something: many a clean-up finds nothing for years."""
    entry = make_entry("clean", max_idle=max_idle)
    for number, count in enumerate(examined):
        ran(entry, 1, 60 * (number + 1), examined=count)
    ran(entry, 1, 5, "failed", 0)

    problems = list(idle(Look(NOON)))

    assert len(problems) == bool(told)
    for each in problems:
        had = f"; the one of {NOON - hours(len(examined)):%Y-%m-%d %H:%M:%S} UTC examined 12" if 12 in examined else ""
        assert each.text == f"its last {told} runs examined nothing{had}"
        assert each.next_step.endswith("If that is well, say so at the job: max_idle=0")


def test_a_garbled_row_hides_no_other(report, make_entry):
    """Its policy cannot be read, so that it is parked; the others are told of."""
    bad = make_entry("bad", max_silence=minutes(1), since=NOON - hours(5))
    make_entry("good", max_silence=minutes(1), since=NOON - hours(5))
    with connection.cursor() as cursor:
        cast = "" if connection.vendor == "sqlite" else "::jsonb"
        for text in ('{"max_silence": "soon"}', '["max_silence"]', '"max_silence"'):
            cursor.execute(f"UPDATE crons_entry SET policy = %s{cast} WHERE id = %s", [text, bad.pk])

            assert [name for _, name, _ in found(silent)] == ["good"]


def test_rules_over_the_past_cost_a_few_statements(make_entry, django_assert_num_queries):
    """However many entries: each statement is about all of them, and reads no table of runs whole."""
    shrink()
    entries = [make_entry(f"entry{number}", max_silence=hours(1)) for number in range(120)]
    for each in entries:
        for ago in (50, 110, 170):
            ran(each, 2, ago, examined=4)

    look = Look(NOON)
    with django_assert_num_queries(4):  # all entries, what goes on, and two of a hundred entries
        assert not [problem for rule in (too_long, silent, idle) for problem in rule(look)]
    with CaptureQueriesContext(connection) as captured:
        assert len(list(silent(Look(NOON + hours(2))))) == 120
    assert len(captured) == 4  # all entries, those that are silent, who brought which back, and what was skipped
    assert full_scans(captured) == []
