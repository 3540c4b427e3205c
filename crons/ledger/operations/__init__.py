"""What people ask of the ledger: runs, other tries, stops, pauses, and that holes are filled."""

from crons.ledger.operations.backfilling import backfill
from crons.ledger.operations.pauses import (
    active_pauses,
    apply_pauses,
    describe_pause,
    lock_deployment,
    pause,
    pause_all,
    pause_new,
    resume,
    resume_all,
    wide_pauses,
)
from crons.ledger.operations.runs import cancel_entry, cancel_open, request, request_cancel, retry

__all__ = [
    "active_pauses",
    "apply_pauses",
    "backfill",
    "cancel_entry",
    "cancel_open",
    "describe_pause",
    "lock_deployment",
    "pause",
    "pause_all",
    "pause_new",
    "request",
    "request_cancel",
    "resume",
    "resume_all",
    "retry",
    "wide_pauses",
]
