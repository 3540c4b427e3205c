"""The list of jobs: what it finds, what it shows of each, what it costs, and what is done to many at once."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import Q
from django.template import Context
from django.test.utils import CaptureQueriesContext
from django.urls import resolve, reverse

from crons import api
from crons.ledger import rows
from crons.models import Attempt, AuditEvent, Entry, Range, Run
from crons.templatetags.crons_jobs import strip
from crons.templatetags.crons_pages import job_page
from crons.web.acts import seen_of
from crons.web.jobs import listing
from crons.web.jobs.asked import Asked
from crons.web.jobs.strips import strips_of
from tests.crons.conftest import NOON, minutes
from tests.crons.filling import plan
from tests.crons.growing import analyze, grow_done, grow_ranges, shrink

pytestmark = pytest.mark.django_db
PAGE = "/crons/jobs"
LOOK = ("view_entry", "view_run")
IS_SQLITE = "sqlite" in connection.settings_dict["ENGINE"]
HOSTILE = [
    '"><script>alert(1)</script>', "50% off?#", "a/b", "a//b", "..", "x/../y", "\u202egnp.exe", "n" * 100, "a\nb",
    "back\\slash", "'; DROP TABLE crons_entry; --", "=HYPERLINK()", "ü€", " ",
]  # fmt: skip


@pytest.fixture
def names_of():
    """The names on the page of the list that is asked for."""

    def found(**given: str) -> list[str]:
        return [row.entry.name for row in listing.read(Asked.read(given), lambda rows: rows, NOON).rows]

    return found


def run_of(entry: Entry, at: Any, verdict: str = "succeeded", seconds: float | None = 4, **fields: Any) -> Run:
    """A run that is over, with an attempt of so many seconds."""
    given = {"state": "done", "verdict": verdict, "slot_at": at, "planned_at": at, "recorded_at": at, **fields}
    run = Run.objects.create(entry=entry, trigger="serve", **given)
    if seconds is not None:
        where = {"executor": "process", "instance": "i", "host": "web1", "pid": 7, "boot_id": "b", "begun_at": at}
        ended = at + timedelta(seconds=seconds)
        attempt = Attempt.objects.create(run=run, number=1, token=uuid.uuid4(), ended_at=ended, **where)
        Run.objects.filter(pk=run.pk).update(current_attempt=attempt.pk)
    return run


def test_a_strip_has_runs_and_ranges_in_order_each_with_its_words(make_entry):
    """What was missed left no run; a strip of runs alone would show an outage as nothing."""
    entry = make_entry("nightly", zone="Europe/Berlin")
    run = run_of(entry, NOON - minutes(30))
    run_of(entry, NOON - minutes(5), "skipped", None, reason="overlap")
    Run.objects.create(entry=entry, kind="manual", planned_at=NOON, recorded_at=NOON, state="running", trigger="api")
    missed = {"verdict": "missed", "reason": "catch_up", "trigger": "serve", "recorded_at": NOON}
    Range.objects.create(entry=entry, first_at=NOON - minutes(25), last_at=NOON - minutes(10), count=4, **missed)

    marks = strips_of({entry.pk: entry.zone})[entry.pk]

    assert [(mark.said, mark.tone) for mark in marks] == [
        ("succeeded, 2026-03-02 12:30:00 +01:00, 4.0 s", "good"),
        ("4 slots missed (catch up), 2026-03-02 12:35:00 +01:00 to 2026-03-02 12:50:00 +01:00", "bad"),
        ("skipped (overlap), 2026-03-02 12:55:00 +01:00", "warn"),
        ("running, 2026-03-02 13:00:00 +01:00, manual", "quiet"),
    ]
    drawn = strip(Context(), marks, entry)
    assert f'<li><a class="good" href="{run_address(run)}" aria-label="succeeded, ' in drawn
    assert '<a class="bad many" href="/crons/why?entry=nightly&amp;at=2026-03-02T11%3A50%3A00Z"' in drawn
    assert "style=" not in drawn


def run_address(run: Run) -> str:
    """Where a run's page is."""
    return reverse("crons:run", args=[run.pk])


def test_filters_search_and_order_are_those_of_the_address(make_entry, names_of):
    """So that a list can be sent to a colleague."""
    made = {name: make_entry(name) for name in ("alpha", "beta", "gamma", "delta", "omega")}
    for name, fields in {
        "alpha": {"owner": "ann", "tags": ["a b", "x"], "wake_at": NOON + minutes(9)},
        "beta": {"owner": "ann", "source": "crontab", "description": "About ALPHAbets", "wake_at": NOON + minutes(1)},
        "gamma": {"paused_at": NOON, "tags": ["x%"]},
        "delta": {"parked_reason": "no such zone"},
        "omega": {"retired_at": NOON, "owner": "ann"},
    }.items():
        Entry.objects.filter(name=name).update(**fields)
    run_of(made["alpha"], NOON - minutes(9), "failed")
    run_of(made["alpha"], NOON - minutes(5))
    run_of(made["beta"], NOON - minutes(5), "failed")
    Run.objects.create(entry=made["gamma"], planned_at=NOON, recorded_at=NOON, state="running", trigger="serve")

    asked = {
        "": ["alpha", "beta", "delta", "gamma"],
        "q=alpha": ["alpha", "beta"],
        "owner=ann": ["alpha", "beta"],
        "tag=x": ["alpha"],
        "tag=x%": ["gamma"],
        "source=crontab": ["beta"],
        "state=active": ["alpha", "beta"],
        "state=paused": ["gamma"],
        "state=parked": ["delta"],
        "state=retired": ["omega"],
        "state=running": ["gamma"],
        "verdict=succeeded": ["alpha"],
        "verdict=failed": ["beta"],
        "verdict=none": ["delta", "gamma"],
        "sort=-name": ["gamma", "delta", "beta", "alpha"],
        "sort=next": ["gamma", "delta", "beta", "alpha"],
        "sort=new": ["delta", "gamma", "beta", "alpha"],
        "owner=ann&state=active&verdict=failed&q=bet&sort=new": ["beta"],
    }
    found = {each: names_of(**dict(part.split("=", 1) for part in each.split("&") if part)) for each in asked}

    assert found == asked


@pytest.mark.parametrize("sort", ["name", "-name", "next", "new"])
def test_pages_follow_each_other_and_leave_nothing_out(make_entry, names_of, monkeypatch, sort):
    """All wake at one moment: pages by the moment alone would repeat a page or lose one. A window may end a page."""
    monkeypatch.setattr(listing, "SHOWN", 3)
    monkeypatch.setattr(listing, "WINDOW", 4)
    for number in range(11):
        make_entry(f"job{number:02}")
    found, asked = [], Asked.read({"sort": sort})
    for _ in range(9):
        page = listing.read(asked, lambda rows: rows, NOON)
        found += [row.entry.name for row in page.rows]
        if not page.after:
            break
        asked = Asked.read({"sort": sort, "after": page.after})

    names = [f"job{number:02}" for number in range(11)]
    assert found == (names[::-1] if sort in ("-name", "new") else names)


def test_search_stops_after_a_window_and_says_so(make_entry, monkeypatch, staff):
    """Of what fits no index knows: a search through a million jobs would never end."""
    monkeypatch.setattr(listing, "WINDOW", 4)
    for number in range(9):
        make_entry(f"job{number}")

    page = staff(*LOOK).get(PAGE, {"q": "job8"}).content.decode()
    further = re.search(r'4 jobs were looked through, and there are more. <a href="([^"]+)">Look further', page)

    assert further is not None
    assert further[1] == "?q=job8&amp;after=job3"
    assert "No job is so" not in page


@pytest.mark.parametrize(
    "given", [
        {"after": "2026-13-45~x", "sort": "next"}, {"after": "9" * 40, "sort": "new"}, {"sort": "args"},
        {"state": "'; --"}, {"verdict": "args"}, {"q": "\0", "owner": "\ud800", "tag": "\0"}, {"q": "%_\\" * 200},
        {"after": "0001-01-01T00:00:00+23:00~1", "sort": "next"},
    ]
)  # fmt: skip
def test_forged_addresses_are_told_what_they_are(staff, make_entry, given):
    """And never a fault, nor a list that looks filtered and is not."""
    make_entry("nightly")
    given = {name: text.encode("utf-8", "replace").decode() for name, text in given.items()}

    answer = staff(*LOOK).get(PAGE, given)

    assert answer.status_code == 200
    told = {"sort", "state", "verdict", "after"} & set(given) and given.get("sort") != "next~"
    assert ("means nothing here" in answer.content.decode()) == bool(told)


def test_hostile_names_are_text_and_each_leads_to_its_page(staff, make_entry):
    """Names come from crontab files and other people's settings; browsers take dots out of addresses."""
    client, made = staff(*LOOK), [make_entry(name) for name in HOSTILE]

    page = client.get(PAGE).content.decode()

    assert "<script>alert" not in page
    assert "\u202e" not in page
    for entry in made:
        address = job_page(entry)
        shown = client.get(address)
        assert (entry.name, shown.status_code) == (entry.name, 200)
        assert shown.context["job"].entry == entry if shown.context else True
        assert resolve(address.replace("%", "%")).url_name in ("job", "job_row")
        assert f'href="{address}"'.replace("'", "&#x27;") in page


def test_a_job_of_five_thousand_tags_is_one_row(staff, make_entry):
    """The first five, and how many more."""
    make_entry("tagged")
    Entry.objects.update(tags=[f"tag{number}" for number in range(5_000)])
    client = staff(*LOOK)

    page = client.get(PAGE, {"tag": "tag4999"}).content.decode()
    alone = client.get("/crons/jobs/tagged")

    assert "and 4995 more" in page
    assert ("tag4 " in page.replace("<", " "), "tag5<" in page) == (True, False)
    assert alone.status_code == 200


def test_the_page_costs_at_most_twelve_statements(staff, make_entry):
    """For somebody with permissions of their own, session and person among them."""
    client = staff(*LOOK, "run_entry", "pause_entry")
    for number in range(30):
        run_of(make_entry(f"job{number}"), NOON)

    with CaptureQueriesContext(connection) as captured:
        page = client.get(PAGE, {"verdict": "succeeded", "sort": "next"})

    assert page.content.decode().count('type="checkbox"') == 30
    assert len(captured) <= 12, [each["sql"][:90] for each in captured]


def many(count: int) -> None:
    """Entries as `sync` makes them, some of them paused, in no order of their names."""
    pattern = Entry(name="x", job="j", schedule="* * * * *", zone="UTC", first_seen_at=NOON, accounted_until=NOON)
    made = [
        [f"job{(n * 7919) % count:06}", NOON + minutes(n % 60), NOON if n % 20_000 == 7 else None] for n in range(count)
    ]
    for start in range(0, count, 20_000):
        rows.insert_alike(pattern, ["name", "wake_at", "paused_at"], made[start : start + 20_000], "default")


@pytest.mark.usefixtures("files_that_shrink_again")
def test_a_hundred_thousand_jobs_are_neither_read_nor_sorted():
    """Each list reads a page, or a window, along an index."""
    shrink()
    many(100_000)
    analyze()
    for given in (
        {}, {"sort": "-name"}, {"sort": "next"}, {"sort": "new"}, {"q": "zzz"}, {"owner": "y", "tag": "a"},
        {"state": "paused"}, {"state": "parked"}, {"state": "retired"}, {"verdict": "failed"}, {"after": "job050000"},
        {"sort": "next", "after": f"{NOON.isoformat()}~500", "q": "77"}, {"sort": "new", "after": "50000"},
    ):  # fmt: skip
        with CaptureQueriesContext(connection) as captured:
            page = listing.read(Asked.read(given), lambda rows: rows, NOON)
        asked = [each["sql"] for each in captured if re.search("FROM .?crons_entry", each["sql"])]
        wrong = [step for sql in asked for step in plan(sql) if reads_all_or_sorts(step)]
        assert (given, wrong) == (given, [])
        assert given or len(page.rows) == listing.SHOWN
    assert listing.read(Asked.read({"after": "job049999"}), lambda rows: rows, NOON).rows[0].entry.name == "job050000"


def reads_all_or_sorts(step: str) -> bool:
    """Whether a step of a plan reads all entries, or sorts more than a window of them."""
    if IS_SQLITE:
        # Of SCAN crons_entry the limit is the window's: in the order of its keys it is no more than that.
        return "TEMP B-TREE" in step
    return "Seq Scan on crons_entry" in step


@pytest.mark.usefixtures("files_that_shrink_again")
def test_strips_of_a_page_are_two_statements_along_indexes(make_entry, led):
    """Fifty entries with hundreds of runs each: of each its newest sixty are read, and none beyond."""
    shrink()
    for number in range(50):
        make_entry(f"entry{number}")
    led.record(NOON + minutes(5))
    grow_done(30_000, NOON)
    grow_ranges(5_000, NOON)
    entries = list(Entry.objects.order_by("pk"))
    # Without statistics PostgreSQL reckons with so few runs of each that it would as well sort them.
    for has_statistics in (False, True) if IS_SQLITE else (True,):
        if has_statistics:
            analyze()

        with CaptureQueriesContext(connection) as captured:
            strips = strips_of({entry.pk: entry.zone for entry in entries})

        assert len(captured) == 2
        assert {len(strip) for strip in strips.values()} == {60}
        for each, index in zip(captured, ("crons_run_entry_planned", "crons_range_entry_last"), strict=True):
            steps = plan(each["sql"])
            assert any(index in step for step in steps), steps[:5]
            assert not [step for step in steps if re.search(r"Seq Scan on crons|TEMP B-TREE|SCAN [rga]\b", step)]


def test_one_is_done_at_once_many_are_asked_first_and_each_is_told(staff, make_entry):
    """A reason is kept with each; what has changed since the page was made is left as it is."""
    client = staff(*LOOK, "pause_entry")
    first, second, stale = (make_entry(name) for name in ("first", "second", "stale"))
    chosen = {
        "do": "pause", "reason": "the bank is down", "ids": [first.pk, second.pk, stale.pk, 10**18, "x"],
        **{f"seen-{each.pk}": seen_of(each) for each in (first, second, stale)},
    }  # fmt: skip
    api.pause("stale", by="ann", reason="mine")

    asking = client.post(PAGE, chosen)
    before = Entry.objects.filter(paused_at__isnull=False).count()
    done = client.post(PAGE, {**chosen, "sure": "1"}).content.decode()

    assert "Pause: 3 jobs?" in asking.content.decode()
    assert before == 1
    assert "Pause: 2 of 3 paused" in done
    assert re.search(r"it was .*active.* when the page was made, and is .*paused by ann: mine", done)
    events = AuditEvent.objects.filter(verb="pause", actor="sam").order_by("subject")
    assert [(each.subject, each.reason) for each in events] == [
        ("first", "the bank is down"), ("second", "the bank is down"),
    ]  # fmt: skip


def test_a_missing_reason_right_or_choice_is_said(staff, make_entry):
    """403 names the permission; a list without a reason asks for it; nothing chosen is no error."""
    entry = make_entry("nightly")
    client = staff(*LOOK, "pause_entry")

    without_reason = client.post(PAGE, {"do": "pause", "ids": [entry.pk]})
    refused = client.post(PAGE, {"do": "run", "ids": [entry.pk], "reason": "now"})
    nothing = client.post(PAGE, {"do": "pause", "reason": "x", "next": "https://evil.example/"})
    unknown = client.post(PAGE, {"do": "drop", "ids": [entry.pk]})
    too_many = client.post(PAGE, {"do": "pause", "reason": "x", "ids": list(range(51))})

    assert (without_reason.status_code, "This field is required" in without_reason.content.decode()) == (400, True)
    assert (refused.status_code, "lacks the permission crons.run_entry" in refused.content.decode()) == (403, True)
    assert (nothing.status_code, nothing["Location"]) == (302, PAGE)
    assert (unknown.status_code, too_many.status_code) == (400, 400)
    assert AuditEvent.objects.count() == 0


def of_ann(user: Any, permission: str) -> Any:
    """All may look but at what is hidden; each acts on what is Ann's."""
    return ~Q(owner="hidden") if permission.startswith("crons.view_") else Q(owner="ann")


def test_whose_rights_are_narrowed_sees_and_does_no_more(staff, make_entry, settings):
    """What may not be seen is not there: neither in the list, nor under its name, nor chosen by its number."""
    settings.CRONS = {**settings.CRONS, "RIGHTS": f"{__name__}.of_ann"}
    client = staff(*LOOK, "pause_entry")
    mine, theirs, hidden = (make_entry(name) for name in ("mine", "theirs", "secret"))
    for entry, owner in ((mine, "ann"), (theirs, "bob"), (hidden, "hidden")):
        Entry.objects.filter(pk=entry.pk).update(owner=owner)
    chosen = {"do": "pause", "reason": "x", "sure": "1", "ids": [mine.pk, theirs.pk, hidden.pk]}

    with CaptureQueriesContext(connection) as captured:
        listed = client.get(PAGE, {"q": "e"}).content.decode()
    done = client.post(PAGE, chosen).content.decode()
    refused = client.post(job_page(theirs), {"do": "pause", "reason": "x", "key": "0" * 32})
    pages = [
        client.get(address).status_code for address in (job_page(theirs), job_page(hidden), f"/crons/rows/{hidden.pk}")
    ]
    gone = client.get(job_page(hidden)).content.decode() == client.get("/crons/jobs/secrex").content.decode().replace(
        "secrex", "secret"
    )

    assert ("theirs" in listed, "secret" in listed) == (True, False)
    assert len(captured) <= 12
    assert ("Pause: 1 of 2 paused" in done, "lacks the permission crons.pause_entry for theirs" in done) == (True, True)
    assert (refused.status_code, pages, gone) == (403, [200, 404, 404], True)
    assert "Pause" not in client.get(job_page(theirs)).content.decode()
    assert list(Entry.objects.filter(paused_at__isnull=False)) == [mine]


def test_looking_shows_no_button(staff, make_entry):
    """Who may only look is not offered what would be refused."""
    make_entry("nightly")

    page = staff(*LOOK).get(PAGE).content.decode()

    assert ("checkbox" in page, 'name="do"' in page) == (False, False)
