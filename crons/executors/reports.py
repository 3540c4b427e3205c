"""What an executor's host process still has to write down: kept until the ledger has taken it."""

from __future__ import annotations

from collections.abc import Iterable

from crons.attempts import Chunk, Finished, LedgerWriter
from crons.exceptions import LedgerUnavailable
from crons.side_output import get_log

RETRY_SECONDS = 1.0

logger = get_log("crons.executors")


class Reports:
    """Chunks and endings on their way to the ledger, in this order: an ended attempt's output is complete."""

    def __init__(self) -> None:
        self._chunks: list[Chunk] = []
        self._finished: dict[int, Finished] = {}
        self._silent = False

    @property
    def unfinished(self) -> frozenset[int]:
        """The attempts that have ended, and whose ending the ledger has not taken yet."""
        return frozenset(self._finished)

    def add_output(self, chunks: Iterable[Chunk]) -> None:
        self._chunks.extend(chunks)

    def add_ending(self, finished: Finished) -> None:
        self._finished[finished.attempt] = finished

    def write(self, writer: LedgerWriter) -> bool:
        """Write down everything; False when the ledger did not answer: repeat it, tokens and numbers stay."""
        try:
            self._write_output(writer)
            self._write_endings(writer)
        except LedgerUnavailable as error:
            self.note_silence(error)
            return False
        self._silent = False
        return True

    def note_silence(self, error: LedgerUnavailable) -> None:
        """Log the first of a row of failures."""
        if not self._silent:
            logger.warning("The ledger does not answer, trying again: %s", error)
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
