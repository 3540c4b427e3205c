"""What people do to jobs, in Chromium, from the first page to the last: one browser, one tab, few pages."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from crons import models
from tests.crons.test_in_the_browser import chromium  # noqa: F401 (a fixture)

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.django_db(transaction=True)]
# On a busy machine a page may take long.
SOON = 120_000


@pytest.fixture
def tab(chromium, live_server, client) -> Iterator[Any]:  # noqa: F811 (the fixture)
    """A tab of somebody who may do all, with scripts; whatever the browser complains of fails the test."""
    client.force_login(User.objects.create_superuser("dana"))
    context = chromium.new_context(viewport={"width": 1200, "height": 800}, base_url=live_server.url)
    context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": live_server.url}])
    context.set_default_timeout(SOON)
    made, complaints = context.new_page(), []
    made.on("pageerror", lambda error: complaints.append(str(error)))
    made.on("console", lambda said: complaints.append(said.text) if "Security Policy" in said.text else None)
    yield made
    context.close()
    assert complaints == []


@pytest.fixture
def jobs(make_entry) -> list[models.Entry]:
    """Two jobs on a schedule that has not come."""
    since = timezone.now() - timedelta(hours=2)
    made = [make_entry(name, since=since) for name in ("nightly", "weekly")]
    now = timezone.now()
    models.Entry.objects.update(wake_at=now + timedelta(hours=1), accounted_until=now)
    return made


def begun(run: models.Run) -> models.Attempt:
    """Begin *run*, as a scheduler does that takes it."""
    attempt = models.Attempt.objects.create(
        run=run, number=run.tries + 1, token=uuid.uuid4(), executor="process", instance="i", host="web1", pid=7,
        boot_id="b", begun_at=timezone.now(), lease_until=timezone.now() + timedelta(hours=1),
    )  # fmt: skip
    models.Run.objects.filter(pk=run.pk).update(
        state="running", tries=attempt.number, current_attempt=attempt.pk, active_key=run.entry_id, wake_at=None
    )
    return attempt


def wrote(attempt: models.Attempt, seq: int, text: str) -> None:
    models.OutputChunk.objects.create(attempt=attempt, seq=seq, stream="stdout", text=text)


def ended(attempt: models.Attempt, outcome: str) -> None:
    """End *attempt* and its run so."""
    now = timezone.now()
    models.Attempt.objects.filter(pk=attempt.pk).update(outcome=outcome, ended_at=now, lease_until=None)
    models.Run.objects.filter(pk=attempt.run_id).update(
        state="done", verdict=outcome, ended_at=now, active_key=None, current_attempt=None
    )


def events() -> list[tuple[str, str]]:
    """What people did, and why."""
    return list(models.AuditEvent.objects.order_by("pk").values_list("verb", "reason"))


def test_a_run_is_asked_for_watched_cancelled_and_tried_again(tab, jobs):
    """From the first page, with what it writes as it writes it, though it had not begun when the page was made."""
    tab.goto("/crons/")
    tab.get_by_text("Run now nightly").first.click()
    tab.get_by_role("textbox", name="Reason").locator("visible=true").fill("a customer asks")
    tab.get_by_role("button", name="Run now nightly").click()
    tab.get_by_text("nightly: asked to run now.").wait_for()
    run = models.Run.objects.get()
    asked = (tab.url.endswith(f"/crons/runs/{run.pk}"), run.requested_by, run.state)

    attempt = begun(run)
    wrote(attempt, 0, "the first line\n")
    tab.get_by_text("the first line").wait_for()
    wrote(attempt, 1, "the second line\n")
    tab.get_by_text("the second line").wait_for()
    tab.get_by_text("Cancel this run").first.click()
    tab.get_by_label("Reason").fill("wrong data")
    tab.get_by_role("button", name="Cancel this run").click()
    tab.get_by_text(f"Run {run.pk} of nightly: asked to stop.").wait_for()
    attempt.refresh_from_db()
    ended(attempt, "cancelled")
    tab.get_by_text("Retry this run").first.click()
    tab.get_by_label("Reason").fill("the data is right now")
    tab.get_by_role("button", name="Retry this run").click()
    tab.get_by_text(f"Run {run.pk} of nightly: opened for another try.").wait_for()
    again = begun(models.Run.objects.get())
    wrote(again, 0, "another line\n")
    tab.get_by_text("another line").wait_for()

    assert asked == (True, "dana", "due")
    assert attempt.cancel_requested_at is not None
    assert again.number == 2
    assert tab.get_by_role("heading", name="What attempt 2 wrote").count() == 1
    assert events() == [
        ("run", "a customer asks"), ("cancel", "wrong data"), ("retry", "the data is right now")
    ]  # fmt: skip


def test_jobs_are_paused_together_and_slots_are_run_after_all(tab, jobs):
    """The list and a job's page: several at once, until a moment, and a look before the deed."""
    tab.goto("/crons/jobs")
    for do, reason in (("Pause", "the bank is down"), ("Resume", "it is up")):
        for name in ("nightly", "weekly"):
            tab.get_by_role("checkbox", name=f"Choose {name}").check()
        tab.get_by_label("With those chosen, because").fill(reason)
        tab.get_by_role("button", name=do).click()
        tab.get_by_role("heading", name=f"{do}: 2 jobs?").wait_for()
        tab.get_by_role("button", name=do).click()
        tab.get_by_role("heading", name=f"{do}: 2 of 2").wait_for()
        assert models.Entry.objects.filter(paused_at=None).count() == (0 if do == "Pause" else 2)
        tab.get_by_role("link", name="Back to the list").click()
    tab.get_by_role("rowheader").get_by_role("link", name="nightly").click()
    tab.get_by_role("link", name="Pause", exact=True).click()
    tab.get_by_role("textbox", name="Reason").fill("until the move")
    tab.get_by_label("Until").fill("2126-12-07T08:00")
    tab.get_by_role("button", name="Pause").click()
    tab.get_by_text("nightly: paused.").wait_for()
    entry = models.Entry.objects.get(name="nightly")
    now = timezone.now()
    # Whatever the minute: seven slots of each five minutes, and none at the ends.
    last = now - timedelta(minutes=now.minute % 5 + 7)
    since, until = [moment.strftime("%Y-%m-%dT%H:%M") for moment in (last - timedelta(minutes=35), last)]
    tab.get_by_role("link", name="Backfill", exact=True).click()
    tab.get_by_role("textbox", name="Since").fill(since)
    tab.get_by_role("textbox", name="Until").fill(until)
    tab.get_by_role("textbox", name="Reason").fill("holes")
    tab.get_by_role("button", name="Show what it would do").click()
    tab.get_by_text("slots have no success and would be run, oldest first:").wait_for()
    looked = models.Run.objects.count()
    tab.get_by_role("button", name="Backfill: do this").click()
    tab.get_by_text("nightly: is run, oldest first.").wait_for()

    assert (entry.paused_until is not None, entry.pause_reason) == (True, "until the move")
    assert (looked, models.Run.objects.filter(kind="backfill").count()) == (0, 7)
    assert sorted(events()) == sorted(
        [("pause", "the bank is down")] * 2 + [("resume", "it is up")] * 2
        + [("pause", "until the move"), ("backfill", "holes")]
    )  # fmt: skip


def test_an_incident_is_taken_in_hand_and_quiet_for_a_while(tab, jobs):
    """Two people at three in the morning see who has it."""
    now = timezone.now()
    models.Incident.objects.create(
        rule="failing", entry=jobs[0], open_key="k", summary="failed: no rows", opened_at=now, changed_at=now
    )
    tab.goto("/crons/incidents")
    tab.get_by_text("Acknowledge failed: no rows").first.click()
    tab.get_by_label("Reason").locator("visible=true").fill("I am at it")
    tab.get_by_role("button", name="Acknowledge").click()
    tab.get_by_text("in hand: dana").wait_for()
    tab.get_by_text("Snooze failed: no rows").first.click()
    tab.get_by_label("For").select_option("4h")
    tab.get_by_label("Reason").fill("after lunch")
    tab.get_by_role("button", name="Snooze").click()
    tab.get_by_text("quiet until").wait_for()

    incident = models.Incident.objects.get()
    assert (incident.acknowledged_by, incident.acknowledged_reason) == ("dana", "I am at it")
    assert timedelta(hours=3) < incident.snoozed_until - now < timedelta(hours=5)
    assert tab.get_by_text("Acknowledge").count() == 0
