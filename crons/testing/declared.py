"""What is declared: which slots it has, and how a test declares without leaving a trace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from crons.conf import conf
from crons.exceptions import UnknownJob
from crons.jobs import Body, Declaration, Job, Registry, not_declared, registry
from crons.sources import sources
from crons.sources.code import CodeSource
from crons.testing.clock import moment_of


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


def find(asked: Body | Job | str) -> tuple[Declaration, Job]:
    """Return the entry and the job of a function, or of the name of either.

    Raises: UnknownJob.
    """
    if isinstance(asked, str) and asked in registry.entries:
        entry = registry.entries[asked]
        return entry, registry.get(entry.job)
    if isinstance(asked, str):
        job = registry.get(asked)
    else:
        known = registry.jobs.get(asked.name) if isinstance(asked, Job) else registry.job_for(asked)
        if known is None:
            raise UnknownJob(not_declared(getattr(asked, "__name__", None) or str(asked), registry.jobs))
        job = known
    return next(each for each in registry.entries.values() if each.job == job.name), job


@contextmanager
def sandbox(*, empty: bool = True) -> Iterator[Registry]:
    """Let a test declare jobs, and forget them after it; what the project declares comes back.

    Args: with *empty* nothing is declared inside at first, and CRONJOBS, CRON_CLASSES and crontab files are not
    read; without it, what the project declares stays.
    """
    jobs, entries = dict(registry.jobs), dict(registry.entries)
    with _only_code() if empty else nullcontext():
        if empty:
            registry.clear()
        try:
            yield registry
        finally:
            registry.clear()
            registry.jobs.update(jobs)
            registry.entries.update(entries)


@contextmanager
def _only_code() -> Iterator[None]:
    """Have no source read but code. CRONS is left alone: other fixtures may override and restore it in any order."""
    kept = list(sources())
    sources()[:] = [source for source in kept if isinstance(source, CodeSource)]
    try:
        yield
    finally:
        sources()[:] = kept
