"""Watching: `problems` says what is wrong now, `incidents` tells people of what is wrong over time."""

from crons.watch.alerts.outbox import send_due
from crons.watch.declarers import living
from crons.watch.incidents import FAILING, fingerprint, inspect
from crons.watch.undeclared import inspect_declarations
from crons.watch.unsynced import absent
from crons.watch.waiting import why_waiting

__all__ = ["FAILING", "absent", "fingerprint", "inspect", "inspect_declarations", "living", "send_due", "why_waiting"]
