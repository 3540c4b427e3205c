"""What the page of incidents asks: what is wrong over time, who was told of it by which channel, and who has it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.http import Http404

from crons import ledger
from crons.conf import conf
from crons.models import AuditEvent, Delivery, Incident
from crons.presentation import length, readable_line
from crons.web import rights

OPEN, CLOSED = 100, 50
# Of one incident so many messages are shown; and of all on the page so many are read.
MESSAGES, MOST_READ = 8, 1_000
# Of the page of one.
MOST_OF_ONE, EVENTS = 100, 50
TONES = {"critical": "bad", "warning": "warn", "info": "quiet"}
WORST_FIRST = list(TONES)
VIEW = rights.VIEW_INCIDENT
ACT = "crons.acknowledge_incident"
# How long people may want to hear nothing: what stands in the form, in words, and the length.
QUIET = {
    "1h": ("1 hour", timedelta(hours=1)),
    "4h": ("4 hours", timedelta(hours=4)),
    "1d": ("1 day", timedelta(days=1)),
    "7d": ("7 days", timedelta(days=7)),
}


@dataclass(frozen=True)
class Told:
    """One incident, and the messages about it, the newest first; *more* are older."""

    incident: Incident
    messages: list[Delivery] = field(default_factory=list)
    more: int = 0
    may_act: bool = False
    events: list[AuditEvent] = field(default_factory=list)
    as_of: datetime | None = None

    @property
    def tone(self) -> str:
        """The colour of how bad it is."""
        return TONES.get(self.incident.severity, "warn")

    @property
    def lasted(self) -> str:
        """How long it was open; empty while it is."""
        closed_at = self.incident.closed_at
        return length(closed_at - self.incident.opened_at) if closed_at else ""


@dataclass(frozen=True)
class Incidents:
    """The open incidents, the worst first, and those that are over, the newest first."""

    as_of: datetime
    opened: list[Told]
    closed: list[Told]
    more_opened: bool = False
    more_closed: bool = False


def look(user: Any) -> Incidents:
    """Read what *user* may see of incidents.

    Cost: four statements, and one for each kind of rights that a hook answers.
    """
    now = ledger.database_now()
    rows = rights.concerning(user, Incident.objects.using(conf.database), VIEW).select_related("entry")
    opened = list(rows.filter(open_key__isnull=False, closed_at=None).order_by("-changed_at", "-pk")[: OPEN + 1])
    closed = list(rows.filter(closed_at__isnull=False).order_by("-opened_at", "-pk")[: CLOSED + 1])
    shown = [*opened[:OPEN], *closed[:CLOSED]]
    rights.tell(user, shown)
    may_act = rights.permitted(user, ACT, [each.entry_id for each in shown if each.entry_id is not None])
    may_all = rights.may_all(user, ACT)
    messages = _messages(shown) if rights.may(user, "crons.view_delivery") else {}

    def told(incidents: Sequence[Incident]) -> list[Told]:
        return [
            Told(
                each,
                messages.get(each.pk, [])[:MESSAGES],
                max(len(messages.get(each.pk, [])) - MESSAGES, 0),
                may_all if each.entry_id is None else each.entry_id in may_act,
            )
            for each in incidents
        ]

    worst = sorted(opened[:OPEN], key=lambda each: WORST_FIRST.index(each.severity) if each.severity in TONES else 1)
    return Incidents(now, told(worst), told(closed[:CLOSED]), len(opened) > OPEN, len(closed) > CLOSED)


def look_at(row: Incident, user: Any) -> Told:
    """Read what there is of one incident that *user* may see.

    Cost: three statements.
    """
    now = ledger.database_now()
    rows = AuditEvent.objects.using(conf.database).filter(subject_type="incident", subject=str(row.pk))
    events = list(rows.order_by("-at", "-pk")[:EVENTS])
    messages: list[Delivery] = []
    if rights.may(user, "crons.view_delivery"):
        sent = Delivery.objects.using(conf.database).filter(incident=row).defer("notice")
        messages = list(sent.order_by("-pk")[: MOST_OF_ONE + 1])
        if rights.is_shared(row) and not rights.may_all(user, rights.VIEW):
            for message in messages:  # its subject may be the name of one of the others
                message.subject = row.summary
    may_act = rights.may_all(user, ACT) if row.entry is None else rights.may(user, ACT, row.entry)
    more = len(messages) > MOST_OF_ONE
    return Told(row, messages[:MOST_OF_ONE], int(more), may_act and row.closed_at is None, events, now)


def incident_of(number: str, user: Any) -> Incident:
    """Return the incident whose number stands in an address.

    Raises: Http404 where that is none, or there is none that *user* may see.
    """
    if not (number.isascii() and number.isdecimal() and len(number) < 19):
        raise Http404(f"{readable_line(number)[:40]!r} is no number of an incident.")
    rows = rights.concerning(user, Incident.objects.using(conf.database), VIEW).select_related("entry")
    found = rows.filter(pk=int(number)).first()
    if found is None:
        raise Http404(f"There is no incident {int(number)}: it never was, or it was pruned.")
    rights.tell(user, [found])
    return found


def _messages(incidents: Iterable[Incident]) -> dict[int, list[Delivery]]:
    rows = Delivery.objects.using(conf.database).filter(incident__in=[each.pk for each in incidents])
    # What they said may be long, and is not shown here.
    columns = ("incident_id", "event", "channel", "state", "tries", "next_try_at", "sent_at", "error")
    found: dict[int, list[Delivery]] = {}
    for each in rows.only(*columns).order_by("-pk")[:MOST_READ]:
        found.setdefault(each.incident_id, []).append(each)
    return found
