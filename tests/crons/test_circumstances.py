"""Messages of an entry's trouble say when it last went well, and what was changed since: in text and in HTML."""

from __future__ import annotations

import pytest
from django.core import mail
from django.db import connection
from django.test.utils import CaptureQueriesContext

from crons import watch
from crons.declarations.entries import reschedule
from crons.models import AuditEvent, Delivery
from crons.verdicts import Outcome
from crons.watch import RULES_KNOWN, Problem, problems
from crons.watch.alerts import outbox
from crons.watch.circumstances import recalled
from tests.crons.conftest import NOON, minutes
from tests.crons.filling import full_scans

pytestmark = pytest.mark.django_db
SUCCEEDED = "2026-03-02 12:05:00 UTC"


@pytest.fixture(autouse=True)
def admins(settings):
    """Somebody reads mail."""
    settings.ADMINS = ["ops@example.com"]


@pytest.fixture
def entry(make_entry):
    return make_entry("report")


@pytest.fixture
def slot(led, entry):
    """Run the slot at *minute* after noon to its end, and have it told."""

    def at(minute, outcome=Outcome.FAILED, error="ValueError: x"):
        now = NOON + minutes(minute)
        led.record(now)
        (begun,) = led.begin(now)
        led.finish(begun, now, outcome, "" if outcome == Outcome.SUCCEEDED else error)
        watch.inspect(now)

    return at


def facts():
    """What the newest message says of its circumstances."""
    told = Delivery.objects.order_by("-pk")[0].notice["facts"]
    return [(label, text) for label, text in told if label in ("last success", "changed since")]


def test_a_failure_says_when_it_last_succeeded_and_what_was_changed_since(slot):
    """The first two questions of whoever is woken, answered in the mail: as text, and as a table of HTML."""
    slot(5, Outcome.SUCCEEDED)
    reschedule("report", NOON + minutes(6), text="*/10 * * * *", zone="", by="ann", reason="<b>too often</b>")
    slot(10)
    outbox.send_due(NOON + minutes(10))

    changed = "put on another schedule 2026-03-02 12:06:00 UTC by ann; schedule */5 * * * * → */10 * * * *; "
    assert facts() == [("last success", SUCCEEDED), ("changed since", f"{changed}<b>too often</b>")]
    (sent,) = mail.outbox
    assert f"\nlast success: {SUCCEEDED}\nchanged since: {changed}<b>too often</b>\n" in sent.body
    html = sent.alternatives[0][0]
    assert f">last success</th><td>{SUCCEEDED}</td></tr>" in html
    assert f">changed since</th><td>{changed}&lt;b&gt;too often&lt;/b&gt;</td></tr>" in html
    # A table of facts with row headers: as a mere presentation, a screen reader would not say which is whose.
    assert '<tr><th scope="row"' in html
    assert 'role="presentation"' not in html


def test_what_was_changed_before_it_succeeded_is_no_news(slot):
    """It has run well with that since."""
    reschedule("report", NOON + minutes(1), text="0-59/5 * * * *", zone="", by="ann")
    slot(5, Outcome.SUCCEEDED)
    slot(10)

    assert facts() == [("last success", SUCCEEDED)]


def test_what_never_succeeded_says_so(slot):
    """Nobody looks for the day on which it worked."""
    slot(5)

    assert facts() == [("last success", "none on record")]


def test_a_deploy_is_named_and_a_garbled_event_hides_no_other(slot, entry):
    """The newest come first, three of them at most."""
    slot(5, Outcome.SUCCEEDED)
    of_it = {"actor": "sync", "verb": "change", "subject_type": "entry", "subject": "report", "at": NOON + minutes(7)}
    AuditEvent.objects.create(**of_it, after={"host": "web1", "release": "2"})
    AuditEvent.objects.create(**of_it | {"verb": "pause"})
    AuditEvent.objects.create(**of_it | {"subject": "other"})
    AuditEvent.objects.create(**of_it, before=["garbled"], after="garbled")
    slot(10)

    assert facts()[1:] == [
        ("changed since", "declared anew 2026-03-02 12:07:00 UTC by sync"),
        ("changed since", "declared anew 2026-03-02 12:07:00 UTC by sync, host web1, release 2"),
    ]
    AuditEvent.objects.bulk_create(AuditEvent(**of_it) for _ in range(9))
    with CaptureQueriesContext(connection) as captured:
        assert len(list(recalled("failing", entry, "default"))) == 1 + 3
    assert len(captured) == 2
    assert full_scans(captured) == []


@pytest.mark.parametrize("kind", sorted(RULES_KNOWN))
def test_a_rule_over_how_it_went_recalls_it(kind, slot, entry, monkeypatch):
    """Once each, where the rule itself has said it; of what nobody declares or plans the last success says nothing."""
    slot(5, Outcome.SUCCEEDED)
    said = (("last success", "long ago"),) if kind == "silent" else ()
    found = [Problem.of(kind, "x", entry, since=NOON - minutes(60), facts=said)]
    monkeypatch.setattr(problems, "RULES", [])
    monkeypatch.setattr("crons.watch.inspection.OVER_TIME", [lambda look: found])

    watch.inspect_rules(NOON + minutes(10))

    last = {"silent": [("last success", "long ago")]}.get(kind, [("last success", SUCCEEDED)])
    recalls = kind in {"failing", "unsteady", "missed", "late", "slow", "hanging", "silent"}
    assert facts() == (last if recalls else [])
