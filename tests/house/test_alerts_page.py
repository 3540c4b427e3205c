"""The examples of docs/howto/alerts.md are settings that work: they are read, and the system checks have no word."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path, PurePosixPath

import pytest

from crons import job
from crons.checks import check_channels, check_pings
from crons.conf import conf
from crons.testing import sandbox

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "howto" / "alerts.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
# What stands in the files that the examples name: the page shows no secret.
FILES = {
    "hook.secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "slack.url": "slack://TokenA1234/TokenB1234/TokenC12345678901234567890/#ops",
    "ping.url": "https://hc-ping.com/KEY/deployment",
    "ping-nightly.url": "https://hc-ping.com/KEY/nightly",
}
# The jobs that they name.
JOBS = ("nightly_report",)


@pytest.fixture
def read(tmp_path, settings):
    """Have Django's settings be one example; return what crons makes of it."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(f"{text}\n")
        (tmp_path / name).chmod(0o600)
    known = {"timedelta": timedelta, "Path": lambda path: tmp_path / PurePosixPath(path).name}

    def read(example):
        if example.startswith("CRONS"):
            exec(example, known)
            settings.CRONS = known["CRONS"]
        else:  # a part of ALERTS, which stands on the page by itself
            settings.CRONS = {"ALERTS": eval(f"{{{example}}}", known)}
        return conf.alerts

    with sandbox():
        for name in JOBS:
            job(name=name)(print)
        yield read


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: re.search(r"[A-Z]+", text)[0])
def test_an_example_works_as_it_stands(read, example):
    """What is copied from the page into settings.py at night must not be refused."""
    alerts = read(example)

    assert conf.problems() == []
    assert [*check_channels(None), *check_pings(None)] == []
    assert alerts.channels or alerts.pings


def test_each_kind_of_channel_has_its_example(read):
    """Those that the page names: a part that is not found above would go unread."""
    kinds = {setting.kind for example in EXAMPLES for setting in read(example).channels.values()}

    assert kinds == {"mail", "webhook", "apprise"}
    assert len(EXAMPLES) == PAGE.count("```python")
