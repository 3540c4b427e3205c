"""From the text in a row to the schedule that it means."""

from __future__ import annotations

import re
from datetime import timedelta
from functools import lru_cache

from crons.schedules.base import NEVER, Schedule, checked_text, checked_zone
from crons.schedules.intervals import UNITS, every
from crons.schedules.several import any_of
from crons.schedules.wall import cron
from crons.schedules.wallclock import refused


def parse(text: str, *, zone: str | None = None) -> Schedule:
    """Return the schedule that a row's text means.

    It is crontab fields, a nickname, "every 300s", several of these with | between them, or "" for NEVER.

    Raises: InvalidSchedule
    Cost: the last 4,096 texts are remembered, because every planning pass reads those of its rows.
    """
    return _parse(checked_text(text), checked_zone(zone))


@lru_cache(maxsize=4096)
def _parse(text: str, zone: str | None) -> Schedule:
    text = text.strip()
    if not text:
        return NEVER
    if "|" in text:
        return any_of(*(_parse(part, None) for part in text.split("|")), zone=zone)
    if not text.startswith("every"):
        return cron(text, zone=zone)
    match = re.fullmatch("every +([0-9]{1,14})([smhd])", text)
    if match is None:
        raise refused(repr(text), "expected 'every', a number and s, m, h or d, as in 'every 300s'")
    _, size = UNITS[match[2]]
    seconds = int(match[1]) * size
    if not 1 <= seconds <= timedelta.max.total_seconds():
        raise refused(repr(text), "expected at least 1 second and at most 999999999 days")
    return every(seconds=seconds, zone=zone)
