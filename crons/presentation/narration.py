"""Incidents in the stream of events: told once it is committed that they opened, came back or closed.

A transaction that is rolled back, or tried again, would have told of what never was, or twice.
"""

from __future__ import annotations

from django.db import transaction

from crons.events import stream
from crons.models import Incident


def incident_opened(incident: Incident, said: str, using: str) -> None:
    """Tell that *incident* has opened; *said* names what it is of, and holds no error: that may have secrets."""
    about = {"event": "incident.opened", "rule": incident.rule, "incident": incident.pk}
    transaction.on_commit(lambda: stream.debug("incident opened: %s", said, extra=about), using=using, robust=True)


def incident_reopened(incident: Incident, said: str, using: str) -> None:
    """Tell that *incident*, which was over, is there again."""
    about = {"event": "incident.reopened", "rule": incident.rule, "incident": incident.pk}
    transaction.on_commit(lambda: stream.debug("incident reopened: %s", said, extra=about), using=using, robust=True)


def incident_closed(incident: Incident, using: str) -> None:
    """Tell that *incident* is over."""
    about = {"event": "incident.closed", "rule": incident.rule, "incident": incident.pk}
    transaction.on_commit(lambda: stream.debug("incident closed", extra=about), using=using, robust=True)
