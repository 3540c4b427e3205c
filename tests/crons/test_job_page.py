"""The page of a job: its chart, what comes, its rules and where they come from, what happened; and what is sent."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from crons import api, job
from crons.jobs import registry
from crons.models import AuditEvent, Entry, Heartbeat, Incident, Range, Run
from crons.web.acts import seen_of
from crons.web.job.chart import BOTTOM, TOP, WIDTH, draw
from crons.web.job.coming import coming_of
from crons.web.job.page import read
from crons.web.jobs.marks import Mark
from tests.crons.conftest import NOON, minutes
from tests.crons.filling import full_scans
from tests.crons.growing import analyze, grow_done, grow_ranges, shrink
from tests.crons.test_job_list import LOOK, run_of

pytestmark = pytest.mark.django_db
PAGE = "/crons/jobs/nightly"


def marks(*seconds: float) -> list[Mark]:
    """Runs that succeeded, an hour apart, which took so long each."""
    return [
        Mark(NOON + timedelta(hours=n), "UTC", "succeeded", run_id=n + 1, took=timedelta(seconds=each))
        for n, each in enumerate(seconds)
    ]


def test_a_chart_of_nothing_draws_nothing():
    """What has never run, runs for the first time now, or was only ever skipped."""
    running = Mark(NOON, "UTC", "running", run_id=1, took=timedelta(hours=1), is_over=False)

    assert [draw(each, None, []).bars for each in ([], [running], [Mark(NOON, "UTC", "skipped", "overlap")])] == [
        []
    ] * 3
    assert draw([], None, []).says == "No run has ended yet."


@pytest.mark.parametrize(
    ("seconds", "p95", "heights", "cut", "top"),
    [
        ([4], 4, [136], 0, "4.0 s"),
        ([4] * 60, 4, [136] * 60, 0, "4.0 s"),
        ([0] * 3, 0, [1] * 3, 0, "0.1 s"),
        ([10, 20, 40], 40, [34, 68, 136], 0, "40 s"),
        ([10] * 20 + [86_400], 10, [68] * 20 + [136], 1, "20 s"),
        ([-3, 4], None, [1, 136], 0, "4.0 s"),
    ],
    ids=["one", "all alike", "no time at all", "different", "one enormous", "a clock set back"],
)  # fmt: skip
def test_bars_are_as_high_as_runs_were_long(seconds, p95, heights, cut, top):
    """One run of a day must not make all others flat; it is cut, and said to be."""
    chart = draw(marks(*seconds), None if p95 is None else timedelta(seconds=p95), [])

    assert [bar.height for bar in chart.bars] == heights
    assert (chart.cut, chart.top) == (cut, top)
    assert all(bar.x >= 0 and bar.x + bar.width <= WIDTH for bar in chart.bars)
    assert all(TOP <= bar.y <= BOTTOM for bar in chart.bars)
    assert p95 is None or TOP <= chart.p95_y <= BOTTOM


def test_deploys_stand_before_the_first_run_after_them():
    """Whether it has become slower since then is what is asked; what lies before all bars is left out."""
    changes = [(NOON - minutes(1), "old"), (NOON + minutes(90), "release 7"), (NOON + timedelta(days=9), "reschedule")]

    chart = draw(marks(1, 1, 1), None, changes)

    assert [(line.x, line.label.split(",")[0]) for line in chart.lines] == [(45.6, "release 7"), (69.6, "reschedule")]


def test_slots_to_come_tell_of_the_clock_changes(make_entry):
    """02:30 does not exist in one night, and comes twice in another."""
    spring = make_entry("spring", schedule="30 2 * * *", zone="Europe/Berlin")
    autumn = make_entry("autumn", schedule="*/30 * * * *", zone="Europe/Berlin")
    now = datetime(2026, 3, 28, 12, tzinfo=UTC)

    coming = coming_of(spring, now, 2)
    twice = coming_of(autumn, datetime(2026, 10, 24, 23, 50, tzinfo=UTC), 5)

    assert [(each.is_slot, each.note) for each in coming] == [
        (False, "2026-03-29: clocks go forward by 1 h, from +01:00 to +02:00. 02:00 to 03:00 is skipped."),
        (True, "Right after the gap: 02:00 to 03:00 does not exist this time."),
        (True, ""),
    ]
    assert [each.note for each in twice] == [
        "02:00 comes twice: this is the first.",
        "02:30 comes twice: this is the first.",
        "2026-10-25: clocks go back by 1 h, from +02:00 to +01:00. 02:00 to 03:00 comes twice.",
        "02:00 comes twice: this is the second.",
        "02:30 comes twice: this is the second.",
        "",
    ]


def test_rules_say_where_they_come_from(make_entry, empty_registry):
    """In code, in CRONS["DEFAULTS"], by a person, or from nobody: whoever wants another one must know where."""
    empty_registry.defaults = lambda: {"timeout": timedelta(minutes=5)}
    make_entry("nightly", since=NOON, timeout=timedelta(minutes=5), overlap="allow", tell_after=3)
    Entry.objects.update(source_ref="stock/cron.py:7")
    api.reschedule("nightly", "0 3 * * *", by="dana", reason="quieter")

    rules = {rule.name: rule.origin for rule in read(Entry.objects.get()).rules}

    assert re.fullmatch(r"override by dana, .* \+00:00: quieter; the code says \*/5 \* \* \* \*", rules.pop("schedule"))
    assert rules.pop("zone") == "code: stock/cron.py:7"
    assert rules.pop("overlap") == rules.pop("tell after") == "code: stock/cron.py:7"
    assert rules.pop("timeout") == 'CRONS["DEFAULTS"]'
    assert {"built in"} >= {rules[name] for name in ("catch up", "retry", "lost", "executor")}


def test_what_happened_stands_in_one_order(make_entry):
    """Runs, ranges, pauses, deploys, changes and incidents: why it is slower since Tuesday is seen in one place."""
    entry = make_entry("nightly")
    run_of(entry, NOON, "failed")
    Range.objects.create(
        entry=entry, first_at=NOON + minutes(1), last_at=NOON + minutes(9), count=3, verdict="missed",
        reason="catch_up", trigger="serve", recorded_at=NOON,
    )  # fmt: skip
    for number in range(5):
        run_of(entry, NOON + minutes(20 + number))
    noted = {"subject_type": "entry", "subject": "nightly", "actor": "dana", "reason": ""}
    AuditEvent.objects.create(
        at=NOON + minutes(10), verb="pause", after={"until": None}, **{**noted, "reason": "moving"}
    )
    schedules = {"before": {"schedule": "0 1 * * *"}, "after": {"schedule": "0 2 * * *", "release": "7"}}
    AuditEvent.objects.create(at=NOON + minutes(11), verb="change", **noted, **schedules)
    AuditEvent.objects.create(at=NOON, verb="pause", **{**noted, "subject": "another"})
    AuditEvent.objects.create(
        at=NOON + minutes(12), verb="resume", **{**noted, "subject_type": "all", "subject": "all"}
    )
    Incident.objects.create(
        rule="failing", entry=entry, summary="failed", opened_at=NOON + minutes(13), changed_at=NOON,
        closed_at=NOON + minutes(33),
    )  # fmt: skip
    beat = {"boot_id": "b", "beat_at": NOON, "expected_by": NOON, "release": "7", "kind": "serve", "host": "web1"}
    Heartbeat.objects.create(instance="a", pid=1, started_at=NOON + minutes(14), **beat)
    Heartbeat.objects.create(instance="b", pid=1, started_at=NOON + minutes(15), **beat)

    page = read(entry, now=NOON + minutes(60))

    assert [(each.kind, each.says, each.detail) for each in page.events] == [
        ("incident", "Closed: failing: failed", "after 20 min"),
        ("runs", "5 runs in a row succeeded", "each took 4.0 s to 4.0 s"),
        ("deploy", "Release 7 began to run.", ""),
        ("incident", "Opened: failing: failed", ""),
        ("pause", "Resumed with everything by dana.", ""),
        ("deploy", "Declared anew by dana.", "schedule 0 1 * * * → 0 2 * * *, release 7"),
        ("pause", "Paused by dana: moving", ""),
        ("range", "3 slots missed (catch up), from 2026-03-02 12:01:00 +00:00 on", ""),
        ("run", "failed", "took 4.0 s"),
    ]


def test_older_events_are_on_further_pages_and_none_is_lost(make_entry):
    """Two hundred failures: a page of fifty after the other."""
    entry = make_entry("nightly")
    for number in range(120):
        run_of(entry, NOON + minutes(number), "failed", None)
    found, before = [], None
    for _ in range(5):
        page = read(entry, before, NOON)
        found += [each.at for each in page.events]
        before = page.older
        if before is None:
            break

    assert found == [NOON + minutes(number) for number in reversed(range(120))]


@pytest.mark.usefixtures("files_that_shrink_again")
def test_a_job_of_many_runs_costs_what_a_new_one_costs(staff, make_entry, led, monkeypatch):
    """At most twelve statements, session and person among them, none of which reads the history."""
    shrink()
    make_entry("nightly")
    led.record(NOON + minutes(5))
    grow_done(20_000, NOON)
    grow_ranges(2_000, NOON)
    analyze()
    client = staff(*LOOK, "run_entry", "pause_entry", "change_entry")

    with CaptureQueriesContext(connection) as captured:
        shown = client.get(PAGE)

    page = shown.content.decode()
    assert shown.status_code == 200
    assert len(captured) <= 12, [each["sql"][:90] for each in captured]
    assert full_scans(captured) == []
    assert (
        page.count('class="bar') == page.count("<title>") - 1 == 40
    )  # the newest sixty marks, twenty of which are ranges
    assert 'role="img" aria-labelledby="chart chart-says"' in page
    assert "The same as a table" in page
    assert "style=" not in page
    assert "default-src 'none'" in shown["Content-Security-Policy"]


@pytest.fixture
def nightly(make_entry, empty_registry):
    """An entry of a job with arguments, one of which is a secret."""
    called: dict[str, Any] = {}

    @job()
    def nightly(shop: str, days: int = 7, *, api_token: str = "abcdefgh12345") -> None:
        called.update(shop=shop, days=days, api_token=api_token)

    return make_entry(
        "nightly", since=api.ledger.database_now() - timedelta(days=2), args={"api_token": "verysecret99"}
    )


def send(client: Any, do: str, **given: Any) -> Any:
    """Send a form of the page, as it looks now."""
    given = {"do": do, "key": "0" * 32, "seen": seen_of(Entry.objects.get()), **given}
    return client.post(PAGE, given)


def test_arguments_are_checked_as_on_the_command_line(staff, nightly):
    """JSON or else a text; what it cannot be called with is refused in the same words; no secret comes back."""
    client = staff(*LOOK, "run_entry")

    form = client.get(PAGE, {"do": "run"}).content.decode()
    missing = send(client, "run", **{"arg-days": "3"})
    wrong = send(client, "run", **{"arg-shop": "main", "arg-days": "[" * 200_000, "arg-api_token": "typed-secret-1"})
    refused = Run.objects.count()
    well = send(client, "run", **{"arg-shop": '"7"', "arg-days": "30", "arg-api_token": "typed-secret-2"}, reason="now")
    again = send(
        client, "run", **{"arg-shop": '"7"', "arg-days": "30", "arg-api_token": "typed-secret-2"}, reason="now"
    )

    assert re.search(r'<input type="password" name="arg-api_token"(?!.* value=)[^>]*>', form)
    assert ("Empty: 7, its default." in form, "shop (str)" in form) == (True, True)
    assert not [each for each in (form, missing, wrong) for secret in ("verysecret99", "abcdefgh12345", "typed-secret")
                if secret in (each if isinstance(each, str) else each.content.decode())]  # fmt: skip
    assert (missing.status_code, "This field is required" in missing.content.decode()) == (400, True)
    assert (wrong.status_code, refused) == (400, 0)
    assert (well.status_code, well["Location"], again.status_code) == (
        302, f"/crons/runs/{Run.objects.get().pk}", 302
    )  # fmt: skip
    assert Run.objects.get().args == {"shop": "7", "days": 30, "api_token": "typed-secret-2"}
    event = AuditEvent.objects.get()
    assert (event.verb, event.actor, event.reason) == ("run", "sam", "now")
    assert "typed-secret" not in str(event.after)


def test_other_arguments_are_read_by_lines(staff, make_entry, empty_registry):
    """A job that takes any name has no list of fields."""

    @job()
    def nightly(**given: Any) -> None: ...

    make_entry("nightly")
    client = staff(*LOOK, "run_entry")

    twice = send(client, "run", others="a=1\na=2").content.decode()
    none = send(client, "run", others="sesame").content.decode()
    send(client, "run", others="a=1\n\nb=x=y")

    assert "&#x27;a&#x27; is given twice." in twice
    assert "expected KEY=VALUE" in none
    assert Run.objects.get().args == {"a": 1, "b": "x=y"}
    assert registry.get("nightly")


def test_backfill_shows_what_it_would_do_before_it_does_it(staff, nightly):
    """What has changed while somebody read is shown anew, and nothing is done."""
    client = staff(*LOOK, "run_entry")
    since = (nightly.first_seen_at + minutes(1)).replace(tzinfo=None).isoformat(timespec="minutes")
    until = (nightly.first_seen_at + minutes(31)).replace(tzinfo=None).isoformat(timespec="minutes")
    given = {"since": since, "until": until, "reason": "holes"}

    looked = send(client, "backfill", **given)
    expected = re.search(r'name="expected" value="([^"]+)"', looked.content.decode())
    before = Run.objects.count()
    other = send(client, "backfill", **given, expected="1 2026")
    done = send(client, "backfill", **given, expected=expected[1])
    again = send(client, "backfill", **given)
    nonsense = send(client, "backfill", since="yesterday", until="", reason="holes")

    assert "6 slots have no success and would be run, oldest first:" in looked.content.decode()
    assert (before, other.status_code, done.status_code) == (0, 409, 302)
    assert Run.objects.filter(kind="backfill").count() == 6
    assert "there is nothing to run" in again.content.decode()
    assert nonsense.status_code == 400
    assert AuditEvent.objects.get(verb="backfill").reason == "holes"


def test_reschedule_shows_the_next_slots_and_can_be_dropped(staff, make_entry):
    """An override says when, never what; the code's schedule comes back."""
    make_entry("nightly", since=api.ledger.database_now())
    client = staff(*LOOK, "change_entry")
    given = {"schedule": "30 2 * * *", "zone": "Europe/Berlin", "reason": "quieter"}

    looked = send(client, "reschedule", **given)
    expected = re.search(r'name="expected" value="([^"]+)"', looked.content.decode())
    before = Entry.objects.get().schedule
    done = send(client, "reschedule", **given, expected=expected[1])
    after = Entry.objects.get()
    wrong = send(client, "reschedule", **{**given, "schedule": "61 * * * *"})
    dropped = send(client, "declared", reason="")

    assert "(30 2 * * *), Europe/Berlin. The first, " in looked.content.decode()
    assert (before, done.status_code) == ("*/5 * * * *", 302)
    assert (after.schedule, after.zone) == ("30 2 * * *", "Europe/Berlin")
    assert (wrong.status_code, "61" in wrong.content.decode()) == (400, True)
    assert (dropped.status_code, Entry.objects.get().schedule, Entry.objects.get().zone) == (302, "*/5 * * * *", "UTC")


def test_a_stale_button_says_what_has_changed(staff, make_entry):
    """Two people at 3 a.m.: the second must not undo, unseen, what the first has just done."""
    entry = make_entry("nightly")
    seen = seen_of(entry)
    client = staff(*LOOK, "pause_entry", "change_entry")
    api.pause("nightly", by="ann", reason="mine")

    stale = send(client, "pause", reason="yours", seen=seen)
    forged = [send(client, "pause", reason="yours", seen=each).status_code for each in ("[", "7", "[" * 99_999, "{}")]

    assert stale.status_code == 409
    assert re.search(
        r"Nothing was done: it was .*active.* when the page was made, and is .*by ann: mine", stale.content.decode()
    )
    assert forged == [409] * 4
    assert Entry.objects.get().pause_reason == "mine"


def test_who_may_not_is_told_what_is_lacking(staff, make_entry):
    """A bare 403 sends people to the wrong colleague; who may only look is offered nothing."""
    make_entry("nightly")
    client = staff(*LOOK)

    needed = {
        do: re.search(r"lacks the permission (\S+)\.", send(client, do, reason="x").content.decode())[1]
        for do in ("run", "pause", "resume", "backfill", "reschedule", "declared")
    }
    page = client.get(PAGE, {"do": "pause"}).content.decode()

    assert needed == {
        "run": "crons.run_entry", "pause": "crons.pause_entry", "resume": "crons.pause_entry",
        "backfill": "crons.run_entry", "reschedule": "crons.change_entry", "declared": "crons.change_entry",
    }  # fmt: skip
    assert ("<form" in page, "What can be done" in page) == (False, False)
    assert send(client, "drop").status_code == 400
    assert AuditEvent.objects.count() == 0


def test_another_site_sends_nothing(staff, make_entry):
    """Without the token of the page, whatever middleware a project has."""
    make_entry("nightly")
    staff(*LOOK, "pause_entry")
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.get())

    sent = [client.post(path, {"do": "pause", "reason": "x", "ids": "1"}).status_code for path in (PAGE, "/crons/jobs")]

    assert sent == [403, 403]
    assert AuditEvent.objects.count() == 0


@pytest.mark.parametrize(
    "path", ["/crons/jobs/nightl", "/crons/jobs/%00", "/crons/jobs/%FF", "/crons/rows/0", f"/crons/rows/{10**30}"]
)
def test_forged_names_are_not_here(staff, make_entry, path):
    """404, whatever the database thinks of such a text."""
    make_entry("nightly")

    answer = staff(*LOOK, "pause_entry")

    assert answer.get(path).status_code == 404
    assert answer.post(path, {"do": "pause", "reason": "x"}).status_code == 404


@pytest.mark.parametrize("before", ["x", "2026-02-30T00:00Z", "0001-01-01T00:00:00+23:00", "9999-12-31T23:59:59-23:00"])
def test_forged_places_show_the_newest_or_nothing(staff, make_entry, before):
    """And never a fault."""
    make_entry("nightly")

    assert staff(*LOOK).get(PAGE, {"before": before}).status_code == 200


@pytest.mark.parametrize("fields", [
    {"schedule": "no schedule"}, {"zone": "Nowhere/Land"}, {"overrides": [], "tags": {"a": 1}}, {"schedule": ""},
    {"policy": {"timeout": "x"}}, {"parked_reason": "the zone is gone"}, {"args": ["x"]},
])  # fmt: skip
def test_a_row_that_cannot_be_planned_has_a_page_all_the_same(staff, make_entry, fields):
    """It is then that somebody looks."""
    make_entry("nightly")
    Entry.objects.update(**fields)

    answer = staff(*LOOK, "run_entry", "pause_entry", "change_entry").get(PAGE, {"do": "run"})

    assert answer.status_code == 200
