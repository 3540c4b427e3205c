"""What is told of an incident is data: kept with the delivery, cleaned and bounded, said by each channel its way."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from crons.models import Delivery, Incident
from crons.watch import notice_of
from crons.watch.alerts import Notice, outbox
from crons.watch.alerts.base import LONGEST_LINE, LONGEST_TEXT
from tests.crons.conftest import NOON

FULL = Notice(
    "opened", "failing", "critical", "nightly failed", facts=(("run", "17, slot …"), ("attempt", "18 on web1")),
    text="ValueError: no customer", next_step="See: manage.py crons show 17", entry="nightly", owner="ann",
    tags=("money", "nightly"), run_id=17, attempt_id=18, since=NOON,
)  # fmt: skip


def test_a_notice_survives_json():
    """It waits in a row, and another process sends it."""
    assert Notice.from_json(json.loads(json.dumps(FULL.as_json()))) == FULL
    assert FULL.as_json()["since"] == NOON.isoformat()


def test_its_text_says_all_of_it():
    assert FULL.as_text() == (
        "nightly failed\n\n"
        "run: 17, slot …\nattempt: 18 on web1\nowner: ann\nsince: 2026-03-02 12:00:00 UTC\n\n"
        "ValueError: no customer\n\n"
        "See: manage.py crons show 17"
    )


@pytest.mark.parametrize(
    "garbled",
    [
        {},
        {"facts": "no list", "tags": {"a": 1}, "since": "yesterday", "run_id": "17", "text": 5, "severity": "loud"},
        {"facts": [["one"], 7, ["label", None]], "since": 7, "change": ["opened"]},
    ],
)
def test_a_garbled_row_is_told_all_the_same(garbled):
    """One that raises would be tried for three days and then be given up, unread."""
    notice = Notice.from_json(garbled)

    assert (notice.change, notice.severity, notice.text, notice.since) == ("opened", "warning", "", None)
    assert notice.as_text() in ("", "label: None")


def test_hostile_texts_are_cleaned():
    """A subject becomes a header, and a mail is read in terminals: no line break, no escape, no turned direction."""
    evil = "x\r\nBcc: eve@example.com\x1b[2J \u202egnp.exe"
    notice = Notice(
        "opened", "failing", "info", evil, ((evil, evil),), text=evil, next_step=evil, entry=evil, owner=evil,
        tags=(evil,),
    ).cleaned()  # fmt: skip

    line = "x Bcc: eve@example.com �gnp.exe"
    assert [notice.subject, notice.next_step, notice.entry, notice.owner, *notice.tags] == [line] * 5
    assert notice.facts == ((line, line),)
    assert notice.text == "x\nBcc: eve@example.com �gnp.exe"


def test_a_text_is_bounded_in_its_middle():
    """100 MB of error neither fill the outbox nor a mailbox; both ends stay."""
    notice = Notice("opened", "failing", "info", "s" * 1_000, text="first" + "x" * 10**6 + "last").cleaned()

    assert len(notice.subject) == LONGEST_LINE
    assert len(notice.text) < LONGEST_TEXT + 100
    assert notice.text.startswith("first")
    assert notice.text.endswith("last")
    assert "[… 980009 characters left out …]" in notice.text


@pytest.mark.django_db
def test_the_outbox_keeps_it_with_the_delivery(settings):
    import django

    settings.ADMINS = ["ops@example.com"] if django.VERSION >= (6, 0) else [("Ops", "ops@example.com")]
    incident = Incident.objects.create(rule="failing", opened_at=NOON, changed_at=NOON)

    outbox.enqueue(incident, "opened", FULL, NOON, "default")
    outbox.enqueue(incident, "opened", FULL, NOON + timedelta(minutes=1), "default")

    delivery = Delivery.objects.get()
    assert (delivery.subject, notice_of(delivery)) == ("nightly failed", FULL)
    Delivery.objects.update(notice=["garbled"])
    assert notice_of(Delivery.objects.get()).subject == "nightly failed"
