"""Schedules as systemd's OnCalendar=: what systemd makes of them is asked, and compared with our slots."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crons import cron, every
from crons.contrib.systemd import oncalendar
from crons.schedules import NEVER, Schedule, any_of
from crons.targets.base import Unfit

NOW = datetime(2026, 11, 23, 14, 0, tzinfo=UTC)
YEAR = timedelta(days=366)


@pytest.mark.parametrize(
    ("schedule", "zone", "expected"),
    [
        (cron("0 2 * * 0"), "UTC", ["Sun *-*-* 02:00:00 UTC"]),
        (cron("*/5 * * * *"), "Europe/Berlin", ["*-*-* *:00/5:00 UTC"]),
        (cron("0 8 * * *"), "Asia/Kathmandu", ["*-*-* 02:15:00 UTC"]),
        (cron("0 0 */2 * 1-5"), "UTC", ["Mon,Tue,Wed,Thu,Fri *-*-01/2 00:00:00 UTC"]),
        (cron("@monthly"), "UTC", ["*-*-01 00:00:00 UTC"]),
        (every(seconds=30), "Europe/Berlin", ["*-*-* *:*:00/30 UTC"]),
        (every(seconds=1), "UTC", ["*-*-* *:*:* UTC"]),
        (every(minutes=1), "UTC", ["*-*-* *:*:00 UTC"]),
        (every(days=7), "UTC", ["Thu *-*-* 00:00:00 UTC"]),
        (any_of(every(hours=6), cron("0 0 * * *")), "UTC", ["*-*-* 00/6:00:00 UTC", "*-*-* 00:00:00 UTC"]),
        (NEVER, "UTC", []),
    ],
)
def test_what_utc_can_say_needs_no_question(
    schedule: Schedule, zone: str, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most schedules: systemd has no clock change to get wrong there, and need not be installed."""
    monkeypatch.setenv("PATH", "/nowhere")

    assert oncalendar.texts(schedule, zone, NOW) == expected


@pytest.mark.needs("systemd")
@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("0 6 * * 1", "Europe/Berlin", ["Mon *-*-* 06:00:00 Europe/Berlin"]),
        ("0 0 13 * 5", "America/New_York", ["*-*-13 00:00:00 America/New_York", "Fri *-*-* 00:00:00 America/New_York"]),
    ],
)
def test_another_zone_is_named_where_systemd_agrees(text: str, zone: str, expected: list[str]) -> None:
    """6 o'clock in Berlin is no time of UTC, and is not near a clock change."""
    assert oncalendar.texts(cron(text), zone, NOW) == expected


@pytest.mark.needs("systemd")
@pytest.mark.parametrize(
    ("text", "zone", "reason"),
    [
        ("30 2 * * *", "Europe/Berlin", "systemd leaves out 2027-03-28 03:00:00 +02:00, where the clock changes"),
        ("0 */2 * * *", "Europe/Berlin", "systemd leaves out 2027-10-31 02:00:00 +01:00, where the clock changes"),
        ("0 0 * * *", "Africa/Cairo", "systemd leaves out 2027-04-30 01:00:00 +03:00, where the clock changes"),
        ("15 2 * * *", "Australia/Lord_Howe", "systemd leaves out 2027-10-03 02:30:00 +11:00, where the clock changes"),
        # Not in the first year: on 29 March 2026 the clock changed, in 2027 it does so on the 28th.
        ("30 2 25 3 *", "Europe/Berlin", "systemd leaves out 2029-03-25 03:00:00 +02:00, where the clock changes"),
    ],
)
def test_where_systemd_differs_the_moment_is_named(text: str, zone: str, reason: str) -> None:
    """It does so where clocks change; a slot that comes too seldom is worse than a line too few."""
    with pytest.raises(Unfit) as refused:
        oncalendar.texts(cron(text), zone, NOW)

    assert str(refused.value) == reason


@pytest.mark.parametrize("schedule", [every(minutes=7), every(seconds=90), every(days=2)])
def test_an_interval_that_does_not_divide_is_refused(schedule: Schedule) -> None:
    """OnCalendar= begins anew each minute, hour and day; the interval would not."""
    with pytest.raises(Unfit, match="it begins anew each minute, hour and day"):
        oncalendar.texts(schedule, "UTC", NOW)


def test_without_systemd_a_zone_with_clock_changes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can be asked, and guesses are what this is against."""
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(Unfit, match="there is no systemd-analyze here to ask"):
        oncalendar.texts(cron("0 6 * * *"), "Europe/Berlin", NOW)


@pytest.mark.needs("systemd")
@pytest.mark.parametrize(
    ("schedule", "zone"),
    [
        (cron("0 6 * * 1"), "Europe/Berlin"),
        (cron("0 0 13 * 5"), "America/New_York"),
        (cron("15,45 9 1-7 * *"), "Australia/Sydney"),
        (cron("0 8 * * *"), "Asia/Kathmandu"),
        (cron("59 23 31 12 *"), "America/Santiago"),
        (cron("0 2 * * 0"), "UTC"),
        (every(days=7), "Europe/Berlin"),
        (any_of(cron("0 12 * * *"), cron("30 7 * * 1-5")), "Europe/London"),
    ],
)
def test_a_year_of_systemd_is_a_year_of_ours(schedule: Schedule, zone: str) -> None:
    """Not a sample: every elapse of a year."""
    ours = schedule.between(NOW, NOW + YEAR, ZoneInfo(zone))

    theirs = oncalendar.elapses(oncalendar.texts(schedule, zone, NOW), NOW, NOW + YEAR, len(ours) + 1)

    assert theirs == ours


def field(low: int, high: int) -> st.SearchStrategy[str]:
    """A field of a crontab."""
    number = st.integers(low, high).map(str)
    several = st.lists(number, min_size=1, max_size=3).map(",".join)
    return st.one_of(st.just("*"), st.sampled_from([2, 5, 7, 10]).map("*/{}".format), several)


@pytest.mark.needs("systemd")
@settings(max_examples=25)
@given(fields=st.tuples(field(0, 59), field(0, 23), field(1, 28), field(1, 12), field(0, 6)))
def test_fields_mean_to_systemd_what_they_mean_to_cron(fields: tuple[str, ...]) -> None:
    """The first slots of any crontab text, in a zone without clock changes."""
    schedule = cron(" ".join(fields))
    ours = schedule.between(NOW, NOW + YEAR, UTC, 20)

    theirs = oncalendar.elapses(oncalendar.texts(schedule, "UTC", NOW), NOW, NOW + YEAR, 20)

    assert theirs[: len(ours)] == ours
