"""Pages read where the ledger writes: a replica may lag behind, or not have the tables at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.test import Client
from django.utils import timezone

from crons import api, models
from crons.jobs import Job, registry
from crons.models import Attempt, Entry, Run

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clean_registry")]
LISTS = ("entry", "run", "range", "attempt", "incident", "delivery", "heartbeat", "auditevent", "pause")


@pytest.fixture
def rows(make_entry: Callable[..., Entry]) -> dict[str, Any]:
    """A row of each kind, as many as a list joins."""
    now = timezone.now()
    registry.jobs["heartbeat"] = Job("heartbeat", print)
    entry = make_entry(since=now - timedelta(hours=1))
    run = Run.objects.create(
        entry=entry, kind="slot", slot_at=now, planned_at=now, state="done", verdict="failed", trigger="serve",
        recorded_at=now, ended_at=now, tries=1,
    )  # fmt: skip
    attempt = Attempt.objects.create(
        run=run, number=1, token=uuid4(), executor="process", instance="i", host="h", pid=1, boot_id="b", begun_at=now,
        outcome="failed", ended_at=now, error="no luck",
    )  # fmt: skip
    Run.objects.filter(pk=run.pk).update(current_attempt=attempt.pk)
    models.OutputChunk.objects.create(attempt=attempt, seq=0, stream="stdout", text="done")
    span = models.Range.objects.create(
        entry=entry, first_at=now, last_at=now, count=2, verdict="missed", reason="catch_up", recorded_at=now
    )
    incident = models.Incident.objects.create(rule="failing", entry=entry, run=run, opened_at=now, changed_at=now)
    delivery = models.Delivery.objects.create(incident=incident, event="e", channel="admins", subject="s")
    api.pause("heartbeat", by="ann", reason="moving")
    return {
        "entry": entry, "run": run, "attempt": attempt, "range": span, "incident": incident, "delivery": delivery,
        "auditevent": models.AuditEvent.objects.latest("pk"), "pause": models.Pause.objects.latest("pk"),
    }  # fmt: skip


class ToReplica:
    """What many projects have: reads of any model go to a replica."""

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return "replica" if model._meta.app_label == "crons" else None


@pytest.fixture
def client_of_replica(rows: dict[str, Any], settings: Any) -> Iterator[Client]:
    """A superuser; from now on reads go to a database that nobody may ask."""
    client = Client()
    client.force_login(User.objects.create_superuser("ann"))
    replica = {"replica": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
    connections.databases.update(connections.configure_settings({**settings.DATABASES, **replica}))
    settings.DATABASE_ROUTERS = [ToReplica()]
    with pytest.raises(AssertionError, match="not allowed"):  # Django's test case lets nobody ask it
        Entry.objects.using("replica").exists()
    yield client
    settings.DATABASE_ROUTERS = []
    del connections["replica"], connections.databases["replica"]


@pytest.mark.parametrize("name", LISTS)
def test_each_list_reads_the_ledger(client_of_replica: Client, name: str) -> None:
    """Columns, filters and search; a list of runs names their entries."""
    address = f"/admin/crons/{name}/"

    for query in ("", "?q=heartbeat", "?q=1"):
        assert client_of_replica.get(address + query).status_code == 200, query


@pytest.mark.parametrize("name", [name for name in LISTS if name not in ("heartbeat", "pause")])
def test_each_row_reads_the_ledger(client_of_replica: Client, rows: dict[str, Any], name: str) -> None:
    """What hangs on the row as well."""
    assert client_of_replica.get(f"/admin/crons/{name}/{rows[name].pk}/change/").status_code == 200


@pytest.mark.parametrize(
    ("act", "name"),
    [("entry/run", "entry"), ("entry/pause", "entry"), ("entry/resume", "entry"), ("run/retry", "run")],
)
def test_each_action_reads_and_writes_the_ledger(
    client_of_replica: Client, rows: dict[str, Any], act: str, name: str
) -> None:
    """Asked, and done."""
    address = f"/admin/crons/{act}/?ids={rows[name].pk}"

    assert client_of_replica.get(address).status_code == 200
    done = client_of_replica.post(address, {"ids": rows[name].pk, "reason": "why", "key": "k" * 8})
    assert done.status_code in (200, 302)


def test_the_first_page_reads_the_ledger(client_of_replica: Client) -> None:
    """Problems, what did not run, what runs next."""
    page = client_of_replica.get("/crons/")

    assert page.status_code == 200
    assert "heartbeat" in page.content.decode()
