"""Incidents in the stream of events: told once it is committed that they opened, came back or closed.

A transaction that is rolled back, or tried again, would have told of what never was, or twice.
"""

from __future__ import annotations

from django.db import transaction

from crons.models import Incident
from crons.side_output import get_log

events = get_log("crons.events")


def opened(incident: Incident, said: str, using: str) -> None:
    """Tell that *incident* has opened; *said* names what it is of, and holds no error: that may have secrets."""
    about = {"event": "incident.opened", "rule": incident.rule, "incident": incident.pk}
    transaction.on_commit(lambda: events.debug("incident opened: %s", said, extra=about), using=using)


def reopened(incident: Incident, said: str, using: str) -> None:
    """Tell that *incident*, which was over, is there again."""
    about = {"event": "incident.reopened", "rule": incident.rule, "incident": incident.pk}
    transaction.on_commit(lambda: events.debug("incident reopened: %s", said, extra=about), using=using)


def closed(incident: Incident, using: str) -> None:
    """Tell that *incident* is over."""
    about = {"event": "incident.closed", "rule": incident.rule, "incident": incident.pk}
    transaction.on_commit(lambda: events.debug("incident closed", extra=about), using=using)
