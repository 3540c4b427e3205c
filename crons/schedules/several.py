"""Several schedules that are due as one."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo

from crons.schedules.base import NEVER, Schedule
from crons.schedules.wall import _declared_zone
from crons.schedules.wallclock import refused


def any_of(*schedules: Schedule, zone: str | None = None) -> Schedule:
    """Declare one schedule that is due whenever one of *schedules* is; all are read in the zone of the whole.

    Raises: InvalidSchedule if one of them never is, or there are none.
    """
    parts = tuple({each.text: each for each in schedules}.values())
    if not parts or any(each is NEVER or isinstance(each, AnyOf) for each in parts):
        raise refused(" | ".join(each.text for each in parts) or "any_of()", "expected schedules, each with slots")
    if len(parts) == 1 and parts[0].zone == zone:
        return parts[0]
    return AnyOf(" | ".join(each.text for each in parts), _declared_zone(zone), parts=parts)


@dataclass(frozen=True)
class AnyOf(Schedule):
    """The slots of several schedules together; where two of them meet it is one slot. Made by any_of()."""

    parts: tuple[Schedule, ...] = field(kw_only=True, repr=False, compare=False)

    def explain(self) -> str:
        first, *others = (part.explain() for part in self.parts)
        return "; ".join([first, *(text[0].lower() + text[1:] for text in others)])

    def _next(self, moment: datetime, tz: tzinfo) -> datetime | None:
        return min(filter(None, (part._next(moment, tz) for part in self.parts)), default=None)

    def _latest(self, moment: datetime, tz: tzinfo) -> datetime | None:
        return max(filter(None, (part._latest(moment, tz) for part in self.parts)), default=None)

    def _slots(self, after: datetime, until: datetime, tz: tzinfo) -> Iterator[datetime]:
        return _merged(self.parts, after, until, tz)

    def _count(self, after: datetime, until: datetime, tz: tzinfo) -> int:
        # Count the densest schedule by arithmetic; of the others, add each slot that it does not have.
        densest = max(self.parts, key=lambda part: part._count(after, until, tz))
        others = _merged([part for part in self.parts if part is not densest], after, until, tz)
        return densest._count(after, until, tz) + sum(densest._latest(slot, tz) != slot for slot in others)


def _merged(parts: Sequence[Schedule], after: datetime, until: datetime, tz: tzinfo) -> Iterator[datetime]:
    newest = after
    for slot in heapq.merge(*(part._slots(after, until, tz) for part in parts)):
        if slot != newest:
            yield slot
        newest = slot
