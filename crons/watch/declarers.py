"""Who declares what: which entries a process's code has, and which other processes say so of theirs.

A running scheduler says it in the row of its heartbeat, for as long as it lives. A process that comes and goes, a tick
or a `run` of one entry, vouches for its entries for a while. Nothing of this changes what an entry is.
"""

# ruff: noqa: S608 (what is put into the texts stands in this file; values are parameters)

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from django.db import connections
from django.db.models import BooleanField, Q, QuerySet
from django.db.models.expressions import RawSQL

from crons.conf import conf
from crons.exceptions import LedgerUnavailable
from crons.hosts import host, is_gone
from crons.jobs import registry
from crons.ledger import verb
from crons.models import Entry, Heartbeat
from crons.presentation import utc

# Long enough for a tick every half hour; it is written anew when half of it is over.
VOUCHED = timedelta(hours=1)
# Every project has the jobs that crons brings along.
OWN = "crons."


@verb
def note_declared(kind: str, now: datetime) -> None:
    """Write down that a process of *kind* declares what this one's code does; `serve` and `sync` do when they start."""
    _entries().update(declared_at=now, declared_by=_who(kind))


def vouch(kind: str, now: datetime) -> None:
    """Have the entries of this code count as declared for a while, though no scheduler may run.

    Cost: one statement, two where half of the time is over. A database that is away stops nobody.
    """
    with suppress(LedgerUnavailable):
        _vouch(kind, now)


@verb
def _vouch(kind: str, now: datetime) -> None:
    fading = _entries().filter(Q(vouched_until=None) | Q(vouched_until__lt=now + VOUCHED / 2))
    if fading.exists():
        fading.update(declared_at=now, declared_by=_who(kind), vouched_until=now + VOUCHED)


def living(now: datetime) -> list[Heartbeat]:
    """List the running schedulers, by host: those that are not silent and that this machine's kernel still knows."""
    beats = Heartbeat.objects.using(conf.database).filter(expected_by__gte=now).order_by("host", "started_at")
    return [beat for beat in beats if not is_gone(beat.instance, beat.boot_id)]


def declared_by(schedulers: Iterable[Heartbeat]) -> set[str] | None:
    """Return the names that *schedulers* declare together, or None where one of them has not written down which."""
    names: set[str] = set()
    for beat in schedulers:
        if beat.declares is None:
            return None
        names.update(beat.declares)
    return names


def is_declared(schedulers: Collection[Heartbeat]) -> RawSQL:
    """Return SQL for: the entry is one that *schedulers* declare; where there are none, this process.

    Where they declare the same, as they mostly do, their names are read once.
    """
    is_sqlite = connections[conf.database].vendor == "sqlite"
    ids: list[Any] = [beat.pk for beat in schedulers]
    if ids:
        of = ", ".join(["%s"] * len(ids))
        lists, given = f"(SELECT DISTINCT declares AS names FROM crons_heartbeat WHERE id IN ({of})) d", ids
    else:
        lists = "(SELECT %s AS names) d" if is_sqlite else "(SELECT %s::jsonb AS names) d"
        given = [json.dumps(list(registry.entries))]
    each = "json_each(d.names) n" if is_sqlite else "jsonb_array_elements_text(d.names) n(value)"
    sql = f"crons_entry.name IN (SELECT n.value FROM {lists} CROSS JOIN {each})"
    return RawSQL(sql, given, output_field=BooleanField())


def of_other_projects(names: Collection[str], former: Collection[str], now: datetime) -> dict[str, str]:
    """Say of entries which living scheduler declares them that shares none with *names*: it is another project's.

    Args: *former* are names that ours once had: who declares nothing but such is an older release.
    """
    mine = own_names(names)
    others: dict[str, str] = {}
    for beat in living(now):
        theirs = own_names(beat.declares or ())
        if mine and not mine & theirs and not theirs <= set(former):
            others.update(dict.fromkeys(theirs, describe(beat)))
    return others


def last_declared(entry: Entry) -> str:
    """Say when a process last declared *entry*, and which."""
    if entry.declared_at is None:
        return "it is not known who declared it last"
    return f"last declared {utc(entry.declared_at)} by {entry.declared_by}"


def describe(beat: Heartbeat) -> str:
    """Name a scheduler, with the release that it runs."""
    release = f", release {beat.release}" if beat.release else ""
    return f"{beat.kind} on {beat.host} (pid {beat.pid}{release})"


def own_names(names: Iterable[str]) -> set[str]:
    """Return those of *names* that are a project's own, not what crons brings along."""
    return {name for name in names if not name.startswith(OWN)}


def _entries() -> QuerySet[Entry]:
    return Entry.objects.using(conf.database).filter(retired_at=None, name__in=list(registry.entries))


def _who(kind: str) -> str:
    release = f", release {conf.release}" if conf.release else ""
    return f"{kind} on {host()}{release}"[:255]
