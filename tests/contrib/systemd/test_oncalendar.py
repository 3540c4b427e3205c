"""Schedules as systemd's OnCalendar=: what systemd makes of them is compared with our slots."""

from __future__ import annotations

import os
import re
import subprocess
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crons import cron, every
from crons.contrib.systemd import oncalendar
from crons.schedules import NEVER, Schedule, any_of, zones
from crons.targets.base import Unfit

NOW = datetime(2026, 11, 23, 14, 0, tzinfo=UTC)
YEAR = timedelta(days=366)
ELAPSE = re.compile(r"^ *(?:Next elapse|Iter\. #\d+): \w{3} (\S+ \S+) UTC$", re.MULTILINE)


@pytest.mark.parametrize(
    ("schedule", "zone", "expected"),
    [
        (cron("0 2 * * 0"), "UTC", ["Sun *-*-* 02:00:00 UTC"]),
        (cron("*/5 * * * *"), "Europe/Berlin", ["*-*-* *:00/5:00 UTC"]),
        (cron("0 8 * * *"), "Asia/Kathmandu", ["*-*-* 08:00:00 Asia/Kathmandu"]),
        (cron("30 2 * * *"), "Asia/Kathmandu", ["*-*-* 02:30:00 Asia/Kathmandu"]),
        (cron("0 6 * * 1"), "Europe/Berlin", ["Mon *-*-* 06:00:00 Europe/Berlin"]),
        (
            cron("0 4-20/4 13 * 5"),
            "America/New_York",
            ["*-*-13 04/4:00:00 America/New_York", "Fri *-*-* 04/4:00:00 America/New_York"],
        ),
        (
            cron("0 0 */2 * 1-5"),
            "UTC",
            ["Mon,Tue,Wed,Thu,Fri *-*-01,03,05,07,09,11,13,15,17,19,21,23,25,27,29,31 00:00:00 UTC"],
        ),
        (cron("@monthly"), "UTC", ["*-*-01 00:00:00 UTC"]),
        (every(seconds=30), "Europe/Berlin", ["*-*-* *:*:00/30 UTC"]),
        (every(seconds=1), "UTC", ["*-*-* *:*:* UTC"]),
        (every(minutes=1), "UTC", ["*-*-* *:*:00 UTC"]),
        (every(days=7), "UTC", ["Thu *-*-* 00:00:00 UTC"]),
        (any_of(every(hours=6), cron("0 0 * * *")), "UTC", ["*-*-* 00/6:00:00 UTC", "*-*-* 00:00:00 UTC"]),
        (NEVER, "UTC", []),
    ],
)
def test_what_systemd_means_as_cron_does_has_a_timer(schedule: Schedule, zone: str, expected: list[str]) -> None:
    """Most schedules: no clock changes in the zone at all, none in those hours, or every hour is like the others."""
    assert oncalendar.texts(schedule, zone, NOW) == expected


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("30 2 * * *", "Europe/Berlin"),
        ("0 */2 * * *", "Europe/Berlin"),
        ("0 0-23 * * *", "Europe/Berlin"),
        ("*/5 * * * 1", "Europe/Berlin"),
        ("0 0 * * *", "Africa/Cairo"),
        ("15 2 * * *", "Australia/Lord_Howe"),
        ("*/20 * * * *", "Australia/Lord_Howe"),
    ],
)
def test_what_falls_due_near_a_clock_change_has_none(text: str, zone: str) -> None:
    """systemd leaves out what a gap swallows; a slot that comes too seldom is worse than a line too few."""
    with pytest.raises(Unfit) as refused:
        oncalendar.texts(cron(text), zone, NOW)

    assert str(refused.value) == (
        "its zone changes its clock near such an hour, and systemd then leaves out what cron does not"
    )


def test_no_zone_changes_its_clock_in_quiet_hours() -> None:
    """Where it fails after an update of the zones' data, QUIET is too long."""
    readings = {
        (name, reading.hour)
        for name in available_timezones()
        for change in zones.changes(NOW, NOW + 10 * YEAR, ZoneInfo(name))
        # What a gap skips or a fold shows twice, up to the reading at which it ends.
        for reading in (min(change.stops, change.resumes), max(change.stops, change.resumes) - zones.TICK)
    }

    assert [(name, hour) for name, hour in sorted(readings) if hour in oncalendar.QUIET] == []


@pytest.mark.parametrize("schedule", [every(minutes=7), every(seconds=90), every(days=2)])
def test_an_interval_that_does_not_divide_is_refused(schedule: Schedule) -> None:
    """OnCalendar= begins anew each minute, hour and day; the interval would not."""
    with pytest.raises(Unfit, match="it begins anew each minute, hour and day"):
        oncalendar.texts(schedule, "UTC", NOW)


@pytest.mark.needs("systemd")
@pytest.mark.parametrize(
    ("schedule", "zone"),
    [
        (cron("0 6 * * 1"), "Europe/Berlin"),
        (cron("0 5 13 * 5"), "America/New_York"),
        (cron("15,45 9 1-7 * *"), "Australia/Sydney"),
        (cron("0 8 * * *"), "Asia/Kathmandu"),
        (cron("59 20 31 12 *"), "America/Santiago"),
        (cron("*/20 * * * *"), "America/Santiago"),
        (cron("0 2 * * 0"), "UTC"),
        (every(days=7), "Europe/Berlin"),
        (any_of(cron("0 12 * * *"), cron("30 7 * * 1-5")), "Europe/London"),
    ],
)
def test_a_year_of_systemd_is_a_year_of_ours(schedule: Schedule, zone: str) -> None:
    """Not a sample: every elapse of a year."""
    ours = schedule.between(NOW, NOW + YEAR, ZoneInfo(zone))

    theirs = elapses(oncalendar.texts(schedule, zone, NOW), NOW, NOW + YEAR, len(ours) + 1)

    assert theirs == ours


@pytest.mark.needs("systemd")
@pytest.mark.parametrize("text", ["0 0 */7 * *", "30 */5 */7 * 5", "0 */2 */5 */5 *"])
@pytest.mark.parametrize("now", [datetime(2026, month, 28, 18, 18, tzinfo=UTC) for month in (1, 2, 11, 12)])
def test_no_day_is_left_out_where_a_month_begins(text: str, now: datetime) -> None:
    """From 29 December systemd 252 takes *-*-01/7 for 8 January: days stand one by one."""
    schedule = cron(text)
    ours = schedule.between(now, now + timedelta(days=70), UTC)

    theirs = elapses(oncalendar.texts(schedule, "UTC", now), now, now + timedelta(days=70), len(ours) + 1)

    assert theirs == ours


def elapses(texts: list[str], after: datetime, until: datetime, count: int) -> list[datetime]:
    """Ask systemd when *texts* elapse in (after, until]; of each at most *count* moments."""
    found = set()
    for text in texts:
        done = subprocess.run(
            [
                "systemd-analyze",
                "calendar",
                f"--base-time={after:%Y-%m-%d %H:%M:%S} UTC",
                f"--iterations={count}",
                text,
            ],
            env={**os.environ, "TZ": "UTC", "LC_ALL": "C", "SYSTEMD_COLORS": "0"},
            capture_output=True,
            text=True,
            check=True,
        )
        found |= {datetime.fromisoformat(each).replace(tzinfo=UTC) for each in ELAPSE.findall(done.stdout)}
    return sorted(each for each in found if each <= until)


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

    theirs = elapses(oncalendar.texts(schedule, "UTC", NOW), NOW, NOW + YEAR, 20)

    assert theirs[: len(ours)] == ours
