"""Rules about declarations: entries that no code declares, jobs without an entry, modules that cannot be imported."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime

from django.db import connections
from django.db.models import Q

from crons.conf import conf
from crons.jobs import registry
from crons.ledger import fetch, reading, verb
from crons.models import Entry
from crons.sources import sources
from crons.watch import declarers
from crons.watch.look import READ, Look, Problem

UNDECLARED = "undeclared"
NEXT_STEP = (
    "Start the code that declares it (is its app in INSTALLED_APPS?), or, if it is to go: manage.py crons sync there"
)
NAMED = 5


def broken(look: Look) -> Iterator[Problem]:
    """The `cron` modules that this process could not import, so that it begins none of their jobs."""
    for module, why in sorted(registry.broken.items()):
        yield Problem("broken", f"no job of {module} is begun here: {why}", next_step="See: manage.py check")


def undeclared(look: Look) -> Iterator[Problem]:
    """The entries that no running scheduler declares; a tick vouches for its own, as does a `run` of one entry.

    Where no scheduler runs, this process's code stands for those that come and go.
    Cost: one statement; the database compares the names, so that a hundred thousand are not carried to here.
    """
    schedulers = look.schedulers
    if not all(getattr(beat, "says_what", False) for beat in schedulers) or (not schedulers and registry.broken):
        return  # nobody can tell
    live = look.visible(Entry.objects.using(conf.database)).filter(retired_at=None)
    unvouched = Q(vouched_until=None) | Q(vouched_until__lt=look.now)
    found = live.filter(unvouched, source__in=[each.name for each in sources()])
    found = found.exclude(declarers.is_declared(schedulers))
    if not schedulers:
        found = found.exclude(declared_at=None)  # from before this was written down: nobody can tell
    started = min((beat.started_at for beat in schedulers), default=None)
    for entry in found.order_by("name")[:READ]:
        since = _since(entry, started)
        yield Problem.of(UNDECLARED, _text(entry), entry, since=since, next_step=NEXT_STEP)


def _since(entry: Entry, started: datetime | None) -> datetime | None:
    """Return the first moment from which on nobody is known to have declared it."""
    moments = [each for each in (entry.vouched_until or entry.declared_at, started) if each is not None]
    return max(moments, default=None)


def _text(entry: Entry) -> str:
    return f"no running code declares it, so nothing begins it; {declarers.last_declared(entry)}"


def unsynced(look: Look) -> Iterator[Problem]:
    """The jobs that this process declares and that have no row, or one that is retired: none of them falls due.

    Who may not see all entries is not told of others' jobs. Cost: one statement where any is not among those that wake
    first.
    """
    unseen = set(registry.entries) - {entry.name for entry in look.entries}
    if not unseen or not look.sees_all:
        return
    found = _without_live_row(unseen)
    lacking = sorted(name for name, is_retired in found.items() if not is_retired)
    retired = sorted(name for name, is_retired in found.items() if is_retired)
    for names, where in ((lacking, "not in this database"), (retired, "retired in this database")):
        if names:
            text = f"declared here, but {where}, so that nothing of it falls due: {_named(names)}"
            yield Problem("unsynced", text, next_step="Write it: manage.py crons sync")


def _without_live_row(names: Collection[str]) -> dict[str, bool]:
    """Return which of *names* have no row in service, and whether they have one that is retired."""
    using = conf.database
    # One parameter: to write a hundred thousand takes longer than to look them up.
    each = "json_each(%(names)s) n" if connections[using].vendor == "sqlite" else "unnest(%(names)s::text[]) n(value)"
    sql = f"""
        SELECT n.value, e.id IS NOT NULL FROM {each} LEFT JOIN crons_entry e ON e.name = n.value
        WHERE e.id IS NULL OR e.retired_at IS NOT NULL"""  # noqa: S608 (nothing is put in but these words)
    return {name: bool(is_retired) for name, is_retired in fetch(sql, {"names": sorted(names)}, using)}


@verb
def absent() -> set[str]:
    """Name the entries that this process declares and that have no row at all. Cost: one statement."""
    declared = set(registry.entries)
    with reading() as using:
        return declared - set(Entry.objects.using(using).filter(name__in=declared).values_list("name", flat=True))


def _named(names: list[str]) -> str:
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")
