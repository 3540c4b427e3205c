"""Signed webhooks: a receiver with the library of Standard Webhooks takes them; nothing shows their secret."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook as Receiver
from standardwebhooks import WebhookVerificationError

from crons.exceptions import InvalidSetting
from crons.watch.alerts import Notice, NotSent, Sending, build_channel, try_channel
from tests.crons.receivers import hangs, receiver, says

SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
OLD = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NOTICE = Notice("opened", "failing", "critical", "nightly failed", entry="nightly", run_id=17, text="Größe\n")


@pytest.fixture
def made(settings):
    def make(**options):
        settings.CRONS = {"ALERTS": {"CHANNELS": {"hook": {"KIND": "webhook", **options}}}}
        from crons.conf import conf

        return build_channel(conf.alerts.channels["hook"])

    return make


def test_a_receiver_can_verify_it(made):
    now = datetime.now(UTC)
    with receiver() as found:
        answer = made(URL=found.url, SECRET=[SECRET, OLD]).send(NOTICE, Sending("msg_1", "thread", True, now, "link"))

    [(_, headers, body)] = found.got
    for secret in (SECRET, OLD):
        said = Receiver(secret).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Receiver(SECRET).verify(body + b" ", headers)
    assert answer == "answered 204"
    assert (headers["webhook-id"], headers["content-type"]) == ("msg_1", "application/json")
    assert said["type"] == "crons.incident.opened"
    assert said["timestamp"].startswith(f"{now:%Y-%m-%dT%H:%M:%S}")
    assert said["data"] == {**json.loads(json.dumps(NOTICE.as_json())), "incident": "thread", "link": "link"}


@pytest.mark.parametrize("answer", [says("500 no"), says("301 there", "Location: /elsewhere"), hangs])
def test_what_is_not_taken_is_raised_without_the_address(made, answer, monkeypatch):
    monkeypatch.setattr("crons.watch.alerts.calling.READ_SECONDS", 0.3)
    with receiver() as found:
        found.answer = answer
        channel = made(URL=found.url, SECRET=SECRET)
        with pytest.raises(NotSent) as raised:
            channel.send(NOTICE, Sending("msg_1", "thread", True, datetime.now(UTC)))

    assert "s3cr3t" not in str(raised.value)
    assert len(found.got) == 1


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({}, " has no URL: a webhook needs an address and a secret."),
        ({"URL": "https://example.com/x"}, " has no SECRET: a webhook needs an address and a secret."),
        ({"URL": "example.com/s3cr3t", "SECRET": SECRET}, "['URL'] is no address that begins with http:// or https://"),
        ({"URL": "https://example.com/x", "SECRET": "s3cr3t"}, "['SECRET'] has a secret of 6 characters, expected at "),
        (
            {"URL": "https://example.com/x", "SECRET": "s3cr3t" * 8},
            "['SECRET'] has a secret that does not begin with whsec_; make one: ",
        ),
        (
            {"URL": "https://example.com/x", "SECRET": "whsec_" + "s3cr3t!" * 8},
            "['SECRET'] has a secret that begins with whsec_, and what follows is no base64",
        ),
        ({"URL": "https://example.com/x", "SECRETS": [SECRET]}, "['SECRETS'] is unknown. Did you mean 'SECRET'?"),
    ],
)
def test_options_that_cannot_work_are_named_without_secrets(made, options, complaint):
    with pytest.raises(InvalidSetting) as raised:
        made(**options)

    assert str(raised.value).startswith("CRONS['ALERTS']['CHANNELS']['hook']" + complaint)
    assert "s3cr3t" not in str(raised.value)


def test_secrets_come_from_files(made, tmp_path):
    secret, address = tmp_path / "secret", tmp_path / "address"
    for path, text in ((secret, SECRET), (address, "https://example.com/s3cr3t")):
        path.write_text(f"{text}\n")
        path.chmod(0o600)

    channel = made(URL=address, SECRET=secret)

    assert (channel.url, channel.secrets) == ("https://example.com/s3cr3t", (SECRET,))
    secret.chmod(0o644)
    with pytest.raises(InvalidSetting, match="has mode 0644"):
        made(URL=address, SECRET=secret)


def test_it_can_be_tried(made):
    with receiver() as found:
        made(URL=found.url, SECRET=SECRET)
        assert try_channel("hook", datetime.now(UTC), "ann") == (True, "answered 204")

    assert json.loads(found.got[0][2])["type"] == "crons.test"
