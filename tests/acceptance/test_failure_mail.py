"""Who is told of a failure: ADMINS, once for each new thing to know, however many schedulers watch."""

from __future__ import annotations

import signal
import threading
from datetime import UTC, datetime
from email import message_from_string
from typing import Any

import pytest

from crons import ledger
from crons.hosts.instances import Instance
from crons.jobs.policies import Policy
from crons.models import Attempt, Delivery, Entry, Incident, Run
from crons.triggers.alert_sender import AlertSender
from crons.watch.alerts import Channel, Notice, Sending, outbox
from tests.acceptance.conftest import PATIENCE_SECONDS, Site, wait_for_line

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def test_each_new_thing_is_told_once_though_two_schedulers_watch(site: Site) -> None:
    """A mail for each failure is a mail that nobody reads; two schedulers must not make two of it."""
    mails = site.folder / "mails"
    mails.mkdir()
    site.env["TEST_MAILS"] = str(mails)
    site.make_due()
    watching = [site.start("serve") for _ in range(2)]
    for process in watching:
        wait_for_line(process, "crons serve: pid")

    codes = []
    for order in ("no such file 17", "no such file 18", "disk full", "disk full", ""):
        (site.folder / "orders").write_text(order)
        codes.append(site.crons("run", "does_as_told", "--manual", "--wait", check=False).returncode)
    for process in watching:
        process.send_signal(signal.SIGTERM)
    outputs = [process.communicate()[0] for process in watching]

    assert [process.returncode for process in watching] == [0, 0], outputs
    assert codes == [1, 1, 1, 1, 0]
    assert sorted(subjects(site)) == [
        "[Django] does_as_told failed",
        "[Django] does_as_told fails differently: failed",
        "[Django] does_as_told works again",
    ]
    assert site.sql("SELECT count, closed_at IS NOT NULL FROM crons_incident") in ([(4, 1)], [(4, True)])
    assert site.sql("SELECT COUNT(*) FROM crons_delivery WHERE state = 'sent'") == [(3,)]


class Hanging(Channel):
    """A mail server that accepts the connection and says nothing."""

    def __init__(self) -> None:
        super().__init__("hanging", {})
        self.entered, self.released = threading.Event(), threading.Event()
        self.sent: list[str] = []

    def send(self, notice: Notice, sending: Sending) -> str:
        self.entered.set()
        assert self.released.wait(PATIENCE_SECONDS)
        self.sent.append(notice.subject)
        return "told"


@pytest.mark.django_db(transaction=True)
def test_a_mail_server_that_hangs_does_not_stop_renewals(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    """Renewing in the sender's thread would let a mail server decide that running jobs are killed."""
    channel = Hanging()
    monkeypatch.setattr(outbox, "make_channel", lambda name: channel)
    settings.CRONS = {**settings.CRONS, "ALERTS": {"CHANNELS": {"hanging": {"KIND": "mail"}}}}
    entry = Entry.objects.create(
        name="long", job="long", schedule="0 * * * *", zone="UTC", policy=Policy().as_json(),
        first_seen_at=NOON, accounted_until=NOON,
    )  # fmt: skip
    Run.objects.create(entry=entry, slot_at=NOON, planned_at=NOON, wake_at=NOON, trigger="test", recorded_at=NOON)
    instance = Instance.start("test")
    [begun] = ledger.begin(NOON, {"process": 1}, ["long"], instance)
    incident = Incident.objects.create(rule="failing", entry=entry, summary="", opened_at=NOON, changed_at=NOON)
    Delivery.objects.create(incident=incident, event="opened", channel="hanging", subject="late", next_try_at=NOON)
    alert_sender = AlertSender()

    alert_sender.start()
    assert channel.entered.wait(PATIENCE_SECONDS)
    alert_sender.start()
    renewed = ledger.renew([begun.attempt], NOON.replace(minute=1))
    lease_until = Attempt.objects.values_list("lease_until", flat=True).get()
    while_hanging = list(channel.sent)
    channel.released.set()
    alert_sender.finish(PATIENCE_SECONDS)

    assert renewed.owned == {begun.attempt}
    assert lease_until == NOON.replace(minute=2)
    assert while_hanging == []
    assert channel.sent == ["late"]
    assert Delivery.objects.values_list("state", flat=True).get() == "sent"
    instance.stop()


def subjects(site: Site) -> list[str]:
    """Return the subjects of all mails that were sent."""
    rule = "-" * 79
    texts = [text for path in (site.folder / "mails").iterdir() for text in path.read_text().split(rule)]
    return [message_from_string(text.lstrip())["Subject"] for text in texts if text.strip()]
