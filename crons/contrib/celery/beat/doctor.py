"""Whether Celery's beat fires our rows."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from django.apps import apps

from crons.contrib.celery.beat import rows
from crons.doctor.findings import BAD, GOOD, WARN, Finding
from crons.ledger import database_now
from crons.presentation import utc

SAVES = timedelta(minutes=5)  # beat writes down what it fired every three


def examine() -> tuple[Iterable[Finding], bool]:
    """Return a finding where rows of ours are, and whether its beat should fire them."""
    fired = rows.last_tick() if apps.is_installed(rows.APP) else None
    if fired is None:
        return (), False
    if not fired.enabled:
        found = "the row crons.tick is disabled: what no row fires is not done"
        finding = Finding("beat", BAD, found, "an enabled row", "Enable it in the admin of django-celery-beat.")
    elif fired.at is None or database_now() - fired.at > SAVES:
        last = f"last at {utc(fired.at)}" if fired.at else "not yet"
        remedy = "Start a beat: celery -A PROJECT beat. It writes this down every three minutes."
        finding = Finding("beat", WARN, f"our rows are there, and beat fired crons.tick {last}", "each minute", remedy)
    else:
        finding = Finding("beat", GOOD, f"fires crons.tick, last at {utc(fired.at)}")
    return [finding], fired.enabled
