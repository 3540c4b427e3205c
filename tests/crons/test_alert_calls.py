"""What channels call: real servers on loopback, that hang, drip, redirect, flood and refuse."""

from __future__ import annotations

import io
import time
from email import message_from_bytes, policy

import django
import pytest
from django.core.management import CommandError, call_command

from crons.models import Delivery, Incident
from crons.watch.alerts import Channel, Notice, NotSent, Sending, calling, outbox
from crons.watch.alerts.calling import post
from tests.crons.conftest import NOON
from tests.crons.receivers import closes, dripping_mail_server, drips, floods, hangs, mail_server, receiver, says


def test_a_post_arrives_whole():
    with receiver() as found:
        assert post(f"{found.url}?a=b", b'{"x": 1}', {"Content-Type": "application/json"}) == 204

    [(line, headers, body)] = found.got
    assert (line, body) == ("POST /hooks/s3cr3t-token?a=b HTTP/1.1", b'{"x": 1}')
    assert (headers["content-type"], headers["user-agent"]) == ("application/json", "django-crons")


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (hangs, "127.0.0.1: no answer within 0.3 s"),
        (drips, "127.0.0.1: no answer within 0.3 s"),
        (closes, "127.0.0.1: "),
        (says("500 Internal Server Error"), "127.0.0.1 answered 500"),
        (says("410 Gone"), "127.0.0.1 answered 410"),
        (
            says("302 Found", "Location: http://127.0.0.1/elsewhere/s3cr3t-token"),
            "127.0.0.1 answered 302: redirects are not followed; give the address it leads to",
        ),
        (lambda found, sock: sock.sendall(b"garbage s3cr3t-token\r\n\r\n"), "127.0.0.1: BadStatusLine"),
    ],
)
def test_whatever_the_other_side_does_it_ends_and_says_no_secret(answer, complaint):
    with receiver() as found:
        found.answer = answer
        with pytest.raises(NotSent) as raised:
            post(found.url, b"{}", {}, seconds=0.3)

    assert str(raised.value).startswith(complaint)
    assert "s3cr3t" not in str(raised.value)
    assert raised.value.__cause__ is None
    assert len(found.got) == 1


def test_of_a_flood_only_the_beginning_is_read():
    with receiver() as found:
        found.answer = floods
        begun = time.process_time()

        assert post(found.url, b"{}", {}) == 200

    assert time.process_time() - begun < 5


def test_nobody_there_is_said_in_few_words():
    with receiver() as found:
        pass
    with pytest.raises(NotSent, match=r"^127\.0\.0\.1: Connection refused$"):
        post(found.url, b"{}", {})


@pytest.fixture
def smtp(settings):
    """Mail through a real server; the port to set is given to it."""

    def use(port, *, ssl=False):
        backend = "django.core.mail.backends.smtp.EmailBackend"
        if django.VERSION >= (6, 1):
            options = {"host": "127.0.0.1", "port": port, "timeout": 5, "use_ssl": ssl}
            settings.MAILERS = {"default": {"BACKEND": backend, "OPTIONS": options}}
        else:
            settings.EMAIL_BACKEND, settings.EMAIL_USE_SSL, settings.EMAIL_USE_TLS = backend, ssl, False
            settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_TIMEOUT = "127.0.0.1", port, 5
            settings.EMAIL_HOST_USER = settings.EMAIL_HOST_PASSWORD = ""
        settings.ADMINS = ["ops@example.com"] if django.VERSION >= (6, 0) else [("Ops", "ops@example.com")]

    return use


@pytest.mark.django_db
def test_a_mail_reaches_a_real_server(smtp):
    with mail_server() as (port, mails):
        smtp(port)
        incident = Incident.objects.create(rule="failing", opened_at=NOON, changed_at=NOON)
        notice = Notice("opened", "failing", "warning", "bückup failed", text="Größe: 3 µ\n.\n..\nend")
        outbox.enqueue(incident, "x", notice, NOON, "default")
        outbox.send_due(NOON)

    [mail] = [message_from_bytes(each, policy=policy.default) for each in mails]
    assert (mail["To"], mail["Subject"]) == ("ops@example.com", "[Django] bückup failed")
    # With the dots doubled, as the protocol has it.
    assert mail.get_body(["plain"]).get_content().splitlines()[2:] == ["Größe: 3 µ", "..", "...", "end"]
    assert Delivery.objects.get().state == "sent"


@pytest.mark.parametrize("ssl", [False, True], ids=["plain", "over TLS"])
@pytest.mark.django_db
def test_a_mail_server_that_drips_is_left_in_the_end(smtp, monkeypatch, ssl):
    """In its greeting, or instead of a handshake, where no single read takes long, and nothing is open yet."""
    monkeypatch.setattr("crons.watch.alerts.mail.LONGEST_SECONDS", 0.3)
    with dripping_mail_server() as port:
        smtp(port, ssl=ssl)
        incident = Incident.objects.create(rule="failing", opened_at=NOON, changed_at=NOON)
        outbox.enqueue(incident, "x", Notice("opened", "failing", "warning", "s"), NOON, "default")
        outbox.send_due(NOON)

    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.tries) == ("pending", 1)
    assert delivery.error


@pytest.mark.django_db
def test_a_mail_server_that_refuses_is_quoted(smtp):
    with mail_server({"RCPT": "550 no such person"}) as (port, mails):
        smtp(port)
        incident = Incident.objects.create(rule="failing", opened_at=NOON, changed_at=NOON)
        outbox.enqueue(incident, "x", Notice("opened", "failing", "warning", "s"), NOON, "default")
        outbox.send_due(NOON)

    assert mails == []
    assert Delivery.objects.get().error.startswith("SMTPRecipientsRefused: ")
    assert "550" in Delivery.objects.get().error


class Refusing(Channel):
    """Raises an error with its address in it, as the code of other people does."""

    keys = ("WEBHOOK_URL",)

    def send(self, notice: Notice, sending: Sending) -> str:
        if self.name == "broken":
            raise ConnectionError("cannot reach https://chat.example.com/services/T0/B0/s3cr3t-token-of-chat")
        return f"told {notice.subject!r}"


def crons(*words):
    """Call the command; return its exit code and what it printed."""
    out = io.StringIO()
    try:
        call_command("crons", *words, stdout=out, stderr=out)
    except SystemExit as ended:
        return ended.code, out.getvalue()
    except CommandError as error:
        return error.returncode, str(error)
    return 0, out.getvalue()


@pytest.fixture
def two_channels(settings):
    secret = "https://chat.example.com/services/T0/B0/s3cr3t-token-of-chat"
    kind = {"KIND": "tests.crons.test_alert_calls.Refusing", "WEBHOOK_URL": secret}
    settings.ADMINS = []
    settings.CRONS = {**settings.CRONS, "ALERTS": {"CHANNELS": {"works": kind, "broken": kind}}}


@pytest.mark.django_db
def test_each_channel_can_be_tried(two_channels):
    """Before the first night, and without an incident."""
    code, said = crons("alert", "--test")

    assert code == 1
    assert said == (
        "admins: reaches nobody: it is off, as ADMINS is empty\n"
        "broken: ConnectionError: cannot reach ********\n"
        "works: told 'test of the channel works'\n"
    )
    assert crons("alert", "--test", "--channel", "works", "--json") == (
        0,
        '{"model": "channel", "name": "works", "worked": true, "answer": "told \'test of the channel works\'"}\n',
    )
    code, said = crons("alert", "--test", "--channel", "wrks")
    assert (code, said) == (
        1,
        "wrks: the channel 'wrks' is not in CRONS['ALERTS']['CHANNELS']. Did you mean 'works'? "
        "Known: admins, broken, works.\n",
    )
    assert Incident.objects.count() == Delivery.objects.count() == 0


@pytest.mark.django_db
def test_open_incidents_are_listed_and_answered(two_channels, settings, make_entry):
    assert crons("alert") == (0, "No incident is open, and every message was sent.\n")
    settings.CRONS["ALERTS"]["ROUTES"] = [{"TO": "broken"}]
    incident = Incident.objects.create(
        rule="failing", entry=make_entry("nightly"), open_key="failing:1", summary="failed: boom", opened_at=NOON,
        changed_at=NOON, count=3,
    )  # fmt: skip
    outbox.enqueue(incident, "x", Notice("opened", "failing", "warning", "nightly failed"), NOON, "default")
    outbox.send_due(NOON)

    code, said = crons("alert")
    assert code == 0
    assert said == (
        f"{incident.pk}  failing: nightly: failed: boom; since 2026-03-02 12:00:00 UTC; 3 times\n"
        "not sent over broken: nightly failed: ConnectionError: cannot reach ********; tried 1 times; "
        "next try 2026-03-02 12:01:00 UTC\n"
    )
    assert "s3cr3t" not in said
    code, said = crons("alert", "--ack", str(incident.pk), "--reason", "looking")
    assert (code, said.endswith(" (looking)\n")) == (0, True)
    code, said = crons("alert", "--snooze", str(incident.pk), "--until", "2999-01-01")
    assert (code, "sleeps until 2998-12-31" in said or "sleeps until 2999-01-01" in said) == (0, True)
    code, said = crons("alert", "--json")
    assert '"acknowledged_by": ' in said
    assert '"model": "delivery"' in said


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--snooze", "1"), "--snooze and --until go together"),
        (("--channel", "x"), "--channel is for --test"),
        (("--ack", "999"), "there is no incident 999. See: manage.py crons alert"),
    ],
)
def test_a_mistake_is_one_line(words, complaint):
    code, said = crons("alert", *words)

    assert (code, complaint in said) == (1, True)


def test_the_longest_call_is_under_half_a_minute():
    """For a lock of five minutes on what is being sent there must be room."""
    assert calling.LONGEST_SECONDS < 30
