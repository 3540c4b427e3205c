"""From an incident to people: routes, quiet hours, storms, reminders, acknowledging, channels that fail."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from itertools import pairwise

import django
import pytest
from django.core import mail
from django.db.models import Min

from crons import api
from crons.exceptions import Refused
from crons.models import AuditEvent, Delivery, Incident
from crons.watch import inspect_rules
from crons.watch.alerts import Channel, Notice, NotSent, outbox
from crons.watch.alerts.taking import SENDING
from tests.crons.conftest import NOON, minutes

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


class Recorder(Channel):
    """Keeps what it was given; fails while *broken* names its channel."""

    told: list = []
    broken: set = set()
    keys = ("NOTE",)

    def send(self, notice, sending):
        if self.name in self.broken or notice.entry in self.broken:
            raise NotSent("it answered 500")
        self.told.append((self.name, notice, sending))
        return "told"


@pytest.fixture(autouse=True)
def alerts(settings):
    """Set CRONS["ALERTS"], with two channels that keep what they are told."""
    settings.ADMINS = ["ops@example.com"] if django.VERSION >= (6, 0) else [("Ops", "ops@example.com")]
    Recorder.told, Recorder.broken = [], set()
    kind = {"KIND": "tests.crons.test_alerts.Recorder"}

    def set_alerts(**given):
        given = {"CHANNELS": {"chat": kind, "pager": kind}, "ROUTES": [{"TO": ["chat"]}], **given}
        settings.CRONS = {**settings.CRONS, "ALERTS": given}

    set_alerts()
    return set_alerts


def told():
    """Return what was told since the last call: channel, change, subject."""
    found = [(name, notice.change, notice.subject) for name, notice, _ in Recorder.told]
    Recorder.told.clear()
    return found


def open_one(name="nightly", now=NOON, severity="warning", **about):
    incident = Incident.objects.create(rule="failing", summary=f"{name} failed", opened_at=now, changed_at=now)
    notice = Notice("opened", "failing", severity, f"{name} failed", entry=name, since=now, **about)
    outbox.enqueue(incident, "failing:x", notice, now, "default")
    return incident


def close(incident, now):
    incident.closed_at = now
    incident.save()
    outbox.enqueue(incident, "closed", Notice("closed", "failing", "warning", "works again"), now, "default")


def test_a_route_takes_it_to_its_channels(alerts):
    alerts(ROUTES=[{"TO": ["chat", "pager"], "TAG": "money"}, {"TO": []}])

    open_one("bill", tags=("money",))
    open_one("other")
    outbox.send_due(NOON)

    assert told() == [("chat", "opened", "bill failed"), ("pager", "opened", "bill failed")]
    assert Delivery.objects.count() == 2


def test_settings_that_cannot_be_read_still_tell_somebody(alerts):
    """A typing error must not be the reason that nobody hears of the night."""
    open_one()
    alerts(ROUTES=[{"TO": ["nobody"]}])
    open_one("two")
    outbox.send_due(NOON)

    assert [(each.to, each.subject) for each in mail.outbox] == [(["ops@example.com"], "[Django] two failed")]
    alerts()
    outbox.send_due(NOON + SENDING)
    assert told() == [("chat", "opened", "nightly failed")]


def test_quiet_hours_keep_what_is_not_critical_for_one_digest(alerts):
    alerts(QUIET={"FROM": "22:00", "UNTIL": "07:00", "ZONE": "Europe/Berlin"})
    night = datetime(2026, 3, 2, 23, 0, tzinfo=UTC)

    one = open_one("one", night)
    open_one("fire", night, "critical")
    close(one, night + HOUR)
    open_one("two", night + HOUR)
    outbox.send_due(night + 2 * HOUR)
    assert told() == [("chat", "opened", "fire failed")]
    outbox.send_due(datetime(2026, 3, 3, 6, 0, tzinfo=UTC))

    [(_, notice, _)] = Recorder.told
    assert (notice.change, notice.subject, notice.facts) == ("digest", "3 alerts: 3 failing", (("failing", "3"),))
    assert notice.text == "- one failed\n- works again\n- two failed"
    assert set(Delivery.objects.values_list("state", flat=True)) == {"sent"}


def test_a_thousand_failures_are_one_digest():
    """Nobody reads a thousand mails, and the one about something else would be among them."""
    for number in range(1_000):
        open_one(f"job{number}", severity="critical" if number == 700 else "warning")

    outbox.send_due(NOON)

    [(_, notice, _)] = Recorder.told
    assert (notice.subject, notice.severity) == ("1,000 alerts: 1,000 failing", "critical")
    lines = notice.text.splitlines()
    assert (lines[0], lines[1], len(lines), lines[-1]) == ("- job700 failed", "- job0 failed", 21, "… and 980 more")
    assert Delivery.objects.filter(state="sent").count() == 1_000


def test_the_hour_has_a_cap_and_digests_go_on(alerts):
    """One after the other they come alone until fourteen are told; then a digest each ten minutes."""
    alerts(MOST_PER_HOUR=20)
    counts = []
    for minute in range(60):
        open_one(f"job{minute}", NOON + minutes(minute))
        outbox.send_due(NOON + minutes(minute))
        counts.append(len(Recorder.told))

    changes = [notice.change for _, notice, _ in Recorder.told]
    assert changes == ["opened"] * 14 + ["digest"] * 4
    assert counts[13:16] == [14, 14, 14]
    assert (counts[22], counts[23], counts[33]) == (14, 15, 16)
    outbox.send_due(NOON + minutes(75))
    assert not Delivery.objects.exclude(state="sent").exists()


@pytest.mark.parametrize("most", [1, 2, 5])
def test_a_small_cap_holds_too(alerts, most):
    alerts(MOST_PER_HOUR=most)
    at = []
    for minute in range(0, 300, 5):
        open_one(f"job{minute}", NOON + minutes(minute))
        outbox.send_due(NOON + minutes(minute))
        at += [minute] * len(told())

    assert max(sum(start <= each < start + 60 for each in at) for start in range(240)) <= most
    assert len(at) >= 5


def test_it_is_told_again_until_somebody_acknowledges(alerts):
    alerts(ROUTES=[{"TO": ["chat", "pager"], "REPEAT": HOUR}])
    incident = open_one()
    outbox.send_due(NOON)
    told()

    outbox.send_due(NOON + minutes(59))
    assert told() == []
    outbox.send_due(NOON + HOUR)
    assert told() == [
        ("chat", "reminder", "still open: nightly failed"),
        ("pager", "reminder", "still open: nightly failed"),
    ]
    outbox.send_due(NOON + 2 * HOUR)
    assert [subject for _, _, subject in told()] == ["still open: nightly failed"] * 2

    done = api.acknowledge(incident.pk, by="ann", reason="the bank is down")
    outbox.send_due(NOON + 9 * HOUR)
    assert told() == []
    assert (done.acknowledged_by, done.acknowledged_reason) == ("ann", "the bank is down")
    event = AuditEvent.objects.get()
    assert (event.verb, event.subject_type, event.subject, event.actor) == (
        "acknowledge", "incident", str(incident.pk), "ann",
    )  # fmt: skip
    close(incident, NOON + 10 * HOUR)
    outbox.send_due(NOON + 10 * HOUR)
    assert [change for _, change, _ in told()] == ["closed", "closed"]


def test_nobody_is_reminded_of_what_is_over(alerts):
    alerts(ROUTES=[{"TO": ["chat"], "REPEAT": HOUR}])
    incident = open_one()
    outbox.send_due(NOON)
    close(incident, NOON + minutes(5))
    outbox.send_due(NOON + minutes(5))
    told()

    outbox.send_due(NOON + HOUR)

    assert told() == []
    assert Delivery.objects.filter(next_try_at__isnull=False).count() == 0


@pytest.fixture
def at_noon(monkeypatch):
    """The database's clock stands."""
    from crons.ledger import transactions

    monkeypatch.setattr(transactions, "now_in_tests", lambda: NOON)


def test_snoozed_it_is_told_later_and_its_end_at_once(at_noon):
    incident = open_one()
    outbox.send_due(NOON)
    told()
    api.snooze(incident.pk, until=NOON + 2 * HOUR, by="ann", reason="after lunch")
    incident.refresh_from_db()
    worse = Notice("worsened", "failing", "warning", "nightly fails differently", entry="nightly")
    outbox.enqueue(incident, "failing:y", worse, NOON + HOUR, "default")

    outbox.send_due(NOON + HOUR)
    assert told() == []
    outbox.send_due(NOON + 2 * HOUR)
    assert sorted(told()) == [
        ("chat", "reminder", "still open: nightly failed"),
        ("chat", "worsened", "nightly fails differently"),
    ]
    api.snooze(incident.pk, until=NOON + 9 * HOUR, by="ann")
    incident.refresh_from_db()
    close(incident, NOON + 3 * HOUR)
    outbox.send_due(NOON + 3 * HOUR)
    assert told() == [("chat", "closed", "works again")]
    outbox.send_due(NOON + 10 * HOUR)
    assert told() == []


def test_only_an_open_incident_takes_an_answer(at_noon):
    incident = open_one()
    close(incident, NOON)

    for act in (
        lambda: api.acknowledge(incident.pk, by="ann"),
        lambda: api.snooze(incident.pk, until=NOON + HOUR, by="ann"),
    ):
        with pytest.raises(Refused, match=rf"^incident {incident.pk} is over since 2026-03-02 12:00:00 UTC\.$"):
            act()
    with pytest.raises(Refused, match=r"^there is no incident 10\. See: manage.py crons alert$"):
        api.acknowledge(10 if incident.pk != 10 else 11, by="ann")
    with pytest.raises(Refused, match="is no moment to come"):
        api.snooze(open_one("two").pk, until=NOON, by="ann")
    assert AuditEvent.objects.count() == 0


def test_a_channel_that_fails_holds_up_no_other(alerts):
    alerts(ROUTES=[{"TO": ["chat", "pager"]}])
    Recorder.broken = {"chat"}
    for number in range(3):
        open_one(f"job{number}")

    outbox.send_due(NOON)

    assert [name for name, _, _ in told()] == ["pager"] * 3
    rows = Delivery.objects.filter(channel="chat").order_by("pk")
    # One was tried: the others are not tried against a server that does not answer.
    assert [(each.tries, each.error, each.failed_at) for each in rows] == [
        (1, "it answered 500", NOON), (0, "", None), (0, "", None),
    ]  # fmt: skip
    assert {each.next_try_at for each in rows} == {NOON + minutes(1)}

    Recorder.broken = set()
    outbox.send_due(NOON + minutes(1))
    assert len(told()) == 3


def test_a_channel_that_answers_500_for_three_days_is_tried_for_three_days(alerts):
    """A mail server may be down for a weekend; then the message is given up, and the next one goes out."""
    Recorder.broken = {"chat"}
    open_one("nightly")
    waiting, tried = Delivery.objects.filter(state="pending"), []
    while (at := waiting.aggregate(at=Min("next_try_at"))["at"]) is not None:
        tried.append(at)
        outbox.send_due(at)

    pauses = [after - before for before, after in pairwise(tried)]
    assert pauses == [minutes(count) for count in (1, 2, 4, 8, 16, 32, *[60] * 71)]
    given_up = Delivery.objects.get()
    assert (given_up.state, given_up.tries, given_up.error) == ("failed", 78, "it answered 500")
    assert tried[-1] - NOON == 3 * 24 * HOUR + minutes(3)
    assert told() == []

    Recorder.broken = set()
    open_one("weekly")
    outbox.send_due(tried[-1] + HOUR)
    assert told() == [("chat", "opened", "weekly failed")]


def test_a_channel_that_fails_for_days_is_an_incident_until_it_works(alerts):
    """Told over the others too: who waits for mails must not take their silence for peace."""
    alerts(ROUTES=[{"TO": ["chat", "pager"]}])
    Recorder.broken = {"chat"}
    open_one()
    outbox.send_due(NOON)
    inspect_rules(NOON + minutes(1))
    assert not Incident.objects.filter(rule="channel").exists()
    at = NOON
    for _ in range(30):
        at = Delivery.objects.filter(channel="chat").aggregate(at=Min("next_try_at"))["at"]
        outbox.send_due(at)
        inspect_rules(at)

    incident = Incident.objects.get(rule="channel")
    assert incident.summary == "nobody is reached over the channel chat: it answered 500"
    assert [(name, subject) for name, _, subject in told()] == [
        ("pager", "nightly failed"), ("pager", "chat reaches nobody"),
    ]  # fmt: skip
    assert at > NOON + 6 * HOUR

    Recorder.broken = set()
    outbox.send_due(at + HOUR)
    inspect_rules(at + HOUR)
    incident.refresh_from_db()
    assert incident.closed_at == at + HOUR


def test_a_message_that_nobody_takes_holds_up_no_other():
    """A poisoned one is tried after those that were tried less."""
    Recorder.broken = {"poison"}
    open_one("poison")
    outbox.send_due(NOON)
    open_one("well", NOON + minutes(1))

    outbox.send_due(NOON + minutes(1))

    assert told() == [("chat", "opened", "well failed")]


def test_killed_between_sending_and_noting_it_is_told_at_most_once_more(monkeypatch):
    """The second one says so, and has the same key, by which receivers can tell."""
    open_one()

    def killed(letter, now):
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(outbox, "_note_sent", killed)
        with pytest.raises(SystemExit):
            outbox.send_due(NOON)
    outbox.send_due(NOON + minutes(4))
    outbox.send_due(NOON + SENDING)
    outbox.send_due(NOON + HOUR)

    (_, first, one), (_, second, two) = Recorder.told
    assert one.key == two.key
    assert first.facts == ()
    assert second.facts == (("note", outbox.TOLD_BEFORE),)


def test_what_waits_for_a_channel_that_was_taken_away_says_so(alerts):
    open_one()
    alerts(CHANNELS={}, ROUTES=[])

    outbox.send_due(NOON)

    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.next_try_at) == ("failed", None)
    assert delivery.error == "its channel is not in CRONS['ALERTS']['CHANNELS'] any more"


def mails():
    """Return the mails sent so far, as a mail program reads them."""
    return [message_from_bytes(each.message().as_bytes(), policy=policy.default) for each in mail.outbox]


def test_a_mail_has_text_and_html_a_link_and_a_thread(alerts):
    alerts(ROUTES=[], BASE_URL="https://crm.example.com/crons")
    incident = open_one(run_id=17, next_step="See: manage.py crons show 17")
    outbox.send_due(NOON)
    close(incident, NOON + HOUR)
    outbox.send_due(NOON + HOUR)

    first, last = mails()
    text, html = (first.get_body([kind]).get_content() for kind in ("plain", "html"))
    assert text.endswith("See: manage.py crons show 17\n\nhttps://crm.example.com/crons/runs/17\n")
    assert '<a href="https://crm.example.com/crons/runs/17">' in html
    assert first["Auto-Submitted"] == "auto-generated"
    assert first["References"] is None
    assert last["References"] == last["In-Reply-To"] == first["Message-ID"] != last["Message-ID"]
    assert "https://crm.example.com/crons/incidents" in last.get_body(["plain"]).get_content()


def test_a_mail_goes_to_who_owns_the_entry(alerts):
    """Where the owner is a word, ADMINS get it: a message that goes nowhere is worse."""
    alerts(CHANNELS={"owners": {"KIND": "mail", "TO": ["owner", "team@example.com"]}}, ROUTES=[{"TO": "owners"}])

    open_one("a", owner="ann@example.com")
    open_one("b", owner="the backend team")
    open_one("c", owner="x@example.com\nBcc: eve@example.com")
    outbox.send_due(NOON)

    assert [each.to for each in mail.outbox] == [
        ["ann@example.com", "team@example.com"],
        ["ops@example.com", "team@example.com"],
        ["ops@example.com", "team@example.com"],
    ]


def test_nothing_hostile_gets_through_a_mail(alerts):
    """In the subject, in the owner, and as HTML."""
    alerts(ROUTES=[])
    evil = '</title><script>alert("x")</script>\r\nBcc: eve@example.com\x1b]0;x\x07 \u202egnp.exe'
    open_one(evil, owner=evil, text=evil, facts=((evil, evil),), next_step=evil)

    outbox.send_due(NOON)

    [sent] = mails()
    html = sent.get_body(["html"]).get_content()
    assert (sent["Bcc"], sent["To"]) == (None, "ops@example.com")
    assert "<script" not in html
    assert "&lt;/title&gt;&lt;script&gt;" in html
    for part in (str(sent["Subject"]), html, sent.get_body(["plain"]).get_content()):
        assert not {"\x1b", "\u202e", "\x07"} & set(part)
