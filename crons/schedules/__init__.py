"""When a job is due: pure values, time in and moments out.

Three kinds: ``cron`` (the time of a wall clock, as Debian cron means it), ``every`` (real time), ``NEVER``;
and ``any_of`` several of them.
A moment is always an aware UTC datetime; *tz* is where the fields of a crontab text are read.
"""

from crons.schedules.base import FAR_FUTURE, FAR_PAST, LONGEST_TEXT, NEVER, Never, Schedule
from crons.schedules.intervals import EPOCH, Every, every
from crons.schedules.parsing import parse
from crons.schedules.several import AnyOf, any_of
from crons.schedules.wall import NICKNAMES, Cron, cron
from crons.schedules.wallclock import WallClock
from crons.schedules.zones import is_zone, nearest_zone

__all__ = [
    "EPOCH",
    "FAR_FUTURE",
    "FAR_PAST",
    "LONGEST_TEXT",
    "NEVER",
    "NICKNAMES",
    "AnyOf",
    "Cron",
    "Every",
    "Never",
    "Schedule",
    "WallClock",
    "any_of",
    "cron",
    "every",
    "is_zone",
    "nearest_zone",
    "parse",
]
