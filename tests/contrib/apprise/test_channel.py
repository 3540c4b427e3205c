"""Apprise: what it is given arrives, and its address, which is a secret, is shown nowhere."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from crons.conf import conf
from crons.exceptions import InvalidSetting
from crons.watch.alerts import Notice, NotSent, Sending, build_channel
from tests.crons.receivers import receiver, says

NOTICE = Notice("opened", "failing", "critical", "nightly failed", text="ValueError", next_step="See: crons log 17")
SENDING = Sending("msg_1", "thread", True, datetime(2026, 3, 2, tzinfo=UTC), "https://crm.example.com/crons/runs/17")


@pytest.fixture
def made(settings):
    def make(**options):
        settings.CRONS = {"ALERTS": {"CHANNELS": {"chat": {"KIND": "apprise", **options}}}}
        return build_channel(conf.alerts.channels["chat"])

    return make


def test_a_notice_arrives_where_its_address_leads(made):
    with receiver() as found:
        channel = made(URL=f"json://127.0.0.1:{found.port}/hooks/s3cr3t-token")
        assert channel.send(NOTICE, SENDING) == "JSON took it"
        channel.send(replace(NOTICE, change="closed", text="x" * 10_000), SENDING)

    opened, closed = (json.loads(body) for _, _, body in found.got)
    assert (opened["title"], opened["type"]) == ("nightly failed", "failure")
    assert opened["message"] == "ValueError\n\nSee: crons log 17\n\nhttps://crm.example.com/crons/runs/17"
    assert (closed["type"], len(closed["message"]) < 1_600) == ("success", True)


def test_what_is_not_taken_is_raised_without_the_address(made, caplog):
    with receiver() as found:
        found.answer = says("500 no")
        channel = made(URL=f"json://127.0.0.1:{found.port}/hooks/s3cr3t-token")
        with pytest.raises(NotSent) as raised:
            channel.send(NOTICE, SENDING)

    assert str(raised.value) == "JSON did not take it; the logger apprise says why, where it is set to DEBUG"
    assert "s3cr3t" not in caplog.text


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({}, "['URL'] is no address of Apprise, such as slack://…, nor a file of one."),
        ({"URL": "s3cr3t"}, "['URL'] is no address of Apprise, such as slack://…, nor a file of one."),
        ({"URL": "slck://s3cr3t-token"}, "['URL'] cannot be used: Apprise knows no slck:// of that form."),
        ({"URL": "slack://s3cr3t-token"}, "['URL'] cannot be used: Apprise knows no slack:// of that form."),
        ({"URLS": "slack://s3cr3t"}, "['URLS'] is unknown. Did you mean 'URL'? Known: URL."),
    ],
)
def test_options_that_cannot_work_are_named_without_secrets(made, options, complaint, caplog):
    caplog.set_level(logging.DEBUG)
    with pytest.raises(InvalidSetting) as raised:
        made(**options)

    assert str(raised.value) == "CRONS['ALERTS']['CHANNELS']['chat']" + complaint
    assert "s3cr3t" not in caplog.text
    assert not logging.getLogger("apprise").disabled


def test_the_address_comes_from_a_file(made, tmp_path):
    path = tmp_path / "chat"
    path.write_text("json://127.0.0.1/hooks/s3cr3t-token\n")
    path.chmod(0o600)

    assert made(URL=path).url == "json://127.0.0.1/hooks/s3cr3t-token"
