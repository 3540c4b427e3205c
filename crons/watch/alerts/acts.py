"""What people say to an incident: that they have seen it, or that they want to hear of it later."""

from __future__ import annotations

from datetime import datetime

from crons.exceptions import Refused
from crons.ledger import note, storable, verb, writing
from crons.models import Delivery, Incident
from crons.presentation import utc
from crons.watch.alerts.base import Notice
from crons.watch.alerts.outbox import notice_of, remind, route_of
from crons.watch.alerts.taking import REMINDER

BY, REASON = 150, 255


@verb
def acknowledge(incident_id: int, now: datetime, *, by: str, reason: str = "") -> Incident:
    """Note that somebody has an open incident in hand: nothing reminds of it any more; changes are told as before.

    Raises: Refused if there is no such incident, or it is over.
    """
    with writing() as using:
        incident = _open(incident_id, using)
        before = {"acknowledged_by": incident.acknowledged_by}
        incident.acknowledged_at, incident.acknowledged_by = now, storable(by, BY)
        incident.acknowledged_reason = storable(reason, REASON)
        columns = ["acknowledged_at", "acknowledged_by", "acknowledged_reason"]
        incident.save(using=using, update_fields=columns)
        waiting = Delivery.objects.using(using).filter(incident=incident, event__startswith=REMINDER, state="pending")
        waiting.update(state="dropped", next_try_at=None)
        after = {"acknowledged_by": incident.acknowledged_by}
        note("acknowledge", "incident", incident.pk, by, now, using, before=before, after=after, reason=reason)
    return incident


@verb
def snooze(incident_id: int, now: datetime, *, until: datetime, by: str, reason: str = "") -> Incident:
    """Tell nothing of an open incident until *until*, but its end; then it is told again, if it is still open.

    Raises: Refused if there is no such incident, if it is over, or if *until* is no moment to come.
    """
    if until.tzinfo is None or until <= now:
        raise Refused(f"{until.isoformat()} is no moment to come, so nothing can sleep until then.")
    with writing() as using:
        incident = _open(incident_id, using)
        before = {"snoozed_until": utc(incident.snoozed_until) if incident.snoozed_until else ""}
        incident.snoozed_until = until
        incident.save(using=using, update_fields=["snoozed_until"])
        told = Delivery.objects.using(using).filter(incident=incident)
        told.filter(state="pending").exclude(event__startswith=REMINDER).update(next_try_at=until, held=True)
        last = told.exclude(event__startswith=REMINDER).order_by("-pk").first()
        notice = notice_of(last) if last else _of(incident)
        remind(incident, notice, route_of(notice).to, until, using)
        after = {"snoozed_until": utc(until)}
        note("snooze", "incident", incident.pk, by, now, using, before=before, after=after, reason=reason)
    return incident


def _open(incident_id: int, using: str) -> Incident:
    incident = Incident.objects.using(using).select_for_update().filter(pk=incident_id).first()
    if incident is None:
        raise Refused(f"there is no incident {incident_id}. See: manage.py crons alert")
    if incident.closed_at is not None:
        raise Refused(f"incident {incident_id} is over since {utc(incident.closed_at)}.")
    return incident


def _of(incident: Incident) -> Notice:
    """Return a notice of an incident that nobody was told of."""
    entry = incident.entry
    return Notice(
        "opened",
        incident.rule,
        "warning",
        f"{entry.name}: {incident.summary}" if entry else incident.summary,
        entry=entry.name if entry else "",
        owner=entry.owner if entry else "",
        tags=tuple(str(tag) for tag in entry.tags) if entry else (),
        run_id=incident.run_id,
        since=incident.opened_at,
    )
