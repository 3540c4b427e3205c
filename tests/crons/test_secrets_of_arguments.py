"""Secrets among arguments: declared and given ones are stored for the job, and shown to nobody."""

import json

import pytest
from django.db import connection
from django.urls import reverse

from crons import api, ledger
from crons.declarations.sync import sync
from crons.jobs import Declaration, entry, job
from crons.models import AuditEvent, Entry, Run
from crons.redaction import for_people
from crons.schedules import cron
from crons.targets import CrontabTarget, targets
from crons.targets.base import Plan, Target
from tests.crons import cronjobs
from tests.crons.cli.conftest import call_crons

pytestmark = pytest.mark.usefixtures("empty_registry", "transactional_db")
BY_NAME, BY_FORM, OF_PROJECT = "tk-0123456789", "hunter22", "kept-in-the-settings"
GIVEN = {"api_token": BY_NAME, "url": f"https://ann:{BY_FORM}@example.org", "plain": OF_PROJECT, "region": "eu"}


@pytest.fixture
def name(settings):
    """An entry with three secrets among its arguments, and a run of it with the same ones by hand."""
    settings.PAYMENT_SECRET = OF_PROJECT
    settings.CRON_CLASSES = settings.CRONJOBS = []
    settings.CRONS = {}
    job(name="load")(cronjobs.load)
    entry("load_eu", "load", cron("@daily"), args=dict(GIVEN))
    sync(ledger.database_now())
    api.run_now("load_eu", by="ann", args=dict(GIVEN))
    return "load_eu"


def hidden(text):
    """Assert that *text* shows no secret, and all that is none."""
    assert not [secret for secret in (BY_NAME, BY_FORM, OF_PROJECT) if secret in text], text
    assert "********" in text
    assert "region" in text


@pytest.mark.parametrize(
    "words",
    [
        ("list", "--json"),
        ("show", "{run}"),
        ("show", "{run}", "--json"),
        ("history", "{name}"),
        ("history", "{name}", "--json"),
    ],
)
def test_commands_show_no_secrets(name, words):
    """They are read over a shoulder, and pasted into tickets."""
    run = Run.objects.get()

    hidden(call_crons(*(word.format(name=name, run=run.pk) for word in words)).out)


@pytest.mark.parametrize("page", ["entry", "run"])
def test_pages_show_no_secrets(name, page, admin_client):
    """Who may look at a run need not know the key it was called with."""
    row = Entry.objects.get(name=name) if page == "entry" else Run.objects.get()

    hidden(admin_client.get(reverse(f"admin:crons_{page}_change", args=[row.pk])).content.decode())


def test_page_of_a_deeply_nested_run_is_shown(name, admin_client):
    """What wrote the row may not have checked it; the page once ended in an error of the server."""
    run = Run.objects.get()
    nested = json.dumps({**GIVEN, "region": None}).replace("null", "[" * 940 + "]" * 940)
    with connection.cursor() as cursor:  # as text: Python 3.11 can write no JSON of this depth itself
        cursor.execute("UPDATE crons_run SET args = %s WHERE id = %s", [nested, run.pk])

    hidden(admin_client.get(reverse("admin:crons_run_change", args=[run.pk])).content.decode())


def test_audit_trail_keeps_no_secrets(name):
    """It is never pruned."""
    event = AuditEvent.objects.get(verb="run")

    hidden(json.dumps(event.after))
    assert event.after["entry"] == name


def test_job_gets_what_was_given(name):
    """Only what is shown is masked."""
    assert Entry.objects.get(name=name).args == GIVEN
    assert Run.objects.get().args == GIVEN


def test_plans_show_no_secrets(monkeypatch, name):
    """A block that somebody edited by hand may hold anything; the audit trail has the same lines."""

    class Edited(Target):
        name, modes = "crontab", ()
        words = CrontabTarget.words

        def plan(self, declarations, *, mode=None):
            line = f"@daily curl -H region https://ann:{BY_FORM}@example.org --token={BY_NAME} {OF_PROJECT}"
            return Plan("crontab", "tick", b"1", b"2", ours=(line,), ours_wanted=("@daily region",))

        def write(self, plan):
            return None

        plan_undo = write_undo = write

    monkeypatch.setitem(targets(), "crontab", Edited)

    planned, as_json = call_crons("plan"), call_crons("plan", "--json")
    Edited().apply(Edited().plan([]), "ann")

    hidden(planned.out)
    hidden(as_json.out)
    hidden(json.dumps(AuditEvent.objects.get(verb="apply").before))


def test_values_that_are_no_texts_stay():
    """Numbers, nothing, and what a garbled row holds."""
    assert for_people({"a": 1, "b": None, "c": [True, 2.5], "d": {}}) == {"a": 1, "b": None, "c": [True, 2.5], "d": {}}
    assert for_people([1, "2"]) == [1, "2"]
    assert Declaration("a", "a", cron("@daily")).args == {}
