"""What a job says of its work, written to its attempt's record; apart, because few jobs say anything."""

from __future__ import annotations

import time
from collections import Counter

from django.db import DatabaseError

from crons.attempts import Counts, Progress
from crons.exceptions import CronsError
from crons.executors.output import storable
from crons.executors.work import Work
from crons.ledger import add_counts, write_progress
from crons.redaction import Redaction, of_project
from crons.side_output import get_log

PROGRESS_SECONDS = 1.0
LONGEST_TEXT = 255
LONGEST_REASON = 100

logger = get_log("crons.executors")


class RecordedWork(Work):
    """Writes what a job says to the record of *attempt*, without secrets."""

    def __init__(self, attempt: int) -> None:
        super().__init__()
        self._attempt = attempt
        self._next_at = 0.0
        self._is_silent = False
        self._redaction: Redaction | None = None

    def report(self, counts: Counts) -> None:
        reasons = Counter[str]()
        for reason, count in counts.skipped.items():
            reasons[self._clean(reason, LONGEST_REASON)] += count
        add_counts(self._attempt, Counts(counts.examined, counts.changed, counts.failed, reasons))

    def show(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress == self.progress or (now < self._next_at and progress.done != progress.total):
            return
        self.progress, self._next_at = progress, now + PROGRESS_SECONDS
        try:
            write_progress(
                self._attempt, Progress(progress.done, progress.total, self._clean(progress.text, LONGEST_TEXT))
            )
        except (CronsError, DatabaseError) as error:
            # Like what it prints: that nobody can see it now is no reason to end the work. Once for each silence.
            if not self._is_silent:
                about = {"event": "progress.waiting", "attempt": self._attempt}
                logger.warning("Attempt %d: its progress could not be written: %s", self._attempt, error, extra=about)
            self._is_silent = True
        else:
            self._is_silent = False

    def _clean(self, text: str, longest: int) -> str:
        if not text:
            return ""
        self._redaction = self._redaction or of_project()
        return storable(self._redaction.hide(text))[:longest]
