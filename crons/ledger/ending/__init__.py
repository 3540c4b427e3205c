"""What attempts report, and how they and their runs end: finished, expired, settled, or back in the queue."""

from crons.ledger.ending.expiring import expire
from crons.ledger.ending.finishing import finish, renew, write_output
from crons.ledger.ending.unstarted import release_unstarted, requeue, requeue_entry, settle
from crons.ledger.ending.work import add_counts, write_progress

__all__ = [
    "add_counts",
    "expire",
    "finish",
    "release_unstarted",
    "renew",
    "requeue",
    "requeue_entry",
    "settle",
    "write_output",
    "write_progress",
]
