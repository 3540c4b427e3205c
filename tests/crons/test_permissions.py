"""Each permission opens its own pages, and no page or filter lends what another permission is for."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.urls import reverse
from django.utils import timezone

from crons import models

pytestmark = pytest.mark.django_db
WROTE = "ada@example.com owes 12"
MODELS = [
    models.Entry, models.Run, models.Range, models.Attempt, models.Incident, models.Delivery, models.Heartbeat,
    models.AuditEvent, models.Pause,
]  # fmt: skip
NAMES = [model._meta.model_name for model in MODELS]


@pytest.fixture
def rows(make_entry):
    """A row of each kind; what the job wrote stands in its output, its error, and the message about it."""
    now = timezone.now()
    entry = make_entry("nightly", since=now, args={"plain": "keyword"})
    run = models.Run.objects.create(
        entry=entry, slot_at=now, planned_at=now, recorded_at=now, state="done", verdict="failed", tries=1,
        detail="the-last-line", trigger="serve", ended_at=now,
    )  # fmt: skip
    attempt = models.Attempt.objects.create(
        run=run, number=1, token=uuid.uuid4(), executor="process", instance="i", host="web1", pid=7, boot_id="b",
        begun_at=now, ended_at=now, outcome="failed", error=f"Traceback: {WROTE}\nthe-last-line",
    )  # fmt: skip
    models.OutputChunk.objects.create(attempt=attempt, seq=0, stream="stdout", text=WROTE)
    incident = models.Incident.objects.create(
        rule="failing", entry=entry, summary="failed: the-last-line", run=run, opened_at=now, changed_at=now
    )
    return [
        entry, run, attempt, incident,
        models.Range.objects.create(
            entry=entry, first_at=now, last_at=now, count=7, verdict="missed", reason="deadline", recorded_at=now
        ),
        models.Delivery.objects.create(
            incident=incident, event="failing:x", channel="admins", subject="nightly failed",
            notice={"text": f"output: {WROTE}"},
        ),
        models.Heartbeat.objects.create(
            instance="i", kind="serve", host="web1", pid=7, boot_id="b", started_at=now, beat_at=now,
            expected_by=now + timedelta(minutes=1),
        ),
        models.AuditEvent.objects.create(at=now, actor="ann", verb="run", subject_type="entry", subject="nightly"),
        models.Pause.objects.create(scope="all", paused_at=now, by="ann", reason="the bank is down"),
    ]  # fmt: skip


@pytest.fixture
def staff(client):
    def log_in(*permissions):
        user = User.objects.create_user("dana", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client.force_login(user)
        return client

    return log_in


def pages(rows):
    """The address of each list and of each row's page, by the name of its model; and the first page."""
    found = [("", reverse("crons:home")), ("", reverse("admin:app_list", args=["crons"]))]
    for row in rows:
        name = row._meta.model_name
        found += [(name, reverse(f"admin:crons_{name}_changelist") + ("?within=ever" if name == "run" else ""))]
        found += [(name, reverse(f"admin:crons_{name}_change", args=[row.pk]))]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_one_permission_opens_the_pages_of_its_rows_and_no_other(staff, rows, name):
    client = staff(f"view_{name}")

    answers = {(each, address): client.get(address) for each, address in pages(rows) if each}

    assert {key: answer.status_code for key, answer in answers.items()} == {
        key: 200 if key[0] == name else 403 for key in answers
    }


@pytest.mark.parametrize("may_read", [False, True])
def test_what_a_job_wrote_is_shown_to_who_may_see_attempts(staff, rows, may_read):
    """It stands in a mail's text too, and there it was shown to all who may see mails."""
    client = staff(*(f"view_{name}" for name in NAMES if may_read or name != "attempt"))

    showing = [address for _, address in pages(rows) if WROTE in client.get(address).text]

    found = ["run", "attempt", "delivery"] if may_read else []
    expected = {reverse(f"admin:crons_{row._meta.model_name}_change", args=[row.pk]) for row in rows
                if row._meta.model_name in found}  # fmt: skip
    assert set(showing) == expected


def test_a_mail_says_why_its_text_is_not_shown(staff, rows):
    client = staff("view_delivery")

    page = client.get(reverse("admin:crons_delivery_change", args=[rows[5].pk])).text

    assert "nightly failed" in page
    assert "shown to who has the permission crons.view_attempt" in page


def test_an_entrys_page_shows_runs_to_who_may_see_runs(staff, rows):
    client = staff("view_entry")
    address = reverse("admin:crons_entry_change", args=[rows[0].pk])

    without = client.get(address).text
    User.objects.get().user_permissions.add(
        *Permission.objects.filter(codename__in=["view_run", "view_range"], content_type__app_label="crons")
    )
    having = client.get(address).text

    for told in ("the-last-line", "Last slots missed or skipped"):
        assert told not in without
        assert told in having
    assert "crons.view_run" in without


@pytest.mark.parametrize("column", [
    "entry/?args__icontains=key", "entry/?args={}", "entry/?overrides__contains=a", "run/?args__isnull=1",
    "run/?detail__contains=last", "run/?request_key__startswith=a", "delivery/?notice__contains=ada",
    "delivery/?id=1", "attempt/?error__regex=ada.*", "attempt/?token__isnull=0", "auditevent/?after__contains=a",
    "auditevent/?before__contains=a", "incident/?entry__args__contains=a", "incident/?fingerprint__gt=a",
    "incident/?entry=1", "run/?attempts__error__contains=a", "pause/?reason__contains=bank",
])  # fmt: skip
def test_no_list_is_narrowed_by_what_no_filter_offers(staff, rows, column):
    """Asked often enough, ?args__startswith=… tells the secret that each page masks."""
    client = staff(*(f"view_{name}" for name in NAMES))

    assert client.get(f"/admin/crons/{column}").status_code == 400


@pytest.mark.parametrize("asked", ["delivery/?state=pending", "delivery/?channel__exact=admins", "run/?ended=failed",
                                   "incident/?rule__exact=failing", "auditevent/?verb__in=run", "range/?verdict=missed",
                                   "entry/?source__exact=code"])  # fmt: skip
def test_filters_that_are_offered_work(staff, rows, asked):
    client = staff(*(f"view_{name}" for name in NAMES))

    assert client.get(f"/admin/crons/{asked}").status_code == 200
