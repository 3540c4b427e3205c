"""The days and ISO weeks of the business: whole ones, half-open, on the clock of its zone."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

DAILY, WEEKLY = "daily", "weekly"
_DAYS = {DAILY: 1, WEEKLY: 7}
# After a longer absence nobody reads a report of each day.
MOST_AT_ONCE = {DAILY: 31, WEEKLY: 5}


@dataclass(frozen=True)
class Period:
    """A day (*name* 2026-11-21) or an ISO week (2026-W47): from *since* to just before *until*, both UTC."""

    kind: str
    name: str
    first_day: date
    since: datetime
    until: datetime
    zone: ZoneInfo


def of_day(kind: str, day: date, zone: ZoneInfo) -> Period:
    """Give the period of *kind* that *day* lies in."""
    first = day if kind == DAILY else day - timedelta(days=day.weekday())
    year, week, _ = first.isocalendar()
    name = first.isoformat() if kind == DAILY else f"{year}-W{week:02}"
    return Period(kind, name, first, midnight(first, zone), midnight(first + timedelta(_DAYS[kind]), zone), zone)


def before(period: Period) -> Period:
    """Give the period of the same kind just before *period*."""
    return of_day(period.kind, period.first_day - timedelta(days=1), period.zone)


def ended(kind: str, since: datetime, until: datetime, zone: ZoneInfo) -> list[Period]:
    """List the periods that ended in (*since*, *until*], the oldest first; the last that ended is always among them.

    So a run that comes after a week of absence makes up for the days in between, and a first one has something to say.
    Of more than MOST_AT_ONCE the newest are listed.
    """
    found: list[Period] = []
    for period in _backwards(kind, until, zone):
        if (found and period.until <= since) or len(found) == MOST_AT_ONCE[kind]:
            break
        found.append(period)
    return found[::-1]


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """Give the moment at which *day* begins in *zone*, as UTC.

    Where clocks go over midnight, forwards or back, it is the moment of the change or the first midnight: zoneinfo
    reads a time in a gap by the offset before it.
    """
    return datetime.combine(day, time(), zone).astimezone(UTC)


def _backwards(kind: str, until: datetime, zone: ZoneInfo) -> Iterator[Period]:
    period = of_day(kind, until.astimezone(zone).date(), zone)
    while True:
        # In Samoa there was no 30 December 2011: a day of no length has nothing to report.
        if period.since < period.until <= until:
            yield period
        period = before(period)
