"""What the tests of the command line share: a frozen clock, rows made directly, `manage.py crons …`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command

from crons.jobs.policies import Policy
from crons.models import Attempt, Entry, Run
from crons.testing import clock as stopped
from crons.verdicts import Kind, State

NOW = datetime(2026, 10, 25, 0, 15, tzinfo=UTC)
"""In Berlin the first 02:15 of a night whose clocks go back at 03:00."""


@pytest.fixture
def clock() -> Iterator[datetime]:
    """The database's time stands still at NOW."""
    with stopped.at(NOW):
        yield NOW


@pytest.fixture
def make_entry() -> Callable[..., Entry]:
    """Make an entry's row."""

    def make(name: str = "report", **fields: Any) -> Entry:
        row = {
            "job": name,
            "schedule": "every 1800s",
            "zone": "Europe/Berlin",
            "policy": Policy().as_json(),
            "first_seen_at": NOW - timedelta(days=1),
            "accounted_until": NOW,
            "wake_at": NOW + timedelta(minutes=15),
        }
        return Entry.objects.create(name=name, **{**row, **fields})

    return make


@pytest.fixture
def make_run() -> Callable[..., Run]:
    """Make a run's row; it is done unless told otherwise."""

    def make(entry: Entry, slot_at: datetime | None = NOW, **fields: Any) -> Run:
        row = {
            "kind": Kind.SLOT if slot_at else Kind.MANUAL,
            "slot_at": slot_at,
            "planned_at": slot_at or NOW,
            "state": State.DONE,
            "verdict": "succeeded",
            "trigger": "serve",
            "recorded_at": slot_at or NOW,
            "ended_at": slot_at or NOW,
        }
        return Run.objects.create(entry=entry, **{**row, **fields})

    return make


@pytest.fixture
def make_attempt() -> Callable[..., Attempt]:
    """Make the next attempt of a run, begun when it was planned and 90 s long."""

    def make(run: Run, **fields: Any) -> Attempt:
        row = {
            "number": run.tries + 1,
            "token": uuid4(),
            "executor": "process",
            "instance": "i1",
            "host": "web1",
            "pid": 4321,
            "boot_id": "b",
            "begun_at": run.planned_at,
            "outcome": "succeeded",
            "ended_at": run.planned_at + timedelta(seconds=90),
        }
        attempt = Attempt.objects.create(run=run, **{**row, **fields})
        run.tries, run.current_attempt = attempt.number, attempt.pk
        run.save()
        return attempt

    return make


class Terminal(StringIO):
    """A stream that a person reads."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def paint(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal that shows colours, wherever the tests run."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    return Terminal()


def refuse(error: Exception) -> Callable[..., Any]:
    """Return a function that raises *error*."""

    def refused(*args: Any, **kwargs: Any) -> Any:
        raise error

    return refused


@dataclass(frozen=True)
class Said:
    """What a command line printed, and its exit code."""

    out: str
    err: str
    code: int


def call_crons(*words: str) -> Said:
    """Call `manage.py crons …` in this process."""
    out, err, code = StringIO(), StringIO(), 0
    try:
        call_command("crons", *words, stdout=out, stderr=err)
    except CommandError as error:
        err.write(f"{error}\n")
        code = error.returncode
    except SystemExit as ending:
        code = int(ending.code or 0)
    return Said(out.getvalue(), err.getvalue(), code)


@pytest.fixture
def crons() -> Callable[..., Said]:
    """Call `manage.py crons …`."""
    return call_crons
