"""The ledger: the only code that writes runs, ranges and attempts.

Three writes matter, a file each: *record* (slot → row), *begin* (row → attempt with a lease) and
*finish* (outcome → verdict). The entry's row lock decides who records and who begins; unique keys
are the seat belt. Every verb is one transaction, may be repeated, and raises LedgerUnavailable
when the database does not answer.
"""

from crons.ledger.agenda import Agenda, agenda
from crons.ledger.audit import kept, note
from crons.ledger.begin import begin, keep_keys, read_attempt
from crons.ledger.clock import ClockWatch, Corrected, correct_clock, require_believable, require_near
from crons.ledger.deployment import permit
from crons.ledger.entries import account_of, locked, policy_of, refuse_retired, slot_key
from crons.ledger.expire import expire
from crons.ledger.finish import (
    cancel_entry,
    cancel_open,
    fenced,
    finish,
    renew,
    request_cancel,
    write_output,
)
from crons.ledger.maintenance.backfill import backfill
from crons.ledger.maintenance.prune import Pruned, prune
from crons.ledger.maintenance.reconcile import Reconciled, reconcile
from crons.ledger.mending import mend_moments
from crons.ledger.merge import is_busy, merge
from crons.ledger.pauses import (
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
from crons.ledger.queue import full_groups
from crons.ledger.record import Recorded, account_for, record, record_entry, write_off_retired
from crons.ledger.release import release
from crons.ledger.reopen import retry
from crons.ledger.requests import request
from crons.ledger.send import send, take_back
from crons.ledger.settle import settle
from crons.ledger.silence import Watchdog, keep_alive
from crons.ledger.transactions import BATCH, database_now, reading, verb, writing
from crons.ledger.upcoming import UpcomingSlot, slots_of
from crons.ledger.work import add_counts, write_progress

__all__ = [
    "BATCH",
    "Agenda",
    "ClockWatch",
    "Corrected",
    "Pruned",
    "Reconciled",
    "Recorded",
    "UpcomingSlot",
    "Watchdog",
    "account_for",
    "account_of",
    "active_pauses",
    "add_counts",
    "agenda",
    "apply_pauses",
    "backfill",
    "begin",
    "cancel_entry",
    "cancel_open",
    "correct_clock",
    "database_now",
    "describe_pause",
    "expire",
    "fenced",
    "finish",
    "full_groups",
    "is_busy",
    "keep_alive",
    "keep_keys",
    "kept",
    "lock_deployment",
    "locked",
    "mend_moments",
    "merge",
    "note",
    "pause",
    "pause_all",
    "pause_new",
    "permit",
    "policy_of",
    "prune",
    "read_attempt",
    "reading",
    "reconcile",
    "record",
    "record_entry",
    "refuse_retired",
    "release",
    "renew",
    "request",
    "request_cancel",
    "require_believable",
    "require_near",
    "resume",
    "resume_all",
    "retry",
    "send",
    "settle",
    "slot_key",
    "slots_of",
    "take_back",
    "verb",
    "wide_pauses",
    "write_off_retired",
    "write_output",
    "write_progress",
    "writing",
]
