"""Schedules through clock changes: golden days, and laws over every change of every zone 2024-2030."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache, cached_property
from itertools import accumulate, pairwise, product
from zoneinfo import ZoneInfo, available_timezones

import pytest

from crons.schedules import Schedule, cron, every
from crons.schedules.zones import changes

TICK = timedelta.resolution
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
SINCE, TO = datetime(2024, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)

GOLDEN = [
    # Berlin 2025-03-30: 02:00 becomes 03:00
    ("Europe/Berlin", "2025-03-30", "30 2 * * *", "03:00+02:00"),
    ("Europe/Berlin", "2025-03-30", "0 3 * * *", "03:00+02:00"),
    ("Europe/Berlin", "2025-03-30", "59 1 * * *", "01:59+01:00"),
    ("Europe/Berlin", "2025-03-30", "10,50 2 * * *", "03:00+02:00"),
    ("Europe/Berlin", "2025-03-30", "0 2,3 * * *", "03:00+02:00"),
    ("Europe/Berlin", "2025-03-30", "30 1-4 * * *", "01:30+01:00 03:00+02:00 03:30+02:00 04:30+02:00"),
    ("Europe/Berlin", "2025-03-30", "*/30 1-3 * * *", "01:00+01:00 01:30+01:00 03:00+02:00 03:30+02:00"),
    ("Europe/Berlin", "2025-03-30", "* 2 * * *", ""),
    ("Europe/Berlin", "2025-03-30", "30 */6 * * *", "00:30+01:00 06:30+02:00 12:30+02:00 18:30+02:00"),
    # Berlin 2025-10-26: 03:00 becomes 02:00
    ("Europe/Berlin", "2025-10-26", "30 2 * * *", "02:30+02:00"),
    ("Europe/Berlin", "2025-10-26", "0 3 * * *", "03:00+01:00"),
    ("Europe/Berlin", "2025-10-26", "0,30 2 * * *", "02:00+02:00 02:30+02:00"),
    ("Europe/Berlin", "2025-10-26", "0 1-3 * * *", "01:00+02:00 02:00+02:00 03:00+01:00"),
    ("Europe/Berlin", "2025-10-26", "*/30 2 * * *", "02:00+02:00 02:30+02:00 02:00+01:00 02:30+01:00"),
    # New York 2025: 03-09 02:00 becomes 03:00, 11-02 02:00 becomes 01:00
    ("America/New_York", "2025-03-09", "30 2 * * *", "03:00-04:00"),
    ("America/New_York", "2025-03-09", "*/30 1,2 * * *", "01:00-05:00 01:30-05:00"),
    ("America/New_York", "2025-11-02", "30 1 * * *", "01:30-04:00"),
    ("America/New_York", "2025-11-02", "*/30 1 * * *", "01:00-04:00 01:30-04:00 01:00-05:00 01:30-05:00"),
    # London 2025: 03-30 01:00 becomes 02:00, 10-26 02:00 becomes 01:00
    ("Europe/London", "2025-03-30", "15 1 * * *", "02:00+01:00"),
    ("Europe/London", "2025-10-26", "15 1 * * *", "01:15+01:00"),
    ("Europe/London", "2025-10-26", "15-15 */23 * * *", "00:15+01:00 23:15+00:00"),
    # Lord Howe 2025: 04-06 02:00 becomes 01:30, 10-05 02:00 becomes 02:30
    ("Australia/Lord_Howe", "2025-10-05", "15 2 * * *", "02:30+11:00"),
    ("Australia/Lord_Howe", "2025-10-05", "45 2 * * *", "02:45+11:00"),
    ("Australia/Lord_Howe", "2025-10-05", "*/15 2 * * *", "02:30+11:00 02:45+11:00"),
    ("Australia/Lord_Howe", "2025-04-06", "45 1 * * *", "01:45+11:00"),
    ("Australia/Lord_Howe", "2025-04-06", "0 2 * * *", "02:00+10:30"),
    ("Australia/Lord_Howe", "2025-04-06", "*/20 2 * * *", "02:00+10:30 02:20+10:30 02:40+10:30"),
    (
        "Australia/Lord_Howe",
        "2025-04-06",
        "*/15 1 * * *",
        "01:00+11:00 01:15+11:00 01:30+11:00 01:45+11:00 01:30+10:30 01:45+10:30",
    ),
    # Santiago 2025: 04-05 24:00 becomes 23:00, 09-07 00:00 becomes 01:00
    ("America/Santiago", "2025-09-07", "0 0 * * *", "01:00-03:00"),
    ("America/Santiago", "2025-09-07", "*/30 0 * * *", ""),
    ("America/Santiago", "2025-04-05", "30 23 * * *", "23:30-03:00"),
    ("America/Santiago", "2025-04-05", "*/30 23 * * *", "23:00-03:00 23:30-03:00 23:00-04:00 23:30-04:00"),
    # Cairo 2025: 04-25 00:00 becomes 01:00, 10-30 24:00 becomes 23:00
    ("Africa/Cairo", "2025-04-25", "30 0 * * *", "01:00+03:00"),
    ("Africa/Cairo", "2025-04-25", "0,30 0,1 * * *", "01:00+03:00 01:30+03:00"),
    ("Africa/Cairo", "2025-10-30", "0 23 * * *", "23:00+03:00"),
    ("Africa/Cairo", "2025-10-31", "0 0 * * *", "00:00+02:00"),
    # Beirut 2025: 03-30 00:00 becomes 01:00
    ("Asia/Beirut", "2025-03-30", "0 0 * * *", "01:00+03:00"),
    ("Asia/Beirut", "2025-03-30", "0 0 30 3 *", "01:00+03:00"),
    ("Asia/Beirut", "2025-03-30", "*/30 0 * * *", ""),
    ("Asia/Beirut", "2025-03-30", "0 */12 * * *", "12:00+03:00"),
    # Casablanca 2025: for Ramadan, 02-23 03:00 becomes 02:00, 04-06 02:00 becomes 03:00
    ("Africa/Casablanca", "2025-02-23", "30 2 * * *", "02:30+01:00"),
    ("Africa/Casablanca", "2025-02-23", "*/30 2 * * *", "02:00+01:00 02:30+01:00 02:00+00:00 02:30+00:00"),
    ("Africa/Casablanca", "2025-04-06", "30 2 * * *", "03:00+01:00"),
    # Kathmandu: no changes, an odd offset
    ("Asia/Kathmandu", "2025-03-30", "30 2 * * *", "02:30+05:45"),
    ("Asia/Kathmandu", "2025-03-30", "*/30 2 * * *", "02:00+05:45 02:30+05:45"),
    # Scoresbysund 2025-03-29: 23:00 becomes 24:00, so the time is due on the next day
    ("America/Scoresbysund", "2025-03-29", "30 23 * * *", ""),
    ("America/Scoresbysund", "2025-03-30", "30 23 * * *", "00:00-01:00 23:30-01:00"),
    ("America/Scoresbysund", "2025-03-30", "0 0,23 * * *", "00:00-01:00 23:00-01:00"),
]


@pytest.mark.parametrize(("zone", "day", "text", "times"), GOLDEN)
def test_slots_of_a_golden_day(zone, day, text, times):
    """The four rules, written down for days that really come."""
    tz = ZoneInfo(zone)
    midnight = datetime.fromisoformat(day).replace(tzinfo=tz)
    after, until = midnight.astimezone(UTC) - TICK, (midnight + timedelta(days=1)).astimezone(UTC) - TICK

    slots = cron(text).between(after, until, tz)

    assert [slot.astimezone(tz).isoformat(timespec="minutes")[11:] for slot in slots] == times.split()
    assert cron(text).count(after, until, tz) == len(slots)


def test_a_missing_day_gives_its_time_to_the_next():
    """Apia had no 30 December 2011: its slot is due when the 31st begins, before that day's own."""
    tz = ZoneInfo("Pacific/Apia")
    after, until = datetime(2011, 12, 29, tzinfo=UTC), datetime(2012, 1, 1, tzinfo=UTC)

    slots = cron("30 2 * * *").between(after, until, tz)

    assert [slot.astimezone(tz).isoformat(timespec="minutes") for slot in slots] == [
        "2011-12-29T02:30-10:00",
        "2011-12-31T00:00+14:00",
        "2011-12-31T02:30+14:00",
        "2012-01-01T02:30+14:00",
    ]


def test_a_missing_day_is_one_slot_for_many_times():
    """All that a gap has swallowed is one slot, also where the gap is a whole day."""
    tz = ZoneInfo("Pacific/Apia")
    after, until = datetime(2011, 12, 30, 9, 59, tzinfo=UTC), datetime(2011, 12, 31, 9, 59, tzinfo=UTC)

    slots = cron("0 0-23 * * *").between(after, until, tz)

    assert [slot.astimezone(tz).hour for slot in slots] == [*range(24)]
    assert slots[0] == datetime(2011, 12, 30, 10, 0, tzinfo=UTC)


def test_a_rhythm_does_not_notice_a_missing_day():
    """Nobody lived that day, so every real hour has its slot and no more."""
    after, until = datetime(2011, 12, 29, tzinfo=UTC), datetime(2012, 1, 1, tzinfo=UTC)

    slots = cron("0 * * * *").between(after, until, ZoneInfo("Pacific/Apia"))

    assert slots == [after + number * HOUR for number in range(1, 73)]


def test_a_date_that_is_missing_is_due_on_the_next_day():
    """Apia, 30 December 2011: nothing that was due on a date is lost with the date."""
    tz = ZoneInfo("Pacific/Apia")

    slot = cron("0 12 30 12 *").next_after(datetime(2011, 12, 1, tzinfo=UTC), tz)

    assert slot.astimezone(tz).isoformat() == "2011-12-31T00:00:00+14:00"


@dataclass(frozen=True)
class Window:
    """Sixty hours around a change, minute by minute: what the laws are checked against."""

    zone: str
    change: datetime
    moments: list[datetime]
    readings: list[datetime]
    highest: list[datetime]  # the latest reading shown so far

    @property
    def after(self) -> datetime:
        return self.change - 26 * HOUR

    @property
    def until(self) -> datetime:
        return self.change + 26 * HOUR

    def chosen(self, minutes: set[int], hours: set[int]) -> list[datetime]:
        """Find each reading of the calendar at the first minute when the clock has reached it."""
        readings = calendar(self.highest[0], self.highest[-1], minutes, hours)
        return self._inside(sorted({self.moments[bisect_left(self.highest, reading)] for reading in readings}))

    def shown(self, minutes: set[int], hours: set[int]) -> list[datetime]:
        """Find each minute whose reading matches, however often that is shown."""
        return sorted(moment for time in product(hours, minutes) for moment in self._by_time[time])

    @cached_property
    def _by_time(self) -> dict[tuple[int, int], list[datetime]]:
        """List the minutes inside by the hour and the minute of what is shown then."""
        found: dict[tuple[int, int], list[datetime]] = defaultdict(list)
        first, last = bisect_right(self.moments, self.after), bisect_right(self.moments, self.until)
        for moment, reading in zip(self.moments[first:last], self.readings[first:last], strict=True):
            found[reading.hour, reading.minute].append(moment)
        return found

    def _inside(self, moments: list[datetime]) -> list[datetime]:
        return [moment for moment in moments if self.after < moment <= self.until]


def calendar(first: datetime, last: datetime, minutes: set[int], hours: set[int]) -> Iterator[datetime]:
    """Yield the matching readings after *first* up to *last*, with no clock changes."""
    day = first.replace(hour=0, minute=0, second=0)
    while day <= last:
        for hour, minute in product(sorted(hours), sorted(minutes)):
            reading = day + timedelta(hours=hour, minutes=minute)
            if first < reading <= last:
                yield reading
        day += timedelta(days=1)


def offset(moment: datetime, tz: tzinfo) -> timedelta:
    return moment.astimezone(tz).utcoffset() or timedelta()


@cache
def changes_of(zone: str) -> list[datetime]:
    """Find the changes by looking each day, then each minute: independently of crons.schedules.zones."""
    tz = ZoneInfo(zone)
    days = [SINCE + timedelta(days=number) for number in range((TO - SINCE).days + 1)]
    offsets = [offset(day, tz) for day in days]
    changed = [index for index in range(len(days) - 1) if offsets[index] != offsets[index + 1]]
    return [first_minute_without(offsets[index], days[index], tz) for index in changed]


def first_minute_without(old: timedelta, day: datetime, tz: tzinfo) -> datetime:
    return day + bisect_left(range(1440), True, key=lambda n: offset(day + n * MINUTE, tz) != old) * MINUTE


@cache
def every_change() -> list[tuple[str, datetime]]:
    """List every different change from 2024 to 2030 with a zone that has it, and a few extreme ones."""
    zones: dict[tuple[object, ...], tuple[str, list[datetime]]] = {}
    for zone in sorted(available_timezones()):
        tz, found = ZoneInfo(zone), changes_of(zone)
        key = (offset(SINCE, tz), *((change, offset(change, tz)) for change in found))
        # A zone that never changes is looked at too, on any day.
        zones.setdefault(key, (zone, found or [datetime(2027, 6, 15, 12, tzinfo=UTC)]))
    return EXTREME + [(zone, change) for zone, found in zones.values() for change in found]


def windows() -> Iterator[Window]:
    for zone, change in every_change():
        tz = ZoneInfo(zone)
        moments = [change + number * MINUTE for number in range(-30 * 60, 30 * 60 + 1)]
        readings = [moment.astimezone(tz).replace(tzinfo=None) for moment in moments]
        yield Window(zone, change, moments, readings, list(accumulate(readings, max)))


EXTREME = [
    ("Pacific/Apia", datetime(2011, 12, 30, 10, tzinfo=UTC)),  # a day that never was
    ("Pacific/Kwajalein", datetime(1969, 9, 30, 13, tzinfo=UTC)),  # a day that was there almost twice
    ("Pacific/Kwajalein", datetime(1993, 8, 20, 12, tzinfo=UTC)),  # a day that never was
    ("Antarctica/Troll", datetime(2025, 3, 30, 1, tzinfo=UTC)),  # two hours at once
    ("Asia/Pyongyang", datetime(2018, 5, 4, 15, tzinfo=UTC)),  # half an hour, at midnight
    ("America/Caracas", datetime(2007, 12, 9, 7, tzinfo=UTC)),  # half an hour back, for good
]
ALL = set(range(60))
DAY = set(range(24))
SINGLE_TIMES = [(0, 0), (30, 0), (30, 1), (0, 2), (30, 2), (0, 3), (15, 12), (30, 22), (30, 23)]
CHOSEN = [
    ("0,30 0-3 * * *", {0, 30}, {0, 1, 2, 3}),
    ("5-59/20 1,2,23 * * *", {5, 25, 45}, {1, 2, 23}),
    ("0 0-23 * * *", {0}, DAY),
    ("0-59 1,2,23 * * *", ALL, {1, 2, 23}),
]
SHOWN = [
    ("0 * * * *", {0}, DAY),
    ("40 * * * *", {40}, DAY),
    ("* 2 * * *", ALL, {2}),
    ("*/20 0 * * *", {0, 20, 40}, {0}),
    ("*/30 23 * * *", {0, 30}, {23}),
    ("*/15 1-3 * * *", {0, 15, 30, 45}, {1, 2, 3}),
    ("30 */2 * * *", {30}, set(range(0, 24, 2))),
    ("10 */3 * * *", {10}, set(range(0, 24, 3))),
]


def assert_all_questions_agree(schedule: Schedule, window: Window, slots: list[datetime]) -> None:
    """Check that between, count, next_after and latest all tell of exactly *slots*."""
    tz, told = ZoneInfo(window.zone), (schedule, window.zone, window.change)
    assert schedule.between(window.after, window.until, tz) == slots, told
    assert schedule.count(window.after, window.until, tz) == len(slots), told
    near = [slot for slot in slots if abs(slot - window.change) <= 3 * HOUR]
    for before, slot in pairwise(near[-12:]):
        assert schedule.latest(slot, tz) == schedule.next_after(before, tz) == slot, told
        assert schedule.latest(slot - TICK, tz) == before, told
    for probe in (window.change + shift for shift in PROBES):
        passed = bisect_right(slots, probe)
        assert schedule.count(window.after, probe, tz) == passed, (told, probe)
        assert schedule.count(probe, window.until, tz) == len(slots) - passed, (told, probe)
        assert schedule.between(probe, window.until, tz, limit=1) == slots[passed : passed + 1], (told, probe)
        if 0 < passed < len(slots):
            assert schedule.next_after(probe, tz) == slots[passed], (told, probe)
            assert schedule.latest(probe, tz) == slots[passed - 1], (told, probe)


PROBES = [-17 * MINUTE - SECOND, -TICK, timedelta(), 17 * MINUTE + SECOND, 45 * MINUTE, HOUR]


def test_a_single_time_is_due_when_the_clock_first_reaches_it():
    """Rules 1 and 2 at once: never lost in a gap, never twice in a fold."""
    for window in windows():
        for minute, hour in SINGLE_TIMES:
            slots = window.chosen({minute}, {hour})
            assert_all_questions_agree(cron(f"{minute} {hour} * * *"), window, slots)


def test_a_single_time_is_due_once_for_each_calendar_day():
    """What people mean by "daily". Only where a whole day is missing can two days share a slot."""
    for zone, change in every_change()[len(EXTREME) :]:
        tz, after, until = ZoneInfo(zone), change - 26 * HOUR, change + 26 * HOUR
        for minute, hour in SINGLE_TIMES:
            back = timedelta(hours=hour, minutes=minute)
            days = [(moment.astimezone(tz).replace(tzinfo=None) - back).date() for moment in (after, until)]
            found = cron(f"{minute} {hour} * * *").count(after, until, tz)
            assert found == (days[1] - days[0]).days, (zone, change, minute, hour)


def test_chosen_times_are_due_when_the_clock_first_reaches_them():
    """Lists and ranges are chosen times too; those in one gap are one slot."""
    for window in windows():
        for text, minutes, hours in CHOSEN:
            assert_all_questions_agree(cron(text), window, window.chosen(minutes, hours))


def test_a_rhythm_is_due_whenever_its_reading_is_shown():
    """Rule 3: with * in the minute or the hour, real time counts; twice in a fold, not at all in a gap."""
    for window in windows():
        for text, minutes, hours in SHOWN:
            assert_all_questions_agree(cron(text), window, window.shown(minutes, hours))


@pytest.mark.parametrize("minutes", [1, 5, 10, 15, 30])
def test_a_rhythm_that_divides_the_change_keeps_its_distance(minutes):
    """No change of these years is finer than half an hour, so nothing of up to 30 minutes notices any."""
    schedule = cron(f"*/{minutes} * * * *")

    for zone, change in every_change():
        slots = schedule.between(change - 6 * HOUR, change + 6 * HOUR, ZoneInfo(zone))
        assert {later - sooner for sooner, later in pairwise(slots)} == {minutes * MINUTE}, (zone, change)


def test_real_time_notices_no_change():
    """every() has the same slots in every zone."""
    schedule = every(minutes=25)

    for zone, change in every_change():
        span = (change - 6 * HOUR, change + 6 * HOUR)
        assert schedule.between(*span, ZoneInfo(zone)) == schedule.between(*span, UTC), (zone, change)


def test_counting_over_all_seven_years_is_exact_in_every_zone():
    """Arithmetic over years, against listing."""
    for zone in sorted({zone for zone, _ in every_change()}):
        for schedule in (cron("30 2 * * *"), cron("*/30 0-3 * * MON"), cron("0 0,1,2,23 * * *")):
            tz = ZoneInfo(zone)
            assert schedule.count(SINCE, TO, tz) == len(schedule.between(SINCE, TO, tz)), (schedule, zone)


def test_no_change_of_any_zone_is_overlooked():
    """changes() looks every three days; looking every day finds no more."""
    for zone in sorted(available_timezones()):
        found = [change.at for change in changes(SINCE, TO, ZoneInfo(zone))]
        assert found == changes_of(zone), zone
