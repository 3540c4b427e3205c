"""docs/howto/alerts.md: its examples are settings that work, and its table says what the rules do."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path, PurePosixPath

import pytest

from crons import job
from crons.checks import check_channels, check_pings
from crons.conf import conf
from crons.jobs import OURS
from crons.ledger import newest
from crons.testing import sandbox
from crons.watch import past, rules, trends, usual

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
# Rule → the cells of its row: opens, worsens, closes, severity, what to do.
ROW = re.compile(r"^\| `([a-z ]+)` " + r"\| ([^|]*?) ?" * 5 + r"\|$", re.MULTILINE)
TABLE = {cells[0]: cells[1:] for cells in ROW.findall(PAGE)}


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


def test_the_table_has_each_rule_with_its_severity():
    """Who routes by severity goes by it."""
    assert {rule: cells[3] for rule, cells in TABLE.items()} == {
        rule: terms.severity for rule, terms in rules.RULES.items()
    }


def test_what_is_new_each_time_is_named():
    """All others that come back soon are the same incident."""
    (line,) = re.findall(r"^  (.*) are over at once, and new each time", PAGE, re.MULTILINE)
    anew = {rule for rule, terms in rules.RULES.items() if not terms.calm}

    assert {*re.findall(r"`([a-z]+)`", line), "retired"} == anew
    assert {terms.calm for rule, terms in rules.RULES.items() if rule not in {*anew, "unsteady"}} == {rules.HOUR}
    assert rules.RULES["unsteady"].calm == 6 * rules.HOUR


def test_the_table_has_the_numbers_of_the_rules():
    """Those that are settings of nobody: they stand in the code, and people plan by them."""
    opens, worsens, closes = ({rule: cells[at] for rule, cells in TABLE.items()} for at in range(3))
    steps = ", ".join(f"{step:,}" for step in rules.RULES["failing"].steps)

    assert f"; {steps} in a row (critical from {rules.RULES['failing'].steps[0]} on)" in worsens["failing"]
    assert opens["unsteady"].startswith(f"{OURS.unsteady[0]} of an entry's last {OURS.unsteady[1]} runs, ")
    assert f"the last {trends.IN_A_ROW} are not all of them bad" in opens["unsteady"]
    assert closes["unsteady"].startswith(f"fewer than 3 of {newest.NEWEST}, ")
    seen = [step for step in rules.STEPS if step <= newest.NEWEST]
    assert {worsens[rule] for rule in ("late", "missed")} == {f"{seen[0]} in a row"}
    assert len(seen) == 1
    assert opens["idle"].startswith({3: "three"}[past.IN_A_ROW])
    assert f"an earlier one of the last {usual.NEWEST} " in opens["idle"]
    assert f"{usual.NEWEST} successes (of {({5: 'five'})[usual.ENOUGH]} at least)" in opens["slow"]
