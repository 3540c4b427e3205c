"""What each page costs when all is shown that it can show: at most twelve statements, whoever looks."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.db.models import Q
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import is_valid_path
from django.utils import timezone

from crons import job
from crons.models import Attempt, Entry, Heartbeat, Incident, Pause, Range, Run, WorkReport
from crons.watch import READ

pytestmark = pytest.mark.django_db
MOST = 12
# What a request costs whatever the page.
OF_WHO_ASKS = ("django_session", "auth_", "django_content_type")


def teams(user: User, permission: str) -> bool | Q:
    """A hook that answers each permission otherwise, so that no answer serves for another."""
    return True if user.username == "ann" else Q(owner="apples") | Q(name=f"nothing_{permission}")


@pytest.fixture
def fullest(empty_registry, make_entry, settings):
    """More entries than a look reads, and of each thing that a page shows at least one; returns who looks."""
    settings.CRONS = {**settings.CRONS, "RIGHTS": f"{__name__}.teams", "GROUPS": {"mail": 1}, "MONITORING": {}}
    now = timezone.now()
    ago = now - timedelta(minutes=10)
    job(None, name="without_a_row")(lambda: None)
    make_entry("pattern", since=now, group="mail")
    pattern = Entry.objects.filter(name="pattern").values().get()
    del pattern["id"]
    given = {"owner": "apples", "tags": ["apples"], "wake_at": now + timedelta(hours=1), "declared_at": ago}
    names = [f"job{number:03}" for number in range(READ + 10)]
    Entry.objects.bulk_create(Entry(**{**pattern, **given, "name": each}) for each in names)
    first, second, third, fourth = Entry.objects.filter(name__startswith="job").order_by("name")[:4]
    Heartbeat.objects.create(
        instance="i" * 32, kind="serve", host="web1", pid=1, boot_id="another", started_at=ago, beat_at=now,
        expected_by=now + timedelta(hours=1), declares=names[1:],
    )  # fmt: skip
    at = {"recorded_at": ago, "trigger": "serve"}
    for number in range(8):
        run = Run.objects.create(
            entry=first, planned_at=ago - timedelta(minutes=number), state="done", verdict="succeeded", tries=1, **at
        )
        tried(run, ago, ended_at=now, outcome="succeeded")
    going = Run.objects.create(entry=first, planned_at=ago, state="running", active_key=first.pk, tries=1, **at)
    attempt = tried(going, ago, lease_until=now + timedelta(minutes=5))
    WorkReport.objects.create(attempt=attempt, done=1, total=2)
    Run.objects.create(entry=second, planned_at=ago, slot_at=ago, wake_at=ago, state="due", **at)
    failed = Run.objects.create(
        entry=third, planned_at=ago, state="done", verdict="failed", ended_at=now, tries=1, **at
    )
    tried(failed, ago, ended_at=now, outcome="failed", error="Traceback")
    Range.objects.create(entry=third, first_at=ago, last_at=ago, count=1, verdict="missed", reason="catch_up", **at)
    told = {"summary": "failed: no", "opened_at": ago, "changed_at": ago}
    Incident.objects.create(rule="failing", entry=third, run=failed, open_key="f", **told)
    Entry.objects.filter(pk=fourth.pk).update(paused_at=ago, paused_by="ann", pause_reason="moving house")
    Pause.objects.create(scope=f"entry:{fourth.pk}", entry=fourth, paused_at=ago, by="ann", reason="moving house")
    Entry.objects.filter(name="pattern").update(owner="apples", retired_at=ago)
    people = {}
    for name in ("ann", "dana"):
        one = User.objects.create_user(name, is_staff=True)
        one.user_permissions.set(Permission.objects.filter(content_type__app_label="crons"))
        people[name] = Client()
        people[name].force_login(one)
    return people, third, failed, going


def tried(run, begun_at, **fields):
    attempt = Attempt.objects.create(
        run=run, number=1, token=uuid.uuid4(), executor="process", instance="i", host="web1", pid=7, boot_id="b",
        begun_at=begun_at, **fields,
    )  # fmt: skip
    Run.objects.filter(pk=run.pk).update(current_attempt=attempt.pk)
    return attempt


def test_each_page_costs_twelve_statements_at_its_fullest(fullest):
    """The first page asked 18 where all was shown, 24 of somebody who sees a team's entries, and `health` 16."""
    people, entry, failed, going = fullest
    pages = {
        "": [
            "a run waits for the group",
            "failed: no",
            "declares it, so nothing begins it",
            "moving house",
            "Retired in",
        ],
        "jobs": ["job001"],
        f"jobs/{entry.name}": ["Run now"],
        f"runs/{failed.pk}": ["Traceback"],
        f"runs/{going.pk}": ["Cancel"],
        f"runs/{failed.pk}/output": [],
        "timeline": ["job000"],
        "timeline?span=7d": ["job000"],
        "incidents": ["failed: no"],
        f"why?entry={entry.name}": [],
        "health": [],
        # A folder of crons/contrib: without it there is no such page.
        **({"metrics": []} if is_valid_path("/crons/metrics") else {}),
    }
    cost = {}
    for who, client in people.items():
        for page, says in pages.items():
            with CaptureQueriesContext(connection) as captured:
                response = client.get(f"/crons/{page}")
            asked = [each["sql"] for each in captured if not any(word in each["sql"] for word in OF_WHO_ASKS)]
            cost[who, page] = len(asked)
            if page not in ("health", "metrics") or who == "ann":
                assert response.status_code in (200, 503), (who, page)
            for text in says:
                assert text in response.content.decode(), (who, page, text)
            assert len(asked) <= MOST, (who, page, *[each[:200] for each in asked])

    assert cost["ann", ""] == cost["dana", ""] == MOST
