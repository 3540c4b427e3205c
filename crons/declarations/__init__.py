"""From what code and sources declare to rows: the only writer of what entries are."""

from crons.declarations.arguments import Parameter, check_complete, parameters_of
from crons.declarations.arguments import check as check_arguments
from crons.declarations.entries import reschedule
from crons.declarations.retiring import Retire
from crons.declarations.sync import Synced
from crons.declarations.sync import sync as sync_declarations

__all__ = [
    "Parameter",
    "Retire",
    "Synced",
    "check_arguments",
    "check_complete",
    "parameters_of",
    "reschedule",
    "sync_declarations",
]
