"""Signals, sent after commit through send_robust: a receiver's error never reaches the ledger.

recorded: sender=None, recorded=Recorded.  run_ended: sender=None, run=Run.
attempt_begun: sender=None, begun=Begun.  attempt_finished: sender=None, attempt=Attempt.
"""

from django.dispatch import Signal

recorded = Signal()
attempt_begun = Signal()
attempt_finished = Signal()
run_ended = Signal()
