"""What docs/howto/operate.md says of its commands: a change stands in the audit trail, a look does not."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from crons.management.verbs.base import operator
from crons.models import AuditEvent, Pause
from tests.crons.cli.conftest import NOW

pytestmark = pytest.mark.django_db
PAGE = (Path(__file__).parents[3] / "docs/howto/operate.md").read_text()
COMMANDS = re.findall(r"^\$ manage\.py crons (.+)$", PAGE, re.MULTILINE)
LOOKS = ("health", "history", "show", "log", "list", "why")
# `run` starts processes (ledger.request writes its event), what follows a run waits for its end, and --clock
# is for a wrong one.
ELSEWHERE = re.compile("^run |--follow|--clock")


@pytest.fixture
def site(make_entry, make_run, make_attempt, clock):
    """The entry of the page, its run that failed, and one that waits."""
    entry = make_entry("nightly_report", tags=["billing"], schedule="0 2 * * *")
    failed = make_run(entry, pk=1042, verdict="failed", state="done")
    make_attempt(failed, outcome="failed")
    make_run(entry, None, state="due", verdict="", ended_at=None, wake_at=NOW)


@pytest.mark.parametrize("command", [each for each in COMMANDS if not ELSEWHERE.search(each)])
def test_each_command_of_the_page_is_audited_where_it_changes_something(crons, site, command):
    """At the end of such a night somebody asks who did what, and why."""
    if command.startswith("cancel 1042"):
        crons("retry", "1042")
    if command.startswith("resume"):
        crons("pause", "--all", "--reason", "before")
    AuditEvent.objects.all().delete()
    words = shlex.split(command) + ["--yes"] * (command.startswith("backfill") and "--dry-run" not in command)

    said = crons(*words)

    events = list(AuditEvent.objects.values_list("actor", "reason"))
    reason = words[words.index("--reason") + 1] if "--reason" in words else ""
    if words[0] in LOOKS or "--dry-run" in words:
        assert events == []
    else:
        assert said.code == 0, said
        assert events == [(operator(), reason)]


def test_the_page_has_looks_and_deeds():
    """A pattern that matches nothing would leave the test above without work."""
    assert len(COMMANDS) > 15
    assert {each.split()[0] for each in COMMANDS} >= {*LOOKS, "pause", "resume", "cancel", "retry", "run", "backfill"}


def test_health_says_what_is_paused_in_every_form(crons, site):
    """As the page says: of everything, of a tag, of one entry."""
    for scope in (("--all",), ("--tag", "billing"), ("nightly_report",)):
        crons("pause", *scope, "--reason", f"why {scope[-1]}")

    said = crons("health").out

    assert Pause.objects.count() == 3
    assert all(f"why {word}" in said for word in ("--all", "billing", "nightly_report"))
