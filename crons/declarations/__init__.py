"""From what code and sources declare to rows: the only writer of what entries are."""

from crons.declarations.entries import reschedule
from crons.declarations.retiring import Retire
from crons.declarations.sync import Synced

__all__ = ["Retire", "Synced", "reschedule"]
