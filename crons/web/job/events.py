"""One timeline of an entry: runs and ranges, pauses, deploys, changes of its schedule, incidents, what people did."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from crons.models import AuditEvent, Entry, Incident
from crons.presentation import length, local, words
from crons.redaction import for_people
from crons.web.jobs.marks import Mark

SHOWN = 50
# Fewer are shown one by one.
FOLDED = 4


@dataclass(frozen=True)
class Event:
    """Something that happened to an entry, in words."""

    at: datetime
    kind: str
    says: str
    tone: str = ""
    detail: str = ""
    run_id: int | None = None
    took: timedelta | None = None
    since: datetime | None = None


def timeline(
    entry: Entry,
    marks: Iterable[Mark],
    audit: Sequence[AuditEvent],
    incidents: Sequence[Incident],
    deploys: Sequence[tuple[datetime, str]],
    before: datetime | None = None,
) -> tuple[list[Event], datetime | None]:
    """Put all in one order, the newest first; return a page of it, and before which moment the next one begins.

    Of each kind SHOWN are given at most: what is older than the oldest of a full kind is on the next page.
    """
    found = [*map(_of_mark, marks), *(_of_audit(each, entry) for each in audit)]
    found += [event for each in incidents for event in _of_incident(each)]
    found += [Event(at, "deploy", f"Release {release} began to run.") for at, release in deploys]
    found = [each for each in found if before is None or each.at < before]
    found.sort(key=lambda each: each.at, reverse=True)
    if len(found) <= SHOWN:
        return found, None
    # What happened at one moment stays together: the next page begins before it.
    last = found[SHOWN - 1].at
    return [each for each in found if each.at >= last], last


def folded(events: Iterable[Event]) -> Iterator[Event]:
    """Make one of several runs in a row that succeeded: among fifty lines that are alike nobody sees the others."""
    for is_well, group in groupby(events, key=lambda each: each.kind == "run" and each.tone == "good"):
        rows = list(group)
        if not is_well or len(rows) < FOLDED:
            yield from rows
            continue
        lengths = sorted(each.took for each in rows if each.took is not None)
        took = f", each took {length(lengths[0])} to {length(lengths[-1])}" if lengths else ""
        newest, oldest = rows[0], rows[-1]
        yield Event(
            newest.at, "runs", f"{len(rows)} runs in a row succeeded", "good", took.lstrip(", "), since=oldest.at
        )


def changes_of(audit: Iterable[AuditEvent], deploys: Iterable[tuple[datetime, str]]) -> list[tuple[datetime, str]]:
    """Return what may have changed how long it takes: deploys, and changes of the schedule or the declaration."""
    found = [(at, f"release {release}") for at, release in deploys]
    for event in audit:
        if event.verb in ("change", "return", "reschedule"):
            release = _get(event.after, "release")
            found.append((event.at, f"release {release}" if release else words(event.verb)))
    return found


def _of_mark(mark: Mark) -> Event:
    if mark.first_at is not None:
        many = f"{mark.count} slots" if mark.count > 1 else "A slot"
        span = f", from {local(mark.first_at, mark.zone)} on" if mark.count > 1 else ""
        return Event(mark.at, "range", f"{many} {mark.verdict}{span}", mark.tone)
    kind = "run" if mark.kind == "slot" else words(mark.kind)
    took = f"took {length(mark.took)}" if mark.took is not None and mark.is_over else ""
    return Event(mark.at, kind, mark.verdict, mark.tone, took, mark.run_id, mark.took)


def _of_incident(incident: Incident) -> Iterator[Event]:
    said = f"{words(incident.rule)}: {incident.summary}"
    count = f"counted {incident.count} times" if incident.count > 1 else ""
    yield Event(incident.opened_at, "incident", f"Opened: {said}", "bad", count, incident.run_id)
    if incident.closed_at is not None:
        lasted: timedelta = incident.closed_at - incident.opened_at
        yield Event(incident.closed_at, "incident", f"Closed: {said}", "good", f"after {length(lasted)}")


def _of_audit(event: AuditEvent, entry: Entry) -> Event:
    scope = {"all": " with everything", "tag": f" with all tagged {event.subject!r}"}.get(event.subject_type, "")
    says = f"{SAID.get(event.verb, words(event.verb).capitalize())}{scope}"
    by = f" by {event.actor}" if event.actor else ""
    reason = f": {event.reason}" if event.reason else "."
    kind = {"pause": "pause", "resume": "pause", "change": "deploy", "return": "deploy"}.get(event.verb, "change")
    return Event(event.at, kind, f"{says}{by}{reason}", "", _changed(event, entry))


SAID = {
    "pause": "Paused",
    "resume": "Resumed",
    "reschedule": "Put on another schedule",
    "change": "Declared anew",
    "return": "Declared again",
    "retire": "Retired",
    "rename": "Renamed",
    "merge": "Merged",
    "backfill": "Slots run after all",
    "mend": "Mended",
    "cancel": "Cancelled",
}


def _changed(event: AuditEvent, entry: Entry) -> str:
    """Say what was before and what is after, where they differ, without secrets."""
    before, after = (for_people(each) if isinstance(each, dict) else {} for each in (event.before, event.after))
    parts = []
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name), after.get(name)
        if old == new or (not old and not new):
            continue
        if old and new:
            parts.append(f"{words(name)} {old} → {new}")
        elif new:
            parts.append(f"{words(name)} {new}")
        elif event.verb not in ("resume",):
            parts.append(f"{words(name)} was {old}")
    return ", ".join(parts)[:500]


def _get(found: Any, name: str) -> str:
    return str(found.get(name) or "") if isinstance(found, dict) else ""
