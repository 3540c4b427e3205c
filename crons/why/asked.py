"""Which moment somebody means: a text read on the entry's own wall clock, and what clock changes did to it."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from crons.exceptions import Refused
from crons.schedules import FAR_FUTURE, Schedule, zones
from crons.why.facts import Asked, ClockChange

_TIME = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")
# "2026-10-25 2:30": Python wants two.
_HOUR_OF_ONE_DIGIT = re.compile(r"(?<=[T ])(\d:)")
_FIRST_YEAR, _LAST_YEAR = 3, 9998
_DAY = timedelta(days=1)


def read(
    moment: str | datetime, schedule: Schedule | None, zone: str, tz: tzinfo, now: datetime, *, since: datetime
) -> Asked:
    """Return the moment that is meant, in UTC; what has no offset is read in *tz*.

    A time alone is the last one that has come; a date alone is that day's first slot, of those after *since*.
    Raises: Refused if *moment* is none.
    """
    text = moment if isinstance(moment, str) else moment.isoformat()
    found = moment if isinstance(moment, datetime) else _parsed(text.strip(), zone)
    if isinstance(found, time):
        return _last_time(found, text, tz, now)
    if isinstance(found, datetime) and found.tzinfo is not None:
        return Asked(_bounded(found), text, beyond=found >= FAR_FUTURE)
    if not isinstance(found, datetime):
        return _first_of_day(found, text, schedule, tz, since)
    return _on_the_wall(found, text, tz)


def change_near(at: datetime, tz: tzinfo) -> ClockChange | None:
    """Return the clock change that a slot at *at* comes right after, if it does: times in its gap run then."""
    found = next(zones.changes(at - timedelta(seconds=1), at, tz), None)
    return ClockChange(*found) if found is not None and found.at == at else None


def _parsed(text: str, zone: str) -> datetime | date | time:
    expected = (
        f"{text[:60]!r} is no moment. Expected a time such as 09:00 (the last one that has come), a day such as "
        f"2026-10-25 (its first slot), or both, 2026-10-25T02:30, on the clock of the entry ({zone}); or with an "
        "offset, 2026-10-25T02:30+01:00."
    )
    try:
        if clock := _TIME.fullmatch(text):
            hour, minute, second = (int(part or 0) for part in clock.groups())
            return time(hour, minute, second)
        with suppress(ValueError):
            return date.fromisoformat(text)
        return datetime.fromisoformat(_HOUR_OF_ONE_DIGIT.sub(r"0\1", text).replace(" UTC", "+00:00"))
    except ValueError as error:
        raise Refused(expected) from error


def _bounded(at: datetime) -> datetime:
    # Near the end of what a datetime can hold an offset leads out of it.
    return FAR_FUTURE if at >= FAR_FUTURE else at.astimezone(UTC)


def _last_time(clock: time, text: str, tz: tzinfo, now: datetime) -> Asked:
    today = now.astimezone(tz).date()
    for day in (today, today - _DAY):
        found = _on_the_wall(datetime.combine(day, clock), text, tz)
        if found.again_at is not None and found.again_at <= now:
            return found
        if found.at <= now:
            return found
    return found


def _first_of_day(day: date, text: str, schedule: Schedule | None, tz: tzinfo, since: datetime) -> Asked:
    midnight = _on_the_wall(datetime.combine(day, time()), text, tz)
    if midnight.beyond or schedule is None:
        return midnight
    end = _on_the_wall(datetime.combine(day, time()) + _DAY, text, tz).at - timedelta.resolution
    before = since if midnight.at <= since < end else midnight.at - timedelta.resolution
    count = schedule.count(before, end, tz)
    return Asked(schedule.next_after(before, tz) if count else midnight.at, text, of_day=count)


def _on_the_wall(shown: datetime, text: str, tz: tzinfo) -> Asked:
    if shown.year > _LAST_YEAR:
        return Asked(FAR_FUTURE, text, beyond=True)
    shown = shown.replace(year=max(shown.year, _FIRST_YEAR), tzinfo=None, fold=0)
    first, second = (shown.replace(tzinfo=tz, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first == second:
        return Asked(first, text)
    change = ClockChange(*next(zones.changes(min(first, second) - timedelta(seconds=1), max(first, second), tz)))
    if change.is_gap:
        return Asked(change.at, text, change, shown)
    return Asked(first, text, change, shown, again_at=second)
