"""What `crons serve` prints while it serves: how runs and slots end, as they do."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from crons.management.verbs import Out
from crons.management.verbs.serve import printing
from crons.models import Entry
from crons.verdicts import Outcome

from .conftest import NOON, minutes

pytestmark = pytest.mark.django_db


class Stream(io.StringIO):
    """What a verb writes to; *is_terminal* as a person reads it."""

    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal

    def write(self, text: str = "", style_func: Any = None, ending: str | None = None) -> int:  # type: ignore[override]
        return super().write(text + (ending or ""))


@pytest.fixture
def printed(led, make_entry, django_capture_on_commit_callbacks):
    """Have a slot succeed, one fail, three be missed and one be skipped; return what was printed."""

    def serve(*, is_terminal: bool = True, as_json: bool = False, quiet: bool = False) -> list[str]:
        stream = Stream(is_terminal=is_terminal)
        out = Out(stream, stream, as_json=as_json, colour=False)
        make_entry()
        with printing(out, quiet=quiet):
            for number, outcome in ((1, Outcome.SUCCEEDED), (2, Outcome.FAILED)):
                now = NOON + minutes(5 * number)
                with django_capture_on_commit_callbacks(execute=True):
                    led.record(now)
                    (begun,) = led.begin(now)
                    led.finish(begun, now, outcome, "Traceback\nValueError: no \x1b[2Jrows" if number == 2 else "")
            with django_capture_on_commit_callbacks(execute=True):
                led.record(NOON + minutes(30))  # 12:15 to 12:30: the newest is run, the others are missed
            Entry.objects.update(paused_at=NOON + minutes(31), paused_by="dana", pause_reason="the bank is down")
            led.record(NOON + minutes(35))
        before = stream.getvalue()
        with django_capture_on_commit_callbacks(execute=True):
            led.record(NOON + minutes(40))
        assert stream.getvalue() == before, "nothing is printed any more once it has ended"
        return before.splitlines()

    return serve


MISSED = "heartbeat, 3 slots from 2026-03-02 12:15:00 +00:00 to 2026-03-02 12:25:00 +00:00: missed (catch up)"


def without_numbers(lines: list[str]) -> list[str]:
    return [line.split(" (run ")[0] for line in lines]


def test_at_a_terminal_each_verdict_is_a_line(printed) -> None:
    assert without_numbers(printed()) == [
        "heartbeat, slot 2026-03-02 12:05:00 +00:00: succeeded",
        "heartbeat, slot 2026-03-02 12:10:00 +00:00: failed: ValueError: no rows",
        MISSED,
        "heartbeat, slot 2026-03-02 12:35:00 +00:00: skipped (paused)",
    ]


def test_in_a_log_what_nobody_wanted_is_a_line(printed) -> None:
    lines = without_numbers(printed(is_terminal=False))

    assert [line.split(": ")[1] for line in lines] == ["failed", "missed (catch up)"]


def test_quiet_prints_nothing(printed) -> None:
    assert printed(quiet=True) == []


def test_for_programs_each_is_an_object(printed) -> None:
    rows = [json.loads(line) for line in printed(as_json=True)]

    assert [(row["model"], row["entry"], row["verdict"]) for row in rows] == [
        ("run", "heartbeat", "succeeded"),
        ("run", "heartbeat", "failed"),
        ("range", "heartbeat", "missed"),
        ("range", "heartbeat", "skipped"),
    ]
    assert [row["event"] for row in rows] == ["run.ended", "run.ended", "slots.accounted", "slots.accounted"]
    assert rows[2]["count"] == 3
