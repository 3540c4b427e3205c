"""What an executor's host process still has to write down: kept until the ledger has taken it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable

from crons.attempts import Chunk, Finished, LedgerWriter
from crons.exceptions import LedgerUnavailable
from crons.side_output import get_log

RETRY_SECONDS = 1.0
FLUSH_SECONDS = 0.5

logger = get_log("crons.executors")


class Reports:
    """Chunks and endings on their way to the ledger, in this order: an ended attempt's output is complete.

    Endings are due at once, output after FLUSH_SECONDS, and after a ledger's silence both after RETRY_SECONDS.
    """

    def __init__(self) -> None:
        self._chunks: list[Chunk] = []
        self._finished: dict[int, Finished] = {}
        self._silent = False
        self._flush_at = math.inf
        self._retry_at = -math.inf

    @property
    def due_at(self) -> float:
        """When there is something to write, as time.monotonic() counts."""
        return self._retry_at if self._finished else max(self._flush_at, self._retry_at)

    @property
    def is_due(self) -> bool:
        """Whether there is something to write now."""
        return time.monotonic() >= self.due_at

    @property
    def unfinished(self) -> frozenset[int]:
        """The attempts that have ended, and whose ending the ledger has not taken yet."""
        return frozenset(self._finished)

    def note_output(self) -> None:
        """Have write() due before long: an attempt has output to be added then."""
        self._flush_at = min(self._flush_at, time.monotonic() + FLUSH_SECONDS)

    def retry_now(self) -> None:
        """Wait no more after a silence: somebody has time for it."""
        self._retry_at = -math.inf

    def add_output(self, chunks: Iterable[Chunk]) -> None:
        self._chunks.extend(chunks)

    def add_ending(self, finished: Finished) -> None:
        self._finished[finished.attempt] = finished

    def write(self, writer: LedgerWriter) -> bool:
        """Write down everything; False when the ledger did not answer: repeat it, tokens and numbers stay."""
        now = time.monotonic()
        try:
            self._write_output(writer)
            self._write_endings(writer)
        except LedgerUnavailable as error:
            self.note_silence(error)
            self._retry_at = self._flush_at = now + RETRY_SECONDS
            return False
        self._silent, self._flush_at = False, math.inf
        return True

    def note_silence(self, error: LedgerUnavailable) -> None:
        """Log the first of a row of failures."""
        if not self._silent:
            logger.warning("The ledger does not answer, trying again: %s", error, extra={"event": "ledger.silent"})
        self._silent = True

    def _write_output(self, writer: LedgerWriter) -> None:
        if not self._chunks:
            return
        # Taken out first: a chunk that the ledger refuses for good must not block every ending behind it.
        chunks, self._chunks = self._chunks, []
        try:
            writer.write_output(chunks)
        except LedgerUnavailable:
            self._chunks = chunks
            raise

    def _write_endings(self, writer: LedgerWriter) -> None:
        if not self._finished:
            return
        writer.finish(list(self._finished.values()))
        self._finished.clear()
