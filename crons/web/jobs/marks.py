"""A mark of a strip: one slot or many that ended alike, in words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from operator import attrgetter

from crons.presentation import describe_verdict, length, local, words
from crons.verdicts import State

# A page has three thousand marks, of a dozen words.
_described = lru_cache(maxsize=100)(describe_verdict)

_in_order = attrgetter("at", "number")


# Not frozen: of the time in which a page of them is made, a third went into that.
@dataclass(slots=True)
class Mark:
    """One slot, one request, or many slots that were written off together: *count* of them from *first_at* on."""

    at: datetime
    zone: str
    word: str
    reason: str = ""
    run_id: int | None = None
    kind: str = "slot"
    took: timedelta | None = None
    first_at: datetime | None = None
    count: int = 1
    is_over: bool = True

    @property
    def number(self) -> int:
        """Return what orders it among marks of one moment."""
        return self.run_id or 0

    @property
    def tone(self) -> str:
        """Return the colour's name: good, bad, warn, or quiet for what is not over."""
        return _described(self.word).tone if self.is_over else "quiet"

    @property
    def is_running(self) -> bool:
        """Whether an attempt at it goes on."""
        return not self.is_over and self.word == State.RUNNING

    @property
    def verdict(self) -> str:
        """Say how it ended or stands: "missed (catch up)"."""
        return _described(self.word, self.reason).text

    @property
    def said(self) -> str:
        """Say all of it in a line: "succeeded, 2026-11-30 02:00:00 +00:00, 4.0 s"."""
        if self.first_at is not None and self.count > 1:
            span = f"{local(self.first_at, self.zone)} to {local(self.at, self.zone)}"
            return f"{self.count} slots {self.verdict}, {span}"
        took = f", {length(self.took)}" if self.took is not None and self.is_over else ""
        kind = f", {words(self.kind)}" if self.kind != "slot" else ""
        return f"{self.verdict}, {local(self.at, self.zone)}{took}{kind}"


def newest(marks: Iterable[Mark], count: int) -> list[Mark]:
    """Return the newest *count* of *marks*, the newest first."""
    # They come in two runs that are in order: to sort those takes no longer than to read them.
    return sorted(marks, key=_in_order, reverse=True)[:count]
