"""A clock, a scheduler on web1, and runs that are numbered from 41 on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection

from crons import api, ledger
from crons.hosts.instances import Instance, boot_id
from crons.models import Entry, Heartbeat, Run
from crons.testing import clock as stopped
from crons.verdicts import Outcome
from crons.watch import declarers
from tests.crons.conftest import NOON, Ledger, ledger_finished, minutes

BEFORE_FIRST = 40


@pytest.fixture(autouse=True)
def numbered_from_41(db: None) -> None:
    """Numbers of runs stand in the answers; on PostgreSQL they go on from test to test."""
    with connection.cursor() as cursor:
        for table in ("crons_run", "crons_attempt"):
            if connection.vendor == "postgresql":
                cursor.execute(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), {BEFORE_FIRST})")
            else:
                cursor.execute("DELETE FROM sqlite_sequence WHERE name = %s", [table])
                cursor.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (%s, %s)", [table, BEFORE_FIRST])


class World:
    """One scheduler, `serve` on web1, whose minutes are counted from noon."""

    def __init__(self, clock: stopped.Clock) -> None:
        self.clock = clock
        self.web1 = Instance("serve", uuid4().hex, "web1", 4711, boot_id())
        self.ledger = Ledger(self.web1)

    def at(self, minute: float) -> Any:
        """Set the clock to so many minutes after noon."""
        return self.clock.move_to(NOON + minutes(minute))

    def record(self, minute: float, trigger: str = "serve") -> None:
        """Let a pass record what is due."""
        self.ledger.record(self.at(minute), trigger)

    def begin(self, minute: float, *, room: int = 10, **kwargs: Any) -> list[Any]:
        """Let a pass begin what is due."""
        return self.ledger.begin(self.at(minute), room, **kwargs)

    def finish(self, begun: Any, minute: float, outcome: Outcome = Outcome.SUCCEEDED, error: str = "") -> None:
        """Let an attempt end."""
        assert ledger.finish([ledger_finished(begun, outcome, error)], self.at(minute))[begun.attempt]

    def run(self, minute: float, ends: float, outcome: Outcome = Outcome.SUCCEEDED, error: str = "") -> Run:
        """Record, begin and finish what is due at *minute*; return the run."""
        self.record(minute)
        (begun,) = self.begin(minute)
        self.finish(begun, ends, outcome, error)
        return Run.objects.get(pk=begun.run)

    def lives(self, *declares: str, host: str = "web1", release: str = "41", **fields: Any) -> None:
        """Have a scheduler live now that declares these entries."""
        own = {"instance": self.web1.name if host == "web1" else uuid4().hex, "host": host, "pid": 4711}
        beat = {"kind": "serve", "boot_id": "elsewhere", "release": release, "declares": list(declares)}
        Heartbeat.objects.create(
            **own, **beat, started_at=NOON, beat_at=self.clock.now, expected_by=self.clock.now + minutes(1), **fields
        )

    def ask(self, name: str, moment: Any = None, minute: float | None = None, **which: Any) -> str:
        """Return the whole answer, given so many minutes after noon."""
        if minute is not None:
            self.at(minute)
        return api.why(name, moment, **which).text


@pytest.fixture
def world(db: None, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[World]:
    """The clock says noon; deploys come from web1 as release 41."""
    monkeypatch.setattr("crons.declarations.entries.host", lambda: "web1")
    monkeypatch.setattr(declarers, "host", lambda: "web1")
    settings.CRONS = {"RELEASE": "41"}
    with stopped.at(NOON) as clock:
        yield World(clock)


@pytest.fixture
def report(make_entry: Callable[..., Entry]) -> Entry:
    """Due every five minutes since noon."""
    return make_entry("report")


class Answers:
    """The answers that stand in answers.txt for one test, one after the other."""

    def __init__(self, test: str) -> None:
        self._test, self._asked = test.removeprefix("test_"), 0

    def next(self) -> str:
        """Return the next answer."""
        self._asked += 1
        return ANSWERS[self._test + (f" {self._asked}" if self._asked > 1 else "")]


def _read() -> dict[str, str]:
    _, *parts = Path(__file__).with_name("answers.txt").read_text().split("\n== ")
    return {title: text.strip() for title, _, text in (part.partition("\n") for part in parts)}


ANSWERS = _read()


@pytest.fixture
def answers(request: pytest.FixtureRequest) -> Answers:
    """What is expected of this test's questions."""
    return Answers(request.node.name)
