"""What the ledger needs now and then: old rows deleted, a backup taken over, clocks and garbled moments put right."""

from crons.ledger.maintenance.clock import Corrected, correct_clock
from crons.ledger.maintenance.mending import mend_moments
from crons.ledger.maintenance.merging import is_busy, merge
from crons.ledger.maintenance.pruning import Pruned, prune
from crons.ledger.maintenance.reconciling import Reconciled, reconcile

__all__ = [
    "Corrected",
    "Pruned",
    "Reconciled",
    "correct_clock",
    "is_busy",
    "mend_moments",
    "merge",
    "prune",
    "reconcile",
]
