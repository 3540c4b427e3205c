"""The contract of a schedule, and the one that has no moments."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from itertools import islice

from crons.exceptions import InvalidSchedule
from crons.schedules import zones
from crons.schedules.wallclock import refused

FAR_FUTURE = datetime(9999, 1, 1, tzinfo=UTC)  # the next slot of a schedule that has none
FAR_PAST = datetime(1, 1, 1, tzinfo=UTC)  # the latest slot of a schedule that had none
LONGEST_TEXT = 500  # every minute, hour and day listed one by one has 356
_FIRST_MOMENT = datetime(2, 1, 1, tzinfo=UTC)  # before it, an offset could lead out of what a datetime can hold


@dataclass(frozen=True)
class Schedule(ABC):
    """When a job is due. Equal where text and zone are equal; ``parse(schedule.text)`` gives it back.

    Attributes:
        text: canonical, what a database row stores.
        zone: an IANA name, or None for the project's; the caller resolves it to *tz*.
    """

    text: str
    zone: str | None = None

    def next_after(self, moment: datetime, tz: tzinfo) -> datetime:
        """Return the first slot strictly after *moment*; FAR_FUTURE if there is none.

        Raises: ValueError if *moment* is naive; so do the methods below.
        """
        return min(self._next(within_bounds(moment), tz) or FAR_FUTURE, FAR_FUTURE)

    def latest(self, moment: datetime, tz: tzinfo) -> datetime:
        """Return the newest slot at or before *moment*; FAR_PAST if there is none.

        Cost: like next_after, it walks back from *moment*.
        """
        return self._latest(within_bounds(moment), tz) or FAR_PAST

    def between(self, after: datetime, until: datetime, tz: tzinfo, limit: int | None = None) -> list[datetime]:
        """List the slots in (after, until], oldest first, at most *limit* of them.

        Cost: grows with the slots returned.
        """
        after, until = within_bounds(after), within_bounds(until)
        return list(islice(self._slots(after, until, tz), limit)) if after < until else []

    def count(self, after: datetime, until: datetime, tz: tzinfo) -> int:
        """Return the exact number of slots in (after, until].

        Cost: grows with months and clock changes, not with slots: milliseconds for a decade of minutes.
        """
        after, until = within_bounds(after), within_bounds(until)
        return self._count(after, until, tz) if after < until else 0

    @abstractmethod
    def explain(self) -> str:
        """Say it in plain English, without the zone."""

    @abstractmethod
    def _next(self, moment: datetime, tz: tzinfo) -> datetime | None: ...

    @abstractmethod
    def _latest(self, moment: datetime, tz: tzinfo) -> datetime | None: ...

    @abstractmethod
    def _slots(self, after: datetime, until: datetime, tz: tzinfo) -> Iterator[datetime]: ...

    @abstractmethod
    def _count(self, after: datetime, until: datetime, tz: tzinfo) -> int: ...


@dataclass(frozen=True)
class Never(Schedule):
    """No moments: for a job that is only run by hand."""

    text: str = ""

    def explain(self) -> str:
        return "Only by hand"

    def _next(self, moment: datetime, tz: tzinfo) -> None:
        return None

    def _latest(self, moment: datetime, tz: tzinfo) -> None:
        return None

    def _slots(self, after: datetime, until: datetime, tz: tzinfo) -> Iterator[datetime]:
        return iter(())

    def _count(self, after: datetime, until: datetime, tz: tzinfo) -> int:
        return 0


NEVER = Never()


def checked_text(text: str) -> str:
    if not isinstance(text, str):
        raise refused(repr(text), "not a text, expected one such as '*/5 * * * *'")
    if len(text) > LONGEST_TEXT:
        raise refused(repr(text), f"{len(text)} characters, expected at most {LONGEST_TEXT}")
    return text


def checked_zone(zone: str | None) -> str | None:
    if zone is None or (isinstance(zone, str) and zones.is_zone(zone)):
        return zone
    guess = zones.nearest_zone(zone) if isinstance(zone, str) else ""
    expected = guess or " Expected an IANA name such as 'Europe/Berlin'."
    raise InvalidSchedule(f"zone {zone!r} is unknown.{expected}")


def within_bounds(moment: datetime) -> datetime:
    if moment.utcoffset() is None:
        raise ValueError(f"{moment!r} has no zone: expected an aware datetime, as timezone.now() gives it")
    # astimezone() returns a moment that is in UTC already as it is, with a fold that means nothing there.
    return min(max(moment, _FIRST_MOMENT), FAR_FUTURE).astimezone(UTC).replace(fold=0)
