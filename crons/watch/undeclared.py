"""Entries that no running code declares: nothing will begin them, and nobody said that they should go."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from django.db.models import Q

from crons.conf import conf
from crons.exceptions import LedgerUnavailable
from crons.jobs import registry
from crons.ledger import verb, writing
from crons.ledger.transactions import reading
from crons.models import Entry, Heartbeat, Incident
from crons.presentation import utc
from crons.side_output import get_log
from crons.sources import sources
from crons.watch import declarers
from crons.watch.alerts import Message, outbox

if TYPE_CHECKING:
    from crons.watch.problems import Look, Problem

log = get_log("crons")
RULE = "undeclared"
NEXT_STEP = (
    "Start the code that declares it (is its app in INSTALLED_APPS?), or, if it is to go: manage.py crons sync there"
)
READ = 300


def undeclared(look: Look) -> Iterator[Problem]:
    """The entries that no running scheduler declares; a tick vouches for its own, as does a `run` of one entry."""
    from crons.watch.problems import Problem

    for entry, since in find(look.schedulers, look.now):
        yield Problem.of(RULE, _text(entry), entry, since=since, next_step=NEXT_STEP)


def find(schedulers: Sequence[Heartbeat], now: datetime) -> list[tuple[Entry, datetime | None]]:
    """List the entries that nobody declares, and since when; none where that cannot be told.

    Where no scheduler runs, this process's code stands for those that come and go.
    Cost: one statement.
    """
    known = declarers.declared_by(schedulers) if schedulers else set(registry.entries)
    if known is None or (not schedulers and registry.broken):
        return []
    live = Entry.objects.using(conf.database).filter(retired_at=None, source__in=[each.name for each in sources()])
    unvouched = Q(vouched_until=None) | Q(vouched_until__lt=now)
    found = live.filter(unvouched).exclude(name__in=known)
    if not schedulers:
        found = found.exclude(declared_at=None)  # from before this was written down: nobody can tell
    started = min((beat.started_at for beat in schedulers), default=None)
    return [(entry, _since(entry, started)) for entry in found.order_by("name")[:READ]]


def _since(entry: Entry, started: datetime | None) -> datetime | None:
    """Return the first moment from which on nobody is known to have declared it."""
    moments = [each for each in (entry.vouched_until or entry.declared_at, started) if each is not None]
    return max(moments, default=None)


def _text(entry: Entry) -> str:
    return f"no running code declares it, so nothing begins it; {declarers.last_declared(entry)}"


def inspect_declarations(now: datetime, vouching: str = "") -> None:
    """Open an incident when entries are declared by nobody for longer than a restart takes; close it when none is.

    One for all of them, and one mail: an app that is missing takes away many at once.
    Args: *vouching* is what this process is called, if it has no heartbeat: it vouches for its entries first.
    Cost: three statements while all is well, one more with *vouching*.
    """
    if vouching:
        declarers.vouch(vouching, now)
    try:
        _inspect(now)
    except LedgerUnavailable as error:
        log.warning("what is declared could not be looked at; the next pass does it: %s", error)


@verb
def _inspect(now: datetime) -> None:
    # A scheduler has one thread: while it waited for somebody's lock here, its jobs' leases would end.
    with reading() as using:
        found = find(declarers.living(now), now)
        still_open = Incident.objects.using(using).filter(open_key=RULE).exists()
    lasting = [entry for entry, since in found if since is None or since <= now - conf.grace]
    if lasting or (still_open and not found):
        _write(lasting, now)


@verb
def _write(entries: Sequence[Entry], now: datetime) -> None:
    with writing() as using:
        incident = Incident.objects.using(using).select_for_update().filter(open_key=RULE).first()
        if not entries:
            if incident is not None:
                incident.closed_at, incident.open_key = now, None
                incident.save(using=using, update_fields=["closed_at", "open_key"])
                text = f"Every entry is declared again, or retired; since {utc(incident.opened_at)}: "
                message = Message("all jobs are declared again", text + incident.summary)
                outbox.enqueue(incident, "closed", message, now, using)
            return
        names = [entry.name for entry in entries]
        mark = hashlib.sha256("\n".join(names).encode()).hexdigest()
        if incident is not None and incident.fingerprint == mark:
            return
        what = names[0] if len(names) == 1 else f"{len(names)} jobs"
        summary = f"declared by no running code: {', '.join(names)}"[:255]
        if incident is None:
            incident = Incident(rule=RULE, open_key=RULE, opened_at=now)
        incident.fingerprint, incident.summary, incident.count, incident.changed_at = mark, summary, len(names), now
        incident.save(using=using)
        lines = [f"  {entry.name}: {declarers.last_declared(entry)}" for entry in entries]
        text = "\n".join(["No running code declares, so nothing begins:", "", *lines, "", f"{NEXT_STEP}."])
        subject = f"{what} declared by no running code"
        outbox.enqueue(incident, f"{RULE}:{mark}", Message(subject, text), now, using)
