"""What is declared: which slots it has, and how a test declares without leaving a trace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from django.conf import settings
from django.test import override_settings

from crons.conf import conf
from crons.jobs import Registry, registry
from crons.testing.clock import moment_of

OTHER_SOURCES = ("CRONJOBS", "CRON_CLASSES")


class Due(NamedTuple):
    """A slot of an entry: *at* in UTC, *local* as people in the entry's zone see it."""

    at: datetime
    entry: str
    local: str


def due(at: str | datetime, until: str | datetime | None = None, *, zone: str | None = None) -> list[Due]:
    """List the slots that the declarations have at a moment, or in [at, until); soonest first, then by entry.

    Args: a moment means its whole minute, as cron does, so *until* is by default a minute later. Texts without an
    offset are readings of the wall clock in *zone*, default CRONS["TIME_ZONE"].
    Cost: no database; grows with the slots returned.
    """
    start = moment_of(at, zone)
    if until is None:
        start = start.replace(second=0, microsecond=0)
    end = start + timedelta(minutes=1) if until is None else moment_of(until, zone)
    found = []
    for entry in registry.entries.values():
        tz = ZoneInfo(entry.schedule.zone or conf.time_zone)
        slots = entry.schedule.between(start - timedelta.resolution, end - timedelta.resolution, tz)
        found += [Due(slot, entry.name, slot.astimezone(tz).isoformat(" ", "seconds")) for slot in slots]
    return sorted(found)


@contextmanager
def sandbox(*, empty: bool = True) -> Iterator[Registry]:
    """Let a test declare jobs, and forget them after it; what the project declares comes back.

    Args: with *empty* nothing is declared inside at first, by code, CRONJOBS or CRON_CLASSES; without it,
    what the project declares stays.
    """
    jobs, entries = dict(registry.jobs), dict(registry.entries)
    nothing: dict[str, list[object]] = {name: [] for name in OTHER_SOURCES if empty and hasattr(settings, name)}
    with override_settings(**nothing):
        if empty:
            registry.clear()
        try:
            yield registry
        finally:
            registry.clear()
            registry.jobs.update(jobs)
            registry.entries.update(entries)
