"""Rules about declarations: entries that no code declares, jobs without an entry, modules that cannot be imported."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet

from crons.conf import conf
from crons.jobs import registry
from crons.ledger import reading, verb
from crons.models import Entry, Heartbeat
from crons.sources import sources
from crons.watch import declarers
from crons.watch.look import READ, Look, Problem

UNDECLARED = "undeclared"
NEXT_STEP = (
    "Start the code that declares it (is its app in INSTALLED_APPS?), or, if it is to go: manage.py crons sync there"
)
NAMED = 5
# Up to so many names a statement is given those that are declared.
COMPARED = 100


def broken(look: Look) -> Iterator[Problem]:
    """The `cron` modules that this process could not import, so that it begins none of their jobs."""
    for module, why in sorted(registry.broken.items()):
        yield Problem("broken", f"no job of {module} is begun here: {why}", next_step="See: manage.py check")


def undeclared(look: Look) -> Iterator[Problem]:
    """The entries that no running scheduler declares; a tick vouches for its own, as does a `run` of one entry."""
    for entry, since in find(look.schedulers, look.now, look.visible):
        yield Problem.of(UNDECLARED, _text(entry), entry, since=since, next_step=NEXT_STEP)


def find(
    schedulers: Sequence[Heartbeat], now: datetime, visible: Callable[[QuerySet[Any]], QuerySet[Any]]
) -> list[tuple[Entry, datetime | None]]:
    """List the *visible* entries that nobody declares, and since when; none where that is not known.

    Where no scheduler runs, this process's code stands for those that come and go.
    Cost: one statement; of more declared names than COMPARED one that reads all names, and one more where any is found.
    """
    known = declarers.declared_by(schedulers) if schedulers else set(registry.entries)
    if known is None or (not schedulers and registry.broken):
        return []
    known_sources = [each.name for each in sources()]
    live = visible(Entry.objects.using(conf.database)).filter(retired_at=None, source__in=known_sources)
    unvouched = Q(vouched_until=None) | Q(vouched_until__lt=now)
    found = live.filter(unvouched)
    if not schedulers:
        found = found.exclude(declared_at=None)  # from before this was written down: nobody can tell
    if len(known) <= COMPARED:
        found = found.exclude(name__in=known)
    else:
        # A hundred thousand parameters take ten times as long to write as a hundred thousand names to read.
        others = sorted(name for (name,) in found.values_list("name").iterator(10_000) if name not in known)
        found = live.filter(name__in=others[:READ]) if others else live.none()
    started = min((beat.started_at for beat in schedulers), default=None)
    return [(entry, _since(entry, started)) for entry in found.order_by("name")[:READ]]


def _since(entry: Entry, started: datetime | None) -> datetime | None:
    """Return the first moment from which on nobody is known to have declared it."""
    moments = [each for each in (entry.vouched_until or entry.declared_at, started) if each is not None]
    return max(moments, default=None)


def _text(entry: Entry) -> str:
    return f"no running code declares it, so nothing begins it; {declarers.last_declared(entry)}"


def unsynced(look: Look) -> Iterator[Problem]:
    """The jobs that this process declares and that have no row, or one that is retired: none of them falls due."""
    unseen = set(registry.entries) - {entry.name for entry in look.entries}
    if not unseen:
        return
    rows = dict(Entry.objects.using(conf.database).filter(name__in=unseen).values_list("name", "retired_at"))
    lacking = sorted(name for name in unseen if name not in rows)
    retired = sorted(name for name, retired_at in rows.items() if retired_at is not None)
    for names, where in ((lacking, "not in this database"), (retired, "retired in this database")):
        if names:
            text = f"declared here, but {where}, so that nothing of it falls due: {_named(names)}"
            yield Problem("unsynced", text, next_step="Write it: manage.py crons sync")


@verb
def absent() -> set[str]:
    """Name the entries that this process declares and that have no row at all. Cost: one statement."""
    declared = set(registry.entries)
    with reading() as using:
        return declared - set(Entry.objects.using(using).filter(name__in=declared).values_list("name", flat=True))


def _named(names: list[str]) -> str:
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")
