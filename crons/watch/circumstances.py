"""What a message of an entry's trouble says besides: when it last went well, and what was changed since."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from crons.models import AuditEvent, Entry
from crons.presentation import utc
from crons.watch.rules import terms_of
from crons.watch.usual import last_success_of

# What has an entry run otherwise than before: its declaration, or somebody who put it on another schedule.
CHANGES = {"change": "declared anew", "return": "declared again", "reschedule": "put on another schedule"}
CHANGES_TOLD = 3


def recalled(rule: str, entry: Entry, using: str) -> Iterator[tuple[str, str]]:
    """Yield the facts, where *rule* is one that recalls them.

    Cost: two statements, of one run and of the entry's audit events; for use where a message is written.
    """
    if not terms_of(rule).recalls:
        return
    last = last_success_of([entry.pk]).get(entry.pk)
    yield "last success", utc(last) if last else "none on record"
    if last is not None:
        yield from _changed_since(entry, last, using)


def _changed_since(entry: Entry, last: datetime, using: str) -> Iterator[tuple[str, str]]:
    events = AuditEvent.objects.using(using).filter(subject_type="entry", subject=entry.name)
    for event in events.filter(verb__in=CHANGES, at__gt=last).order_by("-pk")[:CHANGES_TOLD]:
        before, after = _dict(event.before), _dict(event.after)
        where = "".join(f", {name} {after[name]}" for name in ("host", "release") if after.get(name))
        turned = [
            f"{name} {before.get(name) or 'none'} → {after.get(name) or 'none'}"
            for name in ("schedule", "zone")
            if before.get(name) != after.get(name)
        ]
        parts = [f"{CHANGES[event.verb]} {utc(event.at)} by {event.actor}{where}", ", ".join(turned), event.reason]
        yield "changed since", "; ".join(part for part in parts if part)


def _dict(kept: Any) -> dict[str, Any]:
    # Somebody may have garbled it by hand.
    return kept if isinstance(kept, dict) else {}
