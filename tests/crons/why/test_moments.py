"""Moments as people write them, and as they copy them from what crons prints."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from crons.exceptions import Refused
from crons.schedules import parse
from crons.why import asked
from tests.crons.conftest import NOON

BERLIN = "Europe/Berlin"


def read(text: str) -> asked.Asked:
    """Read *text* on a clock in Berlin, of a job that is due at half past each hour."""
    return asked.read(text, parse("30 * * * *"), BERLIN, ZoneInfo(BERLIN), NOON, since=datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("9:30", "2026-03-02T09:30+01:00"),
        ("2026-03-02 2:30", "2026-03-02T02:30+01:00"),
        ("2026-03-02T2:30", "2026-03-02T02:30+01:00"),
        ("2026-03-02 12:05:00 +00:00", "2026-03-02T13:05+01:00"),
        ("2026-10-25 01:30:00 UTC", "2026-10-25T02:30+01:00"),
        ("2026-10-25T02:30Z", "2026-10-25T03:30+01:00"),
        ("2026-03-29T02:30", "2026-03-29T03:00+02:00"),  # never shown: what is due then runs right after the gap
        ("2026-03-29T02:30+01:00", "2026-03-29T03:30+02:00"),  # a real moment, whatever the clock shows
    ],
)
def test_a_moment_may_be_written_so(text: str, at: str) -> None:
    """Whoever copies a line of another answer, or is in a hurry, is understood."""
    assert read(text).at.astimezone(ZoneInfo(BERLIN)).isoformat(timespec="minutes") == at


@pytest.mark.parametrize("text", ["2026-03-02", "20260302", "2026-W10-1"])
def test_a_day_is_one_in_each_of_its_forms(text: str) -> None:
    """Without its strokes it meant midnight, where nothing is due."""
    found = read(text)

    assert (found.at.isoformat(), found.of_day) == ("2026-03-01T23:30:00+00:00", 24)


@pytest.mark.parametrize("text", ["", "now", "today", "24:00", "2026-02-30", "1772452800", "2026/03/02", "02:30 UTC"])
def test_what_is_no_moment_says_what_would_be(text: str) -> None:
    """A guess would answer another question."""
    with pytest.raises(Refused, match=r"is no moment\. Expected a time such as 09:00"):
        read(text)
