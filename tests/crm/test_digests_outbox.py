"""Mails of the outbox over real SMTP: at most once, a fate for each, and nothing smuggled into their headers."""

import itertools
import re
import runpy
from contextlib import suppress
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.core import mail as django_mail
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

import crm.settings
from crm import cron
from crm.digests import digests, outbox, store
from crm.digests.models import Mail, Recipient, Report, SuppressedAddress
from crm.digests.post import Post
from crons.attempts import Counts
from tests import ports

from . import killing, smtp_server
from .conftest import NOW, attempt

MORNING = NOW + timedelta(hours=7)  # Sunday 09:00


@pytest.fixture(scope="module")
def server():
    with smtp_server.running() as running:
        yield running


@pytest.fixture
def smtp(server, settings):
    """The one server, empty, named by the settings."""
    server.raw.clear()
    server.recipients.clear()
    server.answers.clear()
    server.greeting = ""
    server.use(settings)
    return server


@pytest.fixture
def clock(monkeypatch):
    """Sunday 09:00; .at moves it."""

    class Clock:
        at = MORNING

    monkeypatch.setattr(timezone, "now", lambda: Clock.at)
    return Clock


@pytest.fixture
def report(make_customer, clock):
    """That of Saturday, on which somebody signed up."""
    make_customer(NOW - timedelta(hours=5))
    store.make(NOW, NOW, now=NOW)
    return Report.objects.get(kind="daily")


def recipient(name="ada", **values):
    values = {"name": name.title(), "email": f"{name}@example.com", "created_at": NOW - timedelta(days=9)} | values
    return Recipient.objects.create(**values)


def states():
    return dict(Mail.objects.order_by("pk").values_list("recipient__email", "state"))


def test_mail_arrives_whole_with_one_click_to_end_it(report, smtp, settings):
    """The raw lines: a client that finds half of an address in the header offers nothing."""
    settings.CRM_SITE_URL = "https://crm.a-shop-with-a-long-name.example.com/behind/a/path/that/is/long/too"
    reader = recipient()
    run = attempt(MORNING)

    cron.send_digests(run)

    [got] = smtp.taken
    assert (got["To"], got["From"]) == ("Ada <ada@example.com>", "crm@localhost")
    assert got["Subject"] == "Saturday 21 November 2026: 0.00 from 1 order"
    assert got["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    [link] = re.findall(rb"^List-Unsubscribe:\s+<(\S+)>\r?$", smtp.raw[0], re.MULTILINE)
    assert link.decode().startswith(f"{settings.CRM_SITE_URL}/mail/r{reader.pk}-")
    assert re.fullmatch(r"<[0-9a-f]{32}@localhost>", got["Message-ID"])
    assert [part.get_content_type() for part in got.walk()] == ["multipart/alternative", "text/plain", "text/html"]
    text, html = (part.get_content() for part in got.iter_parts())
    assert "Revenue          0.00" in text
    assert link.decode() in text
    assert link.decode() in html
    row = Mail.objects.get()
    assert (row.state, row.key, row.run_key) == ("sent", f"digest:daily:2026-11-21:recipient-{reader.pk}", "k")
    assert run.work.counts == Counts(examined=1, changed=1, failed=0)


def test_second_run_sends_nothing_more(report, smtp):
    recipient()

    for _ in range(3):
        cron.send_digests(attempt(MORNING))

    assert smtp.recipients == ["ada@example.com"]


@pytest.mark.parametrize(
    "name",
    ["Ada\r\nBcc: eve@example.com\r\n\r\nBuy", "Ada\u2028Bcc: eve", 'Ada" <eve@example.com>, "', "Ąda 🙂", "a" * 200],
)
def test_name_brings_no_header_and_no_second_recipient(report, smtp, name):
    recipient(name="ada")
    Recipient.objects.update(name=name)

    cron.send_digests(attempt(MORNING))

    [got] = smtp.taken
    assert smtp.recipients == ["ada@example.com"]
    assert [each.addr_spec for each in got["To"].addresses] == ["ada@example.com"]
    assert got["Bcc"] is None
    assert "Buy" not in got.get_body().get_content()


@pytest.mark.parametrize("email", ["ada@example.com\nBcc: eve@example.com", "ada", "a@b@c", ""])
def test_row_with_no_address_is_skipped_with_the_reason(report, smtp, email):
    """Imports write rows that no form has seen."""
    recipient()
    Recipient.objects.update(email=email)

    cron.send_digests(attempt(MORNING))

    assert smtp.recipients == []
    assert list(Mail.objects.values_list("state", "reason")) == [("skipped", "not an e-mail address")]


def test_each_answer_of_a_mail_server_is_a_fate_of_its_own(report, smtp):
    for name in ("nobody", "full", "spam", "busy", "dropdata", "ada"):
        recipient(name)
    run = attempt(MORNING)

    with pytest.raises(RuntimeError, match=r"^4 mails need a look \(the admin's list of mails\), the first, digest:"):
        cron.send_digests(run)

    rows = {each.recipient.name.lower(): each for each in Mail.objects.select_related("recipient")}
    assert {name: (row.state, row.reason) for name, row in rows.items()} == {
        "nobody": ("failed", "550 no such user"),
        "full": ("failed", "552 mailbox full"),
        "spam": ("failed", "554 this is spam"),
        "busy": ("waiting", "451 try again"),
        "dropdata": ("unknown", "SMTPServerDisconnected: Connection unexpectedly closed"),
        "ada": ("sent", ""),
    }
    assert rows["busy"].due_at == MORNING + timedelta(minutes=15)
    assert run.work.counts == Counts(examined=6, changed=1, skipped={"put off by the mail server": 1}, failed=4)
    # Only an address that is none is never written to again; a mailbox that is full may be emptied.
    assert list(SuppressedAddress.objects.values_list("email", "kind")) == [("nobody@example.com", "")]
    # The server had taken this one: a second try would have been a second mail.
    assert smtp.recipients == ["dropdata@example.com", "ada@example.com"]


def test_server_that_hangs_or_drops_holds_up_the_others_for_a_while_only(report, smtp, settings):
    """Before the mail itself is on its way it surely has not gone; after that, nobody knows."""
    smtp.use(settings, timeout=5)
    for name in ("hang", "hangdata", "drop"):
        recipient(name)

    with pytest.raises(RuntimeError, match=r"^1 mails need a look"):
        cron.send_digests(attempt(MORNING))

    assert states() == {
        "hang@example.com": "waiting",
        "hangdata@example.com": "unknown",
        "drop@example.com": "waiting",
    }
    assert smtp.recipients == []


def test_server_that_drops_two_in_a_row_is_left_alone(report, smtp):
    for name, number in (("drop", 0), ("ada", 1)):
        recipient(name, hour=8 - number)
    Recipient.objects.filter(name="Drop").update(hour=6)
    other = recipient("drop2", hour=6)
    Recipient.objects.filter(pk=other.pk).update(email="drop@example.org")

    cron.send_digests(attempt(MORNING))

    assert sorted(states().values()) == ["waiting"] * 3
    assert smtp.recipients == []

    cron.send_digests(attempt(MORNING))  # those that were dropped come later, and hold up nobody

    assert smtp.recipients == ["ada@example.com"]


def test_server_that_puts_off_some_addresses_holds_up_no_others(report, smtp):
    """As one does that has not seen them before; only a connection that is gone says something of the next mail."""
    for number, name in enumerate(("busy", "busy", "busy", "ada")):
        recipient(name, email=f"{name}@{number}.example.com")

    cron.send_digests(attempt(MORNING))

    assert smtp.recipients == ["ada@3.example.com"]


def test_server_that_says_goodbye_is_asked_anew_for_the_next_mail(report, smtp):
    for name in ("closing", "ada"):
        recipient(name)

    cron.send_digests(attempt(MORNING))

    assert smtp.recipients == ["ada@example.com"]
    assert Mail.objects.get(recipient__name="Closing").reason == "421 closing"


def test_server_that_goes_away_with_each_mail_gets_two_only(report, smtp):
    """Of each of them nobody knows whether it went: a person has to settle it."""
    for number in range(4):
        recipient("dropdata", email=f"dropdata@{number}.example.com")

    with pytest.raises(RuntimeError, match=r"^2 mails need a look"):
        cron.send_digests(attempt(MORNING))

    assert sorted(states().values()) == ["unknown", "unknown", "waiting", "waiting"]


@pytest.mark.parametrize(
    ("text", "is_suppressed"),
    [("550 no such user", True), ("550 5.1.1 no such user", True), ("550 5.7.1 relaying denied", False)],
)
def test_address_is_suppressed_for_what_the_server_says_of_it_alone(report, smtp, text, is_suppressed):
    """A wrong password of ours must not cost the readers all mails for good."""
    smtp.answers["ada"] = text
    recipient()

    with pytest.raises(RuntimeError, match=re.escape(f"refused: {text}")):
        cron.send_digests(attempt(MORNING))

    assert states() == {"ada@example.com": "failed"}
    assert SuppressedAddress.objects.exists() is is_suppressed


def test_server_that_does_not_greet_us_back_leaves_all_mails_waiting(report, smtp):
    """As one does that has blocked this host's address."""
    smtp.greeting = "554 go away"
    recipient()

    with pytest.raises(RuntimeError, match="the mail server takes nothing: 554"):
        cron.send_digests(attempt(MORNING))

    assert list(Mail.objects.values_list("state", "tries")) == [("waiting", 0)]


@pytest.mark.parametrize(
    ("sender", "state", "tries"), [("refused", "waiting", 0), ("toobig", "failed", 1), ("later", "waiting", 1)]
)
def test_sender_that_is_refused_says_nothing_of_the_mails(report, smtp, settings, sender, state, tries):
    """A wrong CRM_EMAIL_FROM must not use up the mails of a day; one that is too big is refused there too."""
    settings.DEFAULT_FROM_EMAIL = f"{sender}@example.com"
    for name in ("ada", "bob"):
        recipient(name)

    with suppress(RuntimeError):
        cron.send_digests(attempt(MORNING))

    assert Mail.objects.order_by("pk").values_list("state", "tries").first() == (state, tries)
    assert not SuppressedAddress.objects.exists()
    settings.DEFAULT_FROM_EMAIL = "crm@localhost"
    if sender == "refused":
        cron.send_digests(attempt(MORNING))
        assert smtp.recipients == ["ada@example.com", "bob@example.com"]


def test_without_a_mail_server_all_wait_and_none_is_given_up(report, smtp, settings):
    recipient()
    smtp.use(settings, port=ports.free())

    for _ in range(outbox.MOST_TRIES + 1):
        with pytest.raises(RuntimeError, match="the mail server takes nothing: ConnectionRefusedError"):
            cron.send_digests(attempt(MORNING))
    smtp.use(settings)
    cron.send_digests(attempt(MORNING))

    assert smtp.recipients == ["ada@example.com"]
    assert Mail.objects.get().tries == 1


def test_mail_that_is_put_off_time_and_again_is_given_up(report, smtp, clock):
    recipient("busy")
    waits = []
    for _ in range(outbox.MOST_TRIES - 1):
        cron.send_digests(attempt(clock.at))
        waits.append(Mail.objects.get().due_at - clock.at)
        clock.at = Mail.objects.get().due_at

    with pytest.raises(RuntimeError, match="refused: 451 try again"):
        cron.send_digests(attempt(clock.at))

    assert [each / timedelta(minutes=15) for each in waits] == [1, 2, 4, 8]
    assert Mail.objects.get().state == "failed"


def test_two_senders_send_one_mail(report, smtp, monkeypatch):
    """The second looks while the first has it; the statement that claims it decides."""
    recipient()
    compose = digests.compose

    def other_is_faster(mail, at):
        letter = compose(mail, at)
        Mail.objects.filter(pk=mail.pk, state="waiting").update(state="sending", tried_at=timezone.now())
        return letter

    monkeypatch.setattr(digests, "compose", other_is_faster)
    cron.send_digests(attempt(MORNING))

    assert smtp.recipients == []
    assert states() == {"ada@example.com": "sending"}


def test_killed_at_any_statement_each_mail_goes_once_or_is_known_as_unknown(report, clock, monkeypatch):
    """And what was not begun goes when it is run again: nobody is forgotten."""
    for name in ("ada", "bob", "eve"):
        recipient(name)
    SuppressedAddress.objects.create(email="eve@example.com", reason="asked by phone")
    unknown, rounds = [], 0

    for _ in killing.at_every_statement(lambda: cron.send_digests(attempt(MORNING))):
        clock.at += outbox.CUT_OFF_AFTER + timedelta(seconds=1)
        try:
            cron.send_digests(attempt(clock.at))
        except RuntimeError as error:
            unknown.append(str(error))
        sent = [each.to[0] for each in django_mail.outbox]
        found = states()
        assert found.pop("eve@example.com") == "skipped"
        assert set(found) == {"ada@example.com", "bob@example.com"}
        assert len(sent) == len(set(sent)), "one went twice"
        for email, state in found.items():
            assert state in ("sent", "unknown")
            assert state == "unknown" or f"<{email}>" in str(sent)
        django_mail.outbox.clear()
        clock.at, rounds = MORNING, rounds + 1

    assert rounds > 15
    # Between the claim and the note of the end: once for each of the two.
    assert len(unknown) == 2
    assert all("nobody knows whether it went (its sender was cut off)" in each for each in unknown)


def test_person_settles_what_nobody_knows_and_is_noted(report, smtp, client, clock):
    for name in ("ada", "bob"):
        recipient(name)
    digests.plan(MORNING, now=MORNING)
    Mail.objects.update(state="sending", tried_at=MORNING - timedelta(hours=1), tries=1)
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"^2 mails need a look .* \(its sender was cut off\)$"):
            cron.send_digests(attempt(MORNING))
    assert smtp.recipients == []
    ada, bob = Mail.objects.order_by("pk")
    url = reverse("admin:crm_mail_changelist")

    looker = User.objects.create_user("looker", is_staff=True)
    looker.user_permissions.add(Permission.objects.get(codename="view_mail"))
    client.force_login(looker)
    client.post(url, {"action": "arrived", "_selected_action": [ada.pk]})
    assert set(states().values()) == {"unknown"}
    client.force_login(User.objects.create_superuser("root"))
    client.post(url, {"action": "arrived", "_selected_action": [ada.pk]})
    said = client.post(url, {"action": "send_again", "_selected_action": [ada.pk, bob.pk]}, follow=True)
    cron.send_digests(attempt(MORNING))

    assert "1 mails were left alone: what became of them is known." in said.content.decode()
    assert states() == {"ada@example.com": "sent", "bob@example.com": "sent"}
    assert smtp.recipients == ["bob@example.com"]
    assert Mail.objects.filter(sent_at=F("tried_at")).count() == 2


def test_mail_that_failed_is_sent_again_by_hand_but_cannot_be_said_to_have_arrived(report, smtp, client, clock):
    """Its server has said no; somebody has mended why, and it has all its tries again."""
    recipient("ada")
    digests.plan(MORNING, now=MORNING)
    Mail.objects.update(state="failed", reason="552 too big", tries=5, tried_at=MORNING - timedelta(hours=1))
    mail = Mail.objects.get()

    assert outbox.settle([mail.pk], arrived=True) == []
    assert outbox.settle([mail.pk], arrived=False) == [mail]
    again = Mail.objects.get()
    cron.send_digests(attempt(MORNING))

    assert (again.state, again.tries, again.reason, again.due_at) == ("waiting", 0, "asked for again", MORNING)
    assert (states(), smtp.recipients) == ({"ada@example.com": "sent"}, ["ada@example.com"])


def test_old_rows_go_in_batches_and_what_nobody_knows_stays(report, smtp, monkeypatch, settings, capsys):
    monkeypatch.setattr(outbox, "_PRUNED_AT_ONCE", 2)
    monkeypatch.setattr(outbox, "MOST_PRUNED", 4)
    # At the limit itself a row still stays.
    for days, created in ((180, MORNING - timedelta(days=180)), (181, MORNING - timedelta(days=181))):
        Mail.objects.bulk_create(
            Mail(kind=kind, key=f"{kind}:{state}:{days}", state=state, due_at=created, created_at=created)
            for kind, state in itertools.product(("digest", "reminder"), Mail.State.values)
            if (kind, state) not in (("digest", "waiting"), ("digest", "unknown"), ("digest", "sending"))
        )
    before = set(Mail.objects.values_list("key", flat=True))
    gone = {f"{kind}:{state}:181" for kind in ("digest", "reminder") for state in ("sent", "skipped", "failed")}

    settings.CRM_MAIL_KEEP_DAYS = 0
    cron.send_digests(attempt(MORNING))
    assert set(Mail.objects.values_list("key", flat=True)) == before
    settings.CRM_MAIL_KEEP_DAYS = 180
    cron.send_digests(attempt(MORNING))
    assert Mail.objects.count() == len(before) - 4
    cron.send_digests(attempt(MORNING))

    assert set(Mail.objects.values_list("key", flat=True)) == before - gone
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Deleted")]
    assert said == ["Deleted the rows of 4 old mails.", "Deleted the rows of 2 old mails."]


def test_limit_that_would_forget_reminders_stops_the_start(monkeypatch):
    monkeypatch.setenv("CRM_MAIL_KEEP_DAYS", "59")

    with pytest.raises(ImproperlyConfigured, match=r"^CRM_MAIL_KEEP_DAYS=59 would forget which orders"):
        runpy.run_path(crm.settings.__file__)


def test_time_for_sending_is_bounded_and_the_rest_goes_next_time(report, smtp, monkeypatch):
    for name in ("ada", "bob", "eve"):
        recipient(name)
    digests.plan(MORNING, now=MORNING)

    first = outbox.send_due("digest", digests.compose, until=MORNING, for_seconds=0)
    second = outbox.send_due("digest", digests.compose, until=MORNING)

    assert (first.sent, second.sent) == (0, 3)


def test_mail_server_is_asked_over_one_connection(report, smtp, monkeypatch):
    for name in ("ada", "bob"):
        recipient(name)
    opened = []
    with Post() as post:
        backend = type(post._backend)
    open_ = backend.open

    def noted(self):
        opened.append(open_(self))
        return opened[-1]

    monkeypatch.setattr(backend, "open", noted)
    cron.send_digests(attempt(MORNING))

    assert opened.count(True) == 1
    assert len(smtp.recipients) == 2


def test_backend_that_sends_nothing_and_says_nothing_leaves_the_mail_waiting(report, monkeypatch):
    """As one does that fails silently; "sent" would be a lie."""
    recipient()
    with Post() as post:
        monkeypatch.setattr(type(post._backend), "send_messages", lambda self, messages: 0)

    cron.send_digests(attempt(MORNING))

    assert list(Mail.objects.values_list("state", "reason")) == [("waiting", "the mail backend has sent nothing")]


def test_who_has_a_mail_planned_is_not_read_again(report):
    """The job comes four times an hour, and most of its runs have nobody left to plan for."""
    for number in range(5):
        recipient(f"reader{number}")
    planned = digests.plan(MORNING, now=MORNING)
    recipient("late")

    with CaptureQueriesContext(connection) as captured:
        again = digests.plan(MORNING, now=MORNING)

    assert ([len(planned), len(again)], Mail.objects.count()) == ([5, 1], 6)
    assert [each["sql"].startswith("INSERT") for each in captured if "crm_mail" in each["sql"]].count(True) == 1
    with CaptureQueriesContext(connection) as captured:
        digests.plan(MORNING, now=MORNING)
    assert len(captured) == 2
