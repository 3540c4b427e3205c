"""A schedule in another zone's crontab: exactly the same moments, or a reason."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crons import cron, every
from crons.exceptions import TargetError
from crons.schedules import NEVER, Schedule, any_of, parse, zones
from crons.targets import crond, fitting
from crons.targets.base import Unfit

NOW = datetime(2026, 1, 1, tzinfo=UTC)
YEAR = timedelta(days=366)
OTHER_CLOCK = "its zone's clock and the machine's differ"
COUNTS_IN_UTC = "it counts in UTC, and the clock of the machine's zone differs from that"


@pytest.mark.parametrize(
    ("schedule", "zone", "machine", "lines"),
    [
        (cron("0 6 * * MON-FRI"), "Europe/Berlin", "Europe/Paris", ["0 6 * * MON-FRI"]),
        (cron("@daily"), "UTC", "UTC", ["@daily"]),
        (cron("0 2 1 * SUN"), "Asia/Tokyo", "Asia/Seoul", ["0 2 1 * SUN"]),
        (cron("*/15 * * * *"), "Europe/Berlin", "America/New_York", ["*/15 * * * *"]),
        (every(minutes=5), "UTC", "Europe/Berlin", ["*/5 * * * *"]),
        (every(minutes=15), "UTC", "Asia/Kathmandu", ["*/15 * * * *"]),
        (every(minutes=1), "UTC", "Asia/Kathmandu", ["* * * * *"]),
        (every(hours=1), "UTC", "Europe/Berlin", ["0 * * * *"]),
        (every(hours=12), "Asia/Tokyo", "UTC", ["0 */12 * * *"]),
        (every(days=1), "UTC", "UTC", ["0 0 * * *"]),
        (every(days=7), "UTC", "UTC", ["0 0 * * 4"]),
        (NEVER, "UTC", "UTC", []),
        (any_of(cron("30 6 * * *"), cron("0 14 * * *")), "UTC", "UTC", ["30 6 * * *", "0 14 * * *"]),
        (any_of(every(hours=12), cron("0 2 * * SUN")), "UTC", "UTC", ["0 */12 * * *", "0 2 * * SUN"]),
    ],
    ids=str,
)
def test_what_fits_is_exact(schedule: Schedule, zone: str, machine: str, lines: list[str]):
    """A job that comes an hour off in summer is worse than none: it looks right."""
    assert fitting.texts(schedule, ZoneInfo(zone), ZoneInfo(machine), NOW) == lines
    assert moments(lines, ZoneInfo(machine)) == schedule.between(NOW, NOW + YEAR, ZoneInfo(zone))


@pytest.mark.parametrize(
    ("schedule", "zone", "machine", "reason"),
    [
        (cron("0 6 * * *"), "Europe/Berlin", "UTC", OTHER_CLOCK),
        (cron("0 6 * * *"), "UTC", "Asia/Kolkata", OTHER_CLOCK),
        (cron("0 0-23 * * *"), "Europe/Berlin", "UTC", OTHER_CLOCK),
        (cron("*/20 * * * *"), "Australia/Lord_Howe", "UTC", OTHER_CLOCK),
        (cron("*/5 * * * MON"), "Europe/Berlin", "UTC", OTHER_CLOCK),
        (every(hours=12), "UTC", "Europe/Berlin", COUNTS_IN_UTC),
        (every(hours=1), "UTC", "Asia/Kathmandu", COUNTS_IN_UTC),
        (every(minutes=7), "UTC", "UTC", "every 7 minutes divides neither an hour nor a day"),
        (every(minutes=90), "UTC", "UTC", "every 90 minutes divides neither an hour nor a day"),
        (every(hours=48), "UTC", "UTC", "every 2 days divides neither an hour nor a day"),
        (every(seconds=30), "UTC", "UTC", "it has seconds"),
        (
            any_of(cron("0 6 * * *"), every(minutes=7)),
            "UTC",
            "UTC",
            "every 7 minutes divides neither an hour nor a day",
        ),
    ],
    ids=str,
)
def test_what_does_not_fit_says_why(schedule: Schedule, zone: str, machine: str, reason: str):
    """Refused with the reason, never nearly right."""
    with pytest.raises(Unfit, match=reason):
        fitting.texts(schedule, ZoneInfo(zone), ZoneInfo(machine), NOW)


ZONES = [
    "UTC",
    "Europe/Berlin",
    "Europe/London",
    "Asia/Kolkata",
    "Asia/Tokyo",
    "Pacific/Honolulu",
    "Pacific/Kiritimati",
]
MINUTE = st.sampled_from(["0", "*/20", "*", "5,50", "10-12"])
HOUR = st.sampled_from(["*", "0", "23", "*/6", "0-23", "3,4,22"])
DAY = st.sampled_from(["*", "1", "*/2", "31", "1-31"])
MONTH = st.sampled_from(["*", "3", "1-12"])
WEEKDAY = st.sampled_from(["*", "SUN", "1-5", "*/3", "6,7"])
EVERY = st.sampled_from([1, 5, 7, 30, 60, 90, 120, 720, 1440, 10080]).map(lambda minutes: every(minutes=minutes))
FIELDS = st.tuples(MINUTE, HOUR, DAY, MONTH, WEEKDAY).map(lambda fields: cron(" ".join(fields)))
TEXT = st.one_of(FIELDS, st.tuples(FIELDS, st.one_of(FIELDS, EVERY)).map(lambda parts: any_of(*parts)))


@given(schedule=st.one_of(TEXT, EVERY), zone=st.sampled_from(ZONES), machine=st.sampled_from(ZONES))
def test_no_line_is_nearly_right(schedule: Schedule, zone: str, machine: str):
    """Whatever is not refused is due at exactly the same moments, through both clock changes."""
    try:
        lines = fitting.texts(schedule, ZoneInfo(zone), ZoneInfo(machine), NOW)
    except Unfit:
        return
    for start in (
        datetime(2026, 3, 27, tzinfo=UTC),
        datetime(2026, 10, 23, tzinfo=UTC),
        datetime(2026, 2, 26, tzinfo=UTC),
    ):
        until = start + timedelta(days=5)
        assert moments(lines, ZoneInfo(machine), start, until) == schedule.between(start, until, ZoneInfo(zone))


def moments(lines: list[str], machine: tzinfo, start: datetime = NOW, until: datetime = NOW + YEAR) -> list[datetime]:
    """List when cron would fire *lines*; where two fire at once the second finds its slot taken."""
    return sorted({moment for line in lines for moment in parse(line).between(start, until, machine)})


def test_many_entries_cost_one_look_at_their_zones(monkeypatch: pytest.MonkeyPatch):
    """A look takes 14 ms, and doctor fits each entry each time it is asked."""
    looks: list[tzinfo] = []
    changes = zones.changes

    def counted(start: datetime, until: datetime, zone: tzinfo) -> object:
        looks.append(zone)
        return changes(start, until, zone)

    monkeypatch.setattr(zones, "changes", counted)
    now = NOW + timedelta(seconds=1)
    for minute in range(60):
        fitting.texts(cron(f"{minute} 6 * * *"), ZoneInfo("Europe/Berlin"), ZoneInfo("Europe/Paris"), now)

    assert looks == [ZoneInfo("Europe/Berlin"), ZoneInfo("Europe/Paris")]


def test_the_zone_is_that_of_the_machine_not_of_this_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Django sets TZ to TIME_ZONE; cron has never heard of it."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    localtime = tmp_path / "localtime"
    localtime.symlink_to("/usr/share/zoneinfo/Europe/Berlin")
    monkeypatch.setattr(crond, "LOCALTIME", localtime)
    monkeypatch.setattr(crond, "PROC", tmp_path)

    found, where = crond.zone()

    assert fitting.texts(cron("0 6 * * *"), ZoneInfo("Europe/Paris"), found, NOW) == ["0 6 * * *"]
    assert where == f"{localtime}, Europe/Berlin"


def test_a_tz_of_the_daemon_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Its unit, or /etc/default/cron, may give it another zone than the machine's."""
    monkeypatch.setattr(crond, "PROC", tmp_path)
    monkeypatch.setattr(crond, "DEFAULTS", tmp_path / "cron")
    (tmp_path / "cron").write_text('# READ_ENV="yes"\nTZ="Asia/Tokyo"\n')
    by_file = crond.zone()
    (tmp_path / "12").mkdir()
    (tmp_path / "12" / "comm").write_text("cron\n")
    (tmp_path / "12" / "environ").write_bytes(b"A=b\0TZ=:Asia/Kolkata\0")
    by_process = crond.zone()

    assert by_file == (ZoneInfo("Asia/Tokyo"), f"Asia/Tokyo, TZ in {tmp_path}/cron")
    assert by_process == (ZoneInfo("Asia/Kolkata"), "Asia/Kolkata, TZ of cron (pid 12)")


def test_a_zone_that_cannot_be_told_stops(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A guess would be an hour off somewhere."""
    monkeypatch.setattr(crond, "PROC", tmp_path)
    monkeypatch.setattr(crond, "DEFAULTS", tmp_path / "cron")
    (tmp_path / "cron").write_text("TZ=CET-1CEST\n")

    with pytest.raises(TargetError, match=r"TZ in .*/cron is 'CET-1CEST', expected an IANA name"):
        crond.zone()
