"""What passes between the ledger and an executor: plain values that can cross a process border."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID, uuid4

from crons.verdicts import Ending

MOST_TOKENS = 10_000
# Of what a job counts; a column of the database holds no more.
MOST_COUNTED = 2**63 - 1
# A lease is renewed at the first part of it; a job whose lease could not be is killed at the second, with time left
# for that. In between somebody else may keep the database locked.
RENEW_AT, KILL_AT = 0.25, 0.8


@dataclass(frozen=True)
class Begun:
    """An attempt that the ledger has begun and that this process now owns.

    *instance* is the process that began it; *leased_at* is when its lease began, as boottime() counts, or None: when
    it is started. *closes_at*: when the window that it began in closes, and it should stop.
    """

    attempt: int
    run: int
    entry: str
    job: str
    key: str
    number: int
    kind: str
    trigger: str
    since: datetime
    until: datetime
    slot_at: datetime | None
    timeout: timedelta | None
    lease: timedelta
    args: Mapping[str, Any] = field(default_factory=dict)
    executor: str = "process"
    instance: str = ""
    leased_at: float | None = field(default=None, compare=False)
    closes_at: datetime | None = None


class Unstarted:
    """What this process has surely not started, though the ledger may say, now or later, that it has begun it.

    *tokens* are of begins whose commit nobody has confirmed: it may happen an hour later, when a standby comes back.
    *attempts* were begun, and not taken by their executor.
    """

    def __init__(self) -> None:
        # In an outage each begin may leave some: the oldest are then treated as what may have run.
        self.tokens: deque[UUID] = deque(maxlen=MOST_TOKENS)
        self.attempts: set[int] = set()
        self.reasons: dict[int, str] = {}

    def __bool__(self) -> bool:
        return bool(self.tokens or self.attempts)

    def has(self, attempt: int, token: UUID) -> bool:
        """Say whether the job of *attempt* has surely not been started."""
        return attempt in self.attempts or token in self.tokens

    def refuse(self, refused: Mapping[int, str]) -> None:
        """Note attempts that an executor could not start, and why."""
        self.attempts.update(refused)
        self.reasons.update(refused)

    def forget(self, attempts: Collection[int] = (), tokens: Collection[UUID] = ()) -> None:
        """Forget these: they are started, or ended."""
        self.attempts.difference_update(attempts)
        self.reasons = {attempt: why for attempt, why in self.reasons.items() if attempt in self.attempts}
        self.tokens = deque((each for each in self.tokens if each not in tokens), MOST_TOKENS)


@dataclass(frozen=True)
class RunMessage:
    """A due run that another process is asked to begin: what travels is who asks, and which run of which entry.

    *number* counts the times it was sent since its last try, of which it has had *tries*; *route* is what the job
    says of the way: queue, priority.
    """

    run: int
    deployment: str
    entry: str
    key: str
    number: int
    executor: str
    timeout: timedelta | None = None
    route: Mapping[str, Any] = field(default_factory=dict)
    tries: int = 0


@dataclass(frozen=True)
class Finished:
    """How a begun attempt ended; *finish_token* makes writing it down repeatable."""

    attempt: int
    ending: Ending
    finish_token: UUID = field(default_factory=uuid4)


@dataclass(frozen=True)
class Chunk:
    """A piece of what an attempt wrote: *stream* is stdout, stderr or log; *seq* grows from 0 per attempt."""

    attempt: int
    seq: int
    stream: str
    text: str


@dataclass(frozen=True)
class Renewed:
    """The attempts still owned, and those that somebody asked to cancel, with the reason."""

    owned: frozenset[int]
    cancelled: Mapping[int, str]


@dataclass(frozen=True)
class Counts:
    """How many rows a job says it examined, changed, failed at, and skipped by reason; None: it did not say."""

    examined: int | None = None
    changed: int | None = None
    failed: int | None = None
    skipped: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, more: Counts) -> Counts:
        skipped = Counter(self.skipped)
        skipped.update(more.skipped)
        return Counts(
            _sum(self.examined, more.examined),
            _sum(self.changed, more.changed),
            _sum(self.failed, more.failed),
            dict(skipped),
        )


def _sum(one: int | None, other: int | None) -> int | None:
    return one if other is None else other + (one or 0)


@dataclass(frozen=True)
class Progress:
    """How far a job is: *done* of *total* steps, which is None where nobody knows it; *text* says what it is at."""

    done: int
    total: int | None = None
    text: str = ""


class LedgerWriter(Protocol):
    """The ledger's verbs that an executor's host process needs; all may be repeated.

    Each may raise LedgerUnavailable.
    """

    def renew(self, attempts: Collection[int]) -> Renewed:
        """Extend the leases of *attempts* by the lease's length."""

    def write_output(self, chunks: Sequence[Chunk]) -> None:
        """Store *chunks*; one stored before is left as it is."""

    def finish(self, finished: Sequence[Finished]) -> None:
        """Store how attempts ended, and what that means for their runs."""
