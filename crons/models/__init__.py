"""The tables. Only the ledger writes runs, ranges and attempts; everything else may read."""

from crons.models.deployment import AuditEvent, Deployment, Heartbeat
from crons.models.entries import Entry, Pause
from crons.models.incidents import Delivery, Incident
from crons.models.rows import is_text
from crons.models.runs import UNREMARKABLE, Attempt, OutputChunk, Range, Run, WorkReport, not_well, well

__all__ = [
    "UNREMARKABLE",
    "Attempt",
    "AuditEvent",
    "Delivery",
    "Deployment",
    "Entry",
    "Heartbeat",
    "Incident",
    "OutputChunk",
    "Pause",
    "Range",
    "Run",
    "WorkReport",
    "is_text",
    "not_well",
    "well",
]
