"""A schedule in the fields of django-celery-beat's crontab, and back: exactly, or not at all."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from crons.exceptions import InvalidSchedule
from crons.schedules import Cron, Every, Never, Schedule, WallClock, cron, every
from crons.targets import Unfit, fitting

FIELDS = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
BOTH_DAYS = "it names days of the month and of the week, which cron and Celery's crontab join otherwise"


def of(schedule: Schedule, zone: str) -> tuple[str, str] | None:
    """Return five fields and the zone that Celery reads them in; None for NEVER.

    Raises: Unfit, with the reason.
    """
    if isinstance(schedule, Never):
        return None
    if isinstance(schedule, Cron):
        return _text(schedule.clock, both=schedule.clock.both_days), zone
    if isinstance(schedule, Every):
        # Celery counts an interval from its own last run; ours from a moment that all hosts share.
        return _text(cron(fitting.text_of(schedule)).clock, both=True), "UTC"
    raise Unfit("it joins several schedules with |, and a row has one")


def read(row: Any) -> tuple[str, str]:
    """Return what a PeriodicTask's schedule says: five fields and their zone, or "every 600s" and no zone.

    Raises: Unfit if the ledger knows no such schedule.
    """
    if row.crontab is not None:
        text = " ".join(str(getattr(row.crontab, name)).replace(" ", "") for name in FIELDS)
        try:
            return _text(cron(text).clock, both=True), str(row.crontab.timezone)
        except InvalidSchedule as error:
            raise Unfit(f"the crontab {text!r} is none of cron's: {error}") from error
    if row.interval is not None:
        try:
            return every(timedelta(**{row.interval.period: row.interval.every})).text, ""
        except (InvalidSchedule, OverflowError) as error:  # of two billion days Python makes no length
            length = f"{row.interval.every} {row.interval.period}"
            raise Unfit(f"the interval of {length} is none of crons': {error}") from error
    kind = "solar event" if row.solar is not None else "clocked time" if row.clocked is not None else "missing schedule"
    raise Unfit(f"a {kind} is no schedule of crons")


def _text(clock: WallClock, *, both: bool) -> str:
    """Write the five fields as Celery reads them, alike for alike sets of one kind.

    The kind is whether it follows real time through a clock change (a * begins the minute or the hour): read back,
    it is the same, though Celery itself makes no difference. *both*: a day must be in both day fields.
    """
    all_days, all_weekdays = len(clock.days) == 31, len(clock.weekdays) == 7
    if not (all_days or all_weekdays):
        raise Unfit(BOTH_DAYS)
    daily = not both
    return " ".join(
        [
            *_times(clock),
            "*" if daily or all_days else fitting.field(clock.days, 32, stars=False),
            "*" if len(clock.months) == 12 else fitting.field(clock.months, 13, stars=False),
            "*" if daily or all_weekdays else fitting.field(clock.weekdays, 7, stars=False),
        ]
    )


def _times(clock: WallClock) -> tuple[str, str]:
    """Write minutes and hours, one of them with a * in front where, and only where, the clock follows real time."""
    stars = clock.follows_real_time
    minute, hour = fitting.field(clock.minutes, 60, stars=stars), fitting.field(clock.hours, 24, stars=stars)
    if stars and not minute.startswith("*") and not hour.startswith("*"):
        # It said */2,5: some step of it is in there, for the field began with one.
        starred = _starred(clock.minutes, 60)
        return (starred, hour) if starred else (minute, _starred(clock.hours, 24))
    return minute, hour


def _starred(values: frozenset[int], size: int) -> str:
    """Write *values* with a step of all in front, the finest that is in there; empty where none is."""
    for step in range(2, size + 1):
        steps = frozenset(range(0, size, step))
        if steps <= values:
            rest = values - steps
            return f"*/{step}" + (f",{fitting.field(rest, size, stars=False)}" if rest else "")
    return ""
