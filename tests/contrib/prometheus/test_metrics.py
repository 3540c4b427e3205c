"""GET /crons/metrics: what the rows say in figures, read as Prometheus reads them, bounded whatever is in the rows."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from crons import ledger
from crons.contrib.prometheus import figures
from crons.exceptions import LedgerUnavailable
from crons.models import Attempt, Entry, Heartbeat, Incident, Pause, Run
from tests.crons.conftest import NOON, minutes
from tests.crons.filling import full_scans
from tests.crons.growing import SERIES, _insert, analyze, grow_done, grow_due, grow_ranges, shrink

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_registry")]
TOKEN = "correct-horse-battery-staple-0123456789"
NOW = NOON + minutes(5)
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture(autouse=True)
def at_five_past(settings, monkeypatch):
    """Monitoring has a token, and it is five past noon."""
    settings.CRONS = {**settings.CRONS, "MONITORING": {"TOKEN": TOKEN}}
    monkeypatch.setattr("crons.ledger.transactions.now_in_tests", lambda: NOW)


@pytest.fixture
def scrape(client):
    """Ask as Prometheus does, and return the samples: by name and labels, the value."""

    def ask(accept="", reads=parse):
        answer = client.get("/crons/metrics", headers={"Authorization": f"Bearer {TOKEN}", "Accept": accept})
        assert answer.status_code == 200, answer.content
        found = [sample for family in reads(answer.content.decode()) for sample in family.samples]
        samples = {(each.name, *sorted(each.labels.items())): each.value for each in found}
        assert len(samples) == len(found), "no series stands twice"
        return samples

    return ask


def entry_of(name):
    return ("entry", name)


def test_who_may_not_read_health_may_not_read_figures(client, settings):
    assert client.get("/crons/metrics").status_code == 401
    settings.CRONS = {}
    assert client.get("/crons/metrics").status_code == 403


@pytest.mark.parametrize("error", [OperationalError("gone"), LedgerUnavailable("the database did not answer: gone")])
def test_what_cannot_be_read_is_a_failed_scrape(client, monkeypatch, error):
    """Old figures, or none, would look like peace."""

    def fail(*_):
        raise error

    monkeypatch.setattr(ledger, "agenda", fail)

    answer = client.get("/crons/metrics", headers={"Authorization": f"Bearer {TOKEN}"})

    assert (answer.status_code, answer.content.decode()) == (503, f"{error}\n")


def test_an_empty_ledger_has_figures(scrape):
    told = scrape()

    assert told["crons_entries",] == 0
    assert told["crons_queue_runs", ("state", "due")] == 0
    assert told["crons_recent_window_seconds",] == 3600


def test_it_tells_how_each_entry_is(scrape, make_entry, led):
    """From rows alone: another process ran all of it."""
    make_entry("nightly")
    make_entry("paused")
    Entry.objects.filter(name="paused").update(paused_at=NOON, wake_at=NOON + timedelta(days=1))
    make_entry("broken")
    Entry.objects.filter(name="broken").update(parked_reason="no such zone", wake_at=NOON + timedelta(days=1))
    led.record(NOW)
    [begun] = led.begin(NOW + timedelta(seconds=2))
    led.finish(begun, NOW + timedelta(seconds=9))

    told = scrape()

    assert told["crons_entries",] == 3
    assert told["crons_entry_paused", entry_of("paused")] == 1
    assert told["crons_entry_paused", entry_of("nightly")] == 0
    assert told["crons_entry_parked", entry_of("broken")] == 1
    ended_at = Run.objects.get(verdict="succeeded").ended_at
    assert told["crons_last_success_timestamp_seconds", entry_of("nightly")] == ended_at.timestamp()
    assert ("crons_last_success_timestamp_seconds", entry_of("paused")) not in told
    assert told["crons_recent_runs", entry_of("nightly"), ("verdict", "succeeded")] == 1
    attempt = Attempt.objects.get()
    late = attempt.begun_at - attempt.run.slot_at
    assert told["crons_recent_lateness_seconds", entry_of("nightly")] == late.total_seconds()
    took = (attempt.ended_at - attempt.begun_at).total_seconds()
    name = "crons_recent_run_duration_seconds"
    assert told[f"{name}_gcount", entry_of("nightly")] == 1
    assert told[f"{name}_gsum", entry_of("nightly")] == took
    buckets = {float(key[2][1]): value for key, value in told.items() if key[0] == f"{name}_bucket"}
    assert buckets == {bound: float(took <= bound) for bound in buckets}
    assert list(buckets)[-1] == float("inf")


def test_it_tells_what_waits_and_what_is_wrong(scrape, make_entry, led):
    entry = make_entry("nightly")
    led.record(NOW)
    Run.objects.update(wake_at=NOW - minutes(3))
    Entry.objects.update(wake_at=NOW - minutes(2))
    for number in range(2):
        Incident.objects.create(
            rule="failing", entry=entry, open_key=f"failing {number}", summary="S3CRET ×", opened_at=NOW, changed_at=NOW
        )
    Incident.objects.create(rule="failing", summary="over", opened_at=NOW, changed_at=NOW, closed_at=NOW)
    Pause.objects.create(scope="tag:mail", tag="mail", paused_at=NOW)
    Pause.objects.create(scope="all", paused_at=NOON, until=NOON)
    for number, beat_at in enumerate((NOW - minutes(40), NOW - timedelta(seconds=7))):
        Heartbeat.objects.create(
            instance=f"i{number}", kind="serve", host="web1", pid=1, boot_id="b", started_at=NOON, beat_at=beat_at,
            expected_by=beat_at + minutes(1), clock_skew_seconds=2.5,
        )  # fmt: skip

    told = scrape()

    assert told["crons_queue_runs", ("state", "due")] == Run.objects.count()
    assert told["crons_queue_oldest_seconds", ("state", "due")] == 180
    assert told["crons_planning_lag_seconds",] == 120
    assert told["crons_incidents_open", ("rule", "failing"), ("severity", "warning")] == 2
    assert {key[1][1]: value for key, value in told.items() if key[0] == "crons_pauses"} == {
        "entry": 0,
        "tag": 1,
        "all": 0,
    }
    web1 = (("host", "web1"), ("kind", "serve"))
    assert told["crons_scheduler_heartbeat_age_seconds", *web1] == 7
    assert told["crons_clock_skew_seconds", *web1] == 2.5
    assert told["crons_schedulers", *web1] == 1


HOSTILE = ['quo"te', "back\\slash", "line\nbreak", 'x"} 1\ncrons_entries 99 # {', "\u202eright\tto left", "é" * 100]


@pytest.mark.parametrize(("accept", "reads"), [("", parse), (OPENMETRICS, parse_openmetrics)])
def test_a_hostile_name_is_a_label_and_nothing_else(scrape, client, make_entry, led, accept, reads):
    """Whoever may name an entry in the admin must not write metrics."""
    for name in HOSTILE:
        make_entry(name)
    led.record(NOW)

    told = scrape(accept, reads)

    assert {key[1][1] for key in told if key[0] == "crons_entry_paused"} == set(HOSTILE)
    assert told["crons_entries",] == len(HOSTILE)


def test_the_format_is_the_one_that_is_asked_for(client):
    ask = {"Authorization": f"Bearer {TOKEN}"}

    answer = client.get("/crons/metrics", headers={**ask, "Accept": OPENMETRICS})

    assert answer["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.content.endswith(b"# EOF\n")
    assert client.get("/crons/metrics", headers=ask)["Content-Type"].startswith("text/plain; version=0.0.4")


def test_an_explosion_of_entries_is_one_series_more(scrape, make_entry, led):
    """A loop made a hundred thousand; `other` has what is not labelled, and an entry of that name."""
    shrink()
    pattern = make_entry("other")
    given = {"id": f"n + {pattern.pk + 1}", "name": "'n' || n"}
    pattern.wake_at = NOW + timedelta(days=1)
    _insert(Entry, given, pattern, "series", "TRUE", SERIES.format(last=99_999))
    Entry.objects.filter(pk__lt=pattern.pk + 350).update(wake_at=NOW)
    led.record(NOW)

    with CaptureQueriesContext(connection) as captured:
        told = scrape()

    statements = [each["sql"] for each in captured if each["sql"].startswith(("SELECT", "WITH"))]
    assert len(statements) <= 12, statements
    assert full_scans(captured) == []
    assert told["crons_entries",] == figures.MOST
    assert sum(key[0] == "crons_entry_paused" for key in told) == figures.LABELLED
    assert len(told) < 20 * figures.LABELLED
    runs = {key[1][1]: value for key, value in told.items() if key[0] == "crons_recent_runs"}
    assert sum(runs.values()) == Run.objects.count()
    assert runs["other"] > 1


def test_a_scrape_costs_the_same_after_a_year(make_entry, led, monkeypatch):
    """No statement reads the history, with statistics and without; what it returns is bounded and says how far."""
    shrink()
    for number in range(20):
        make_entry(f"entry{number}")
    led.record(NOW)
    grow_done(30_000, NOW)
    grow_due(12_000, NOW)
    grow_ranges(10_000, NOW)
    found = []

    for has_statistics in (False, True):
        if has_statistics:
            analyze()
        with CaptureQueriesContext(connection) as captured:
            told = figures.read()
        found += full_scans(captured)
        statements = [each for each in captured if each["sql"].lstrip().startswith("SELECT")]
        assert len(statements) <= 12, [each["sql"] for each in statements]

    assert "\n".join(found) == ""
    assert sum(told.runs.values()) == min(
        figures.NEWEST, Run.objects.filter(planned_at__gt=NOW - figures.WINDOW).count()
    )
    assert told.queue["due"] == figures.MOST
    assert set(told.last_success_at) == {f"entry{number}" for number in range(20)}
