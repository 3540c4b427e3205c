"""The incident of entries that no running code declares: nothing begins them, and no sync has retired them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime

from crons.conf import conf
from crons.exceptions import LedgerUnavailable
from crons.ledger import reading, verb, writing
from crons.models import Entry, Incident
from crons.side_output import get_log
from crons.watch import declarers
from crons.watch.alerts import Notice, outbox
from crons.watch.declared import NEXT_STEP, UNDECLARED, find

log = get_log("crons")
SEVERITY = "critical"


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
        still_open = Incident.objects.using(using).filter(open_key=UNDECLARED).exists()
    lasting = [entry for entry, since in found if since is None or since <= now - conf.grace]
    if lasting or (still_open and not found):
        _write(lasting, now)


@verb
def _write(entries: Sequence[Entry], now: datetime) -> None:
    with writing() as using:
        incident = Incident.objects.using(using).select_for_update().filter(open_key=UNDECLARED).first()
        if not entries:
            if incident is not None:
                incident.closed_at, incident.open_key = now, None
                incident.save(using=using, update_fields=["closed_at", "open_key"])
                outbox.enqueue(incident, "closed", _closed(incident), now, using)
            return
        names = [entry.name for entry in entries]
        mark = hashlib.sha256("\n".join(names).encode()).hexdigest()
        if incident is not None and incident.fingerprint == mark:
            return
        what = names[0] if len(names) == 1 else f"{len(names)} jobs"
        summary = f"declared by no running code: {', '.join(names)}"[:255]
        is_new = incident is None
        if incident is None:
            incident = Incident(rule=UNDECLARED, open_key=UNDECLARED, opened_at=now)
        incident.fingerprint, incident.summary, incident.count, incident.changed_at = mark, summary, len(names), now
        incident.save(using=using)
        lines = [f"  {entry.name}: {declarers.last_declared(entry)}" for entry in entries]
        notice = Notice(
            "opened" if is_new else "worsened",
            UNDECLARED,
            SEVERITY,
            f"{what} declared by no running code",
            text="\n".join(["No running code declares, so nothing begins:", "", *lines]),
            next_step=f"{NEXT_STEP}.",
            since=incident.opened_at,
        )
        outbox.enqueue(incident, f"{UNDECLARED}:{mark}", notice, now, using)


def _closed(incident: Incident) -> Notice:
    text = f"Every entry is declared again, or retired: {incident.summary}"
    subject = "all jobs are declared again"
    return Notice("closed", UNDECLARED, SEVERITY, subject, text=text, since=incident.opened_at)
