"""A clock of the test's own: what the ledger and Django take for now.

Code that asks Python itself (datetime.now(), time.time()) is not moved.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from unittest import mock
from zoneinfo import ZoneInfo

from django.utils import timezone
from django.utils.dateparse import parse_datetime

from crons.conf import conf
from crons.ledger import transactions
from crons.schedules import zones

_stopped: list[Clock] = []


class Clock:
    """A clock that stands still until it is moved, in either direction."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def read(self) -> datetime:
        """Say what the clock shows."""
        return self.now

    def move_to(self, moment: str | datetime) -> datetime:
        """Set the clock; see `at` for what *moment* may be."""
        self.now = moment_of(moment)
        return self.now

    def advance(self, by: timedelta | None = None, **length: float) -> datetime:
        """Move the clock on by a timedelta, or by what timedelta(…) takes: `advance(minutes=5)`."""
        self.now += timedelta(**length) if by is None else by
        return self.now


@contextmanager
def at(moment: str | datetime | None = None) -> Iterator[Clock]:
    """Let the time of the schedule stand still at *moment*, for all threads of this process.

    Moves what the ledger takes for the database's time, and `django.utils.timezone.now()`.
    Args: *moment* is a datetime or a text such as "2026-03-29T01:59+01:00"; without an offset it is what
    the wall clock of CRONS["TIME_ZONE"] shows; None is the moment of the call.
    """
    stopped = Clock(timezone.now() if moment is None else moment_of(moment))
    before = transactions.now_in_tests
    transactions.now_in_tests = stopped.read
    _stopped.append(stopped)
    try:
        with mock.patch.object(timezone, "now", stopped.read):
            yield stopped
    finally:
        _stopped.pop()
        transactions.now_in_tests = before


def advance(by: timedelta | None = None, **length: float) -> datetime:
    """Move the stopped clock on, also from inside a job: so long it takes.

    Raises: RuntimeError where no clock is stopped.
    """
    if not _stopped:
        raise RuntimeError("no clock is stopped here, expected `with clock.at(…):` or play(…) around this call")
    return _stopped[-1].advance(by, **length)


def moment_of(given: str | datetime, zone: str | None = None) -> datetime:
    """Return *given* as an aware datetime in UTC.

    Without an offset it is a reading of the wall clock in *zone*, default CRONS["TIME_ZONE"], and means what
    a schedule means by it: of two the first, and where the clock skips it the first moment after that.
    Raises: ValueError if it is no moment.
    """
    try:
        read = parse_datetime(given) if isinstance(given, str) else given
    except ValueError as error:
        raise ValueError(f"{given!r} is no moment: {error}") from error
    if not isinstance(read, datetime):
        message = f"{given!r} is no moment, expected a datetime or a text such as '2026-03-29T01:59+01:00'"
        raise ValueError(message)  # noqa: TRY004 (mostly a text that cannot be read)
    if read.tzinfo is None:
        return zones.first_moment(read, ZoneInfo(zone or conf.time_zone))
    return read.astimezone(UTC)
