"""The timeline: what ran in lanes, how much at once, what comes, and how to spread it."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from crons.models import Attempt, Entry, Range, Run
from crons.web import spreading, timeline
from tests.crons.conftest import NOON, minutes
from tests.crons.filling import full_scans
from tests.crons.growing import analyze, grow_done, grow_ranges

pytestmark = pytest.mark.django_db
PAGE = reverse("crons:timeline")


def ran(entry, begun, took, verdict="succeeded", **fields):
    """A run of *entry* that began then and took so many minutes; none yet: it goes on."""
    is_over = took is not None
    ended = begun + minutes(took) if is_over else None
    given = {"state": "done" if is_over else "running", "verdict": verdict if is_over else "", "ended_at": ended}
    run = Run.objects.create(
        entry=entry, slot_at=begun, planned_at=begun, recorded_at=begun, trigger="serve", tries=1, **{**given, **fields}
    )
    attempt = Attempt.objects.create(
        run=run, number=1, token=uuid.uuid4(), executor="process", instance="i", host="web1", pid=7, boot_id="b",
        begun_at=begun, ended_at=ended, outcome=verdict if is_over else "",
    )  # fmt: skip
    Run.objects.filter(pk=run.pk).update(current_attempt=attempt.pk)
    return run


def past(*entries, span="24h"):
    return timeline.past(list(entries), NOON, span, "UTC")


@pytest.fixture
def staff(client):
    user = User.objects.create_user("dana", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_entry", "view_run"]))
    client.force_login(user)
    return client


def test_each_run_lies_where_it_began_and_ended_and_says_how(make_entry):
    entry = make_entry("nightly", since=NOON)
    ran(entry, NOON - minutes(720), 72)
    failed = ran(entry, NOON - minutes(360), 6, "failed")

    [lane] = past(entry).lanes

    assert [(bar.x, bar.width, bar.tone, bar.is_link) for bar in lane.bars] == [
        (500.0, 50.0, "succeeded", False), (750.0, 4.2, "failed", True)
    ]  # fmt: skip
    assert lane.bars[1].run_id == failed.pk
    assert lane.bars[1].text.startswith("failed 2026-03-02 06:00")
    assert lane.bars[1].text.endswith(", took 6 min")
    assert lane.says == "1 succeeded, 1 failed"


def test_what_began_before_and_goes_on_fills_its_lane(make_entry):
    entry = make_entry("forever", since=NOON)
    ran(entry, NOON - timedelta(days=3), None)
    ran(entry, NOON - minutes(144), None)

    [lane] = past(entry).lanes

    assert [(bar.x, bar.width, bar.tone) for bar in lane.bars] == [(0.0, 1000.0, "running"), (900.0, 100.0, "running")]


def test_missed_and_skipped_ranges_lie_from_first_to_last(make_entry):
    entry = make_entry("held", since=NOON)
    for verdict, reason, first in [("missed", "no_trigger", 720), ("skipped", "paused", 144)]:
        Range.objects.create(
            entry=entry, first_at=NOON - minutes(first), last_at=NOON - minutes(first - 72), count=14, verdict=verdict,
            reason=reason, recorded_at=NOON, trigger="serve",
        )  # fmt: skip

    [lane] = past(entry).lanes

    assert sorted((bar.tone, bar.x, bar.width) for bar in lane.bars) == [
        ("missed", 500.0, 50.0),
        ("skipped", 900.0, 50.0),
    ]
    assert lane.says == "14 skipped, 14 missed"


def test_what_runs_at_once_is_counted(make_entry):
    entries = [make_entry(f"job{n}", since=NOON) for n in range(3)]
    for number, entry in enumerate(entries):
        ran(entry, NOON - minutes(600) + minutes(number), 5)
        ran(entry, NOON - minutes(300 + 30 * number), 5)

    seen = past(*entries)

    assert seen.busiest.count == 3
    assert seen.busiest.text.startswith("3 at once from 2026-03-02 02:00")
    assert sorted(load.count for load in seen.loads) == [1, 1, 1, 3]


def test_a_lane_of_each_minute_is_folded(make_entry):
    """10,080 runs of a week: a bar for each two hours and verdict."""
    entry = make_entry("minutely", "* * * * *", since=NOON)
    Run.objects.create(entry=entry, slot_at=NOON, planned_at=NOON, recorded_at=NOON, trigger="serve", wake_at=NOON)
    grow_done(10_079, NOON)
    grow_ranges(400, NOON)

    [lane] = past(entry, span="7d").lanes

    assert lane.folded
    assert sum(lane.counts.values()) == 10_080 + 2 * timeline.RANGES
    assert len([bar for bar in lane.bars if bar.tone != "missed"]) <= 2 * 85 + 1
    assert len([bar for bar in lane.bars if bar.is_link]) == timeline.LINKS
    assert all(0 <= bar.x <= 1000 and bar.x + bar.width <= 1001 for bar in lane.bars)
    assert not lane.more
    Run.objects.filter(state="done").update(planned_at=NOON - minutes(60))
    Run.objects.bulk_create([
        Run(
            entry=entry, planned_at=NOON - minutes(50), recorded_at=NOON, trigger="serve", state="done",
            kind="manual", verdict="succeeded",
        )
        for _ in range(210)
    ])  # fmt: skip
    assert past(entry, span="7d").lanes[0].more


def test_what_folded_lanes_run_at_once_is_told_by_what_they_usually_take(make_entry):
    """Each minute a run of nine minutes: nine at once, as long as all of a stretch succeed."""
    entry = make_entry("minutely", "* * * * *", since=NOON)
    for number in range(timeline.SINGLE + 5):
        ran(entry, NOON - minutes(600) + minutes(number), 9)
    ran(entry, NOON - minutes(60), 9, "skipped")

    seen = past(entry)

    assert seen.lanes[0].folded
    assert seen.busiest.count == 9
    assert [load.count for load in seen.loads if load.x > 700] == []


def names(coming):
    return [(each.at, [entry.name for entry in each.entries]) for each in coming.collisions]


def test_slots_in_one_minute_are_told_with_minutes_that_part_them(make_entry):
    entries = [make_entry(name, "0 2 * * *") for name in ("backup", "billing", "report")]
    entries += [make_entry("sync", "*/30 * * * *"), make_entry("often", "* * * * *"), make_entry("late", "1 2 * * *")]

    seen = spreading.coming(entries, NOON)

    two = NOON.replace(day=3, hour=2)
    assert names(seen) == [(two, ["backup", "billing", "report", "sync"])]
    assert seen.collisions[0].waits == 0
    # backup stays no more than the others: sync comes each half hour, so that all three meet it at :00.
    assert [(move.entry.name, move.entry.schedule, move.schedule) for move in seen.moves] == [
        ("billing", "0 2 * * *", "2 2 * * *"), ("report", "0 2 * * *", "3 2 * * *"),
        ("sync", "*/30 * * * *", "4-59/30 * * * *"),
    ]  # fmt: skip
    assert (seen.most_before, seen.most_after, seen.often) == (4, 1, 1)


@pytest.mark.parametrize(
    ("schedule", "moved"),
    [("0 2 * * *", True), ("0,30 2 * * *", False), ("@daily", False), ("*/15 * * * *", True), ("0 0 2 * * ?", False),
     ("59 2 1 * 1-5", True)],
)  # fmt: skip
def test_only_what_a_minute_moves_is_proposed_to_be_moved(schedule, moved):
    found = spreading._minutes(schedule)

    assert bool(found) is moved
    assert schedule not in found
    assert len(found) == len(set(found))
    assert all(each.split()[1:] == schedule.split()[1:] for each in found)


def test_what_nothing_plans_collides_with_nothing(make_entry):
    entries = [make_entry(f"job{n}", "0 2 * * *") for n in range(5)]
    entries[0].parked_reason = "no such zone"
    entries[1].retired_at = NOON
    entries[2].schedule = ""
    entries[3].schedule = "61 * * * *"

    assert names(spreading.coming(entries, NOON)) == []


def test_page_says_all_of_it_in_words(staff, make_entry):
    now = timezone.now()
    entry = make_entry("nightly", "0 2 * * *", since=now)
    failed = ran(entry, now - minutes(60), 1, "failed")
    for name in ("b<script>alert(1)</script>", "c\u202eevil"):
        make_entry(name, "0 2 * * *", since=now)

    page = staff.get(PAGE)

    assert page.status_code == 200
    assert "'unsafe-inline'" not in page["Content-Security-Policy"]
    assert f'href="{reverse("crons:run", args=[failed.pk])}" aria-label="nightly: failed' in page.text
    assert "1 failed" in page.text
    assert re.search(r"3 jobs at <time[^>]*>\d{4}-\d\d-\d\d 02:00", page.text)
    assert "1 2 * * *" in page.text
    assert "would then fall due in one minute, instead of 3" in page.text
    assert "<script>alert" not in page.text
    assert "\u202e" not in page.text
    assert re.findall(r"<(?:style|script(?! src))|\bstyle=|\bon[a-z]+=", page.text) == []


def test_entries_are_chosen_by_name_owner_and_tag_a_page_at_a_time(staff, make_entry):
    now = timezone.now()
    for number in range(timeline.LANES + 2):
        make_entry(f"job{number:02}", since=now)
    Entry.objects.filter(name__in=["job03", "job04"]).update(owner="shop")
    Entry.objects.filter(name="job04").update(tags=["billing"])

    def shown(query):
        return re.findall(r'<th scope="row"><a[^>]*>(job\d+)', staff.get(PAGE + query).text)

    assert shown("") == [f"job{number:02}" for number in range(timeline.LANES)]
    assert shown("?span=24h&after=job14") == ["job15", "job16"]
    assert "after=job14" in staff.get(PAGE).text
    assert [shown(f"?{each}") for each in ("owner=shop", "tag=billing", "name=JOB1", "owner=shop&tag=x")] == [
        ["job03", "job04"], ["job04"], [f"job1{number}" for number in range(7)], []
    ]  # fmt: skip
    assert "No entry fits all of that." in staff.get(PAGE + "?owner=nobody").text


@pytest.mark.parametrize("query", ["?name=%00", f"?tag={'x' * 101}"])
def test_what_cannot_be_asked_is_refused(staff, query):
    assert staff.get(PAGE + query).status_code == 400


@pytest.mark.parametrize("query", ["?span=1000y", "?span=", "?after=zzz", "?tag=%22%5D", "?name=%25", "?owner=%27"])
def test_odd_questions_have_answers(staff, make_entry, query):
    make_entry("nightly", since=timezone.now())

    assert staff.get(PAGE + query).status_code == 200


def test_page_before_the_first_job(staff):
    assert "There are no jobs yet" in staff.get(PAGE).text


def test_a_team_sees_its_lanes_and_collisions_only(staff, make_entry, settings):
    settings.CRONS = {**settings.CRONS, "RIGHTS": "tests.crons.test_rights.of_a_team"}
    now = timezone.now()
    for name in ("apples", "pears"):
        for number in range(3):
            make_entry(f"{name}{number}", "0 2 * * *", since=now)
            Entry.objects.filter(name=f"{name}{number}").update(owner=name)
    User.objects.get().groups.create(name="apples")

    page = staff.get(PAGE).text

    assert "pears" not in page
    assert "3 jobs at" in page


@pytest.mark.usefixtures("files_that_shrink_again")
def test_page_costs_twelve_statements_along_indexes_whatever_the_rows(staff, make_entry):
    """With and without the planner's statistics."""
    now = timezone.now()
    entries = [make_entry(f"job{n:02}", "* * * * *", since=now) for n in range(40)]
    for entry in entries:
        Run.objects.create(entry=entry, slot_at=now, planned_at=now, recorded_at=now, trigger="serve", wake_at=now)
    grow_done(30_000, now)
    grow_ranges(10_000, now)  # fewer, and PostgreSQL may as well read them all

    for counted in (False, True):
        if counted:
            analyze()
        with CaptureQueriesContext(connection) as captured:
            page = staff.get(PAGE + "?span=7d")

        assert page.status_code == 200
        assert len(captured) <= 12
        assert full_scans(captured) == [], counted
