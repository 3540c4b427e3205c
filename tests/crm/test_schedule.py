"""When the CRM's jobs are due, and what becomes of them over a weekend: its own declarations, played."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from crm.cron import log_crm_heartbeat
from crm.models import Customer
from crons.jobs import registry
from crons.testing import clock, due, play, run


def test_cleanup_is_due_on_sundays_at_two_and_at_no_other_time():
    """What the seed asks for; a week has one slot."""
    slots = due("2026-11-16T00:00Z", "2026-11-23T00:00Z")

    assert [slot.local for slot in slots if slot.entry == "clean_inactive_customers"] == ["2026-11-22 02:00:00+00:00"]


def test_heartbeat_is_due_every_five_minutes():
    """A day has 288 of them."""
    entries = [slot.entry for slot in due("2026-11-22T00:00Z", "2026-11-23T00:00Z")]

    assert entries.count("log_crm_heartbeat") == 288


def test_heartbeat_writes_one_line_and_prints_nothing(log_dir):
    """Run as a scheduler does, without one."""
    with clock.at("2026-11-22T02:05Z"):
        result = run(log_crm_heartbeat).reraise()

    assert (log_dir / "crm_heartbeat_log.txt").read_text() == "22/11/2026-02:05:00 CRM is alive\n"
    assert result.stream("stdout") == ""


@pytest.mark.django_db
def test_over_the_weekend_of_a_clock_change_the_cleanup_runs_once(settings, log_dir, make_customer):
    """02:00 does not exist in Berlin that Sunday: it runs right after the gap, and judges as of then."""
    settings.CRONS = {**settings.CRONS, "TIME_ZONE": "Europe/Berlin"}
    # Exactly a year before the slot is not over a year; a second earlier is.
    gone = make_customer(datetime(2025, 3, 29, 0, 59, 59, tzinfo=UTC))
    kept = make_customer(datetime(2025, 3, 29, 1, 0, tzinfo=UTC))

    runs = play("2026-03-28T12:00Z", "2026-03-30T12:00Z", only=["clean_inactive_customers"])

    assert [(f"{each.slot_at:%d %H:%M}", each.verdict) for each in runs] == [("29 01:00", "succeeded")]
    assert [each.pk for each in Customer.objects.all()] == [kept.pk]
    assert gone.pk != kept.pk
    assert (log_dir / "customer_cleanup_log.txt").read_text() == "2026-03-29 01:00:00 Deleted 1 inactive customers\n"


def test_without_a_broker_no_job_waits_for_a_worker():
    """`make run` has none, and the report is due there as well; with one it is a Celery job."""
    assert {job.name: job.policy.executor for job in registry.jobs.values() if job.policy.executor != "process"} == {}
