"""A stretch of time, played: the real ledger, waking up at each moment at which something is due."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import datetime
from typing import Any

from crons import api, ledger
from crons.exceptions import UnknownJob
from crons.jobs import not_declared, registry
from crons.models import Entry, Run
from crons.presentation import utc
from crons.schedules import FAR_FUTURE
from crons.testing import clock
from crons.testing.declared import sandbox
from crons.testing.scheduler import scheduler


def play(
    start: str | datetime, until: str | datetime, *, only: Collection[str] = (), pretend: bool = False
) -> list[Run]:
    """Let the declarations live through (start, until], as one scheduler that is always there would see it.

    The declarations are synced at *start*. At each moment at which something falls due, the ledger records,
    begins, and runs it in this process, where the clock stands at that moment; retries and mails come too.
    A job takes no time unless it says so: `clock.advance(minutes=35)`.
    Args: *only* names the entries that take part, default all; with *pretend* jobs are not called and succeed.
    Returns: the runs of that time by slot, with their entries; ranges are in the database.
    Raises: UnknownJob; ValueError where the database holds entries from after *start*.
    Cost: some 10 ms for each slot.
    """
    with clock.at(start) as now:
        began, end = now.now, clock.moment_of(until)
        names = _known(only)
        _refuse_the_past(began)
        api.sync()
        # Retire the others, so that nothing plans them; the next sync or play() brings them back.
        Entry.objects.exclude(name__in=names).update(retired_at=began, wake_at=FAR_FUTURE)
        with _pretending() if pretend else nullcontext(), scheduler() as here:
            while True:
                here.turn(end)
                wake_at = ledger.agenda().next_at()
                if wake_at is None or wake_at > end:
                    break
                now.move_to(wake_at)
    runs = Run.objects.select_related("entry")
    return list(runs.filter(planned_at__gt=began, planned_at__lte=end).order_by("planned_at", "entry__name", "pk"))


def _known(only: Collection[str]) -> list[str]:
    names = [only] if isinstance(only, str) else list(only)
    for name in names:
        if name not in registry.entries:
            raise UnknownJob(not_declared(name, registry.entries))
    return names or list(registry.entries)


@contextmanager
def _pretending() -> Iterator[None]:
    with sandbox(empty=False):
        for name, job in registry.jobs.items():
            registry.jobs[name] = replace(job, body=_nothing)
        yield


def _nothing(**given: Any) -> None:
    """Take any arguments."""


def _refuse_the_past(start: datetime) -> None:
    later = Entry.objects.filter(name__in=registry.entries, accounted_until__gt=start)
    for entry in later.order_by("name")[:1]:
        raise ValueError(
            f"{entry.name} is accounted for until {utc(entry.accounted_until)}, and the past is not "
            f"planned again: play from then on, or play in a test whose database has no entries yet."
        )
