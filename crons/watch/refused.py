"""The rule *refused*: the database took no writes for a while, told by whoever writes first afterwards.

While it lasts nobody can open an incident; so this one is opened and closed at once. Each process tells what it has
noted (`crons/ledger/refusals.py`): what overlaps is one stretch, and stretches within an hour are one incident. Its
message waits a moment, so that it holds what all processes saw.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from crons.ledger import lock_deployment, verb, writing
from crons.ledger.refusals import Refused, refused_writes
from crons.models import Delivery, Incident
from crons.presentation import incident_closed, incident_opened, length, utc
from crons.watch import incidents
from crons.watch.alerts import Notice, enqueue
from crons.watch.rules import RULES

REFUSED = "refused"
KEY = "refused:all"
# For the processes that notice a little later that it takes writes again: a scheduler waits up to five seconds.
GATHERING = timedelta(seconds=30)
MOST_PROCESSES = 50
NEXT_STEP = (
    "See the database's own log of that time, and its disk. What fell due meanwhile: "
    "manage.py crons history --since {since}"
)


@verb
def tell(now: datetime) -> None:
    """Note what was refused, in one incident, once it can be written. Cost: no statement while there is nothing."""
    with refused_writes.taken() as found:
        if not found:
            return
        since, last = min(each.first_at for each in found), max(each.last_at for each in found)
        with writing() as using:
            # Two processes must not open one each.
            lock_deployment(using)
            incident = _lately(now, using)
            # One refusal, or those of a moment, is what a lock or a failover costs: the next turn did it.
            if last - since < RULES[REFUSED].lasts and not (incident and since <= _until(incident)):
                return
            _note(incident, found, now, using)


def _lately(now: datetime, using: str) -> Incident | None:
    """Lock the last one, where that is not long over."""
    rows = Incident.objects.using(using).select_for_update()
    rows = rows.filter(key=KEY, open_key=None, closed_at__gt=now - RULES[REFUSED].calm)
    return rows.order_by("-closed_at", "-pk").first()


def _note(incident: Incident | None, found: Sequence[Refused], now: datetime, using: str) -> None:
    since, last = min(each.first_at for each in found), max(each.last_at for each in found)
    is_new = incident is None
    if incident is None:
        severity = RULES[REFUSED].severity
        incident = Incident(rule=REFUSED, key=KEY, severity=severity, opened_at=min(since, now), count=0)
        incident.data = {"stretches": 0, "processes": [], "until": ""}
    is_another = is_new or since > _until(incident)
    data: dict[str, Any] = incident.data
    data["stretches"] += is_another
    data["since"] = since.isoformat() if is_another else min(since, incidents.since_of(incident)).isoformat()
    # Known to be over: now, or for what another process has told of already, since then.
    until = max(now, since) if is_another else max(_until(incident), last)
    data["until"] = until.isoformat()
    data["processes"] = sorted({*data["processes"], *(each.process for each in found)})[:MOST_PROCESSES]
    data["error"] = max(found, key=lambda each: each.last_at).error
    incident.count += sum(each.attempts for each in found)
    incident.changed_at = incident.closed_at = until
    data["next_step"] = NEXT_STEP.format(since=incidents.since_of(incident).strftime("%Y-%m-%dT%H:%MZ"))
    incident.summary = f"{_subject(incident)}: {data['error']}"[:255]
    incident.save(using=using)
    _enqueue(incident, now, using, is_new=is_new, is_another=is_another)


def _enqueue(incident: Incident, now: datetime, using: str, *, is_new: bool, is_another: bool) -> None:
    stretches = incident.data["stretches"]
    notice = _notice(incident)
    if is_new:
        incident_opened(incident, "the database refused writes", using)
        incident_closed(incident, using)
    if is_new or (is_another and stretches in RULES[REFUSED].steps):
        enqueue(incident, f"{REFUSED}:{stretches}", notice, now, using)
        waits = Delivery.objects.using(using).filter(incident=incident, event=f"{REFUSED}:{stretches}", state="pending")
        waits.filter(next_try_at=now).update(next_try_at=now + GATHERING)
        return
    # What nobody has begun to send yet says all that is known by now.
    untold = Delivery.objects.using(using).filter(incident=incident, state="pending", tries=0, taken_at=None)
    cleaned = notice.cleaned()
    untold.update(subject=cleaned.subject, notice=cleaned.as_json())


def _notice(incident: Incident) -> Notice:
    data, since = incident.data, incidents.since_of(incident)
    facts = [("from", utc(since)), ("until", f"{utc(_until(incident))}, {length(_until(incident) - since)}")]
    if data["stretches"] > 1:
        facts.append(("times", f"{data['stretches']} since {utc(incident.opened_at)}"))
    facts += [("attempts", f"{incident.count:,}"), ("processes", ", ".join(data["processes"]))]
    text = f"The last was refused with: {data['error']}"
    subject = _subject(incident)
    return Notice(
        "worsened" if data["stretches"] > 1 else "opened",
        REFUSED,
        incident.severity,
        subject,
        tuple(facts),
        text,
        data["next_step"],
        since=since,
    )


def _subject(incident: Incident) -> str:
    since, until = incidents.since_of(incident), _until(incident)
    attempts = f"{incident.count:,} attempts" if incident.count != 1 else "1 attempt"
    again = f", {incident.data['stretches']} times" if incident.data["stretches"] > 1 else ""
    return f"database refused writes from {utc(since)} to {utc(until)}{again}: {attempts}"


def _until(incident: Incident) -> datetime:
    try:
        return datetime.fromisoformat(incident.data.get("until") or "")
    except (TypeError, ValueError):
        return incident.closed_at or incident.changed_at
