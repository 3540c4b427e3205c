"""Facts: all that an answer rests on, as frozen values; no rows, no clock, no database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from crons.jobs import Window
from crons.schedules import Schedule


@dataclass(frozen=True, slots=True)
class ClockChange:
    """A clock change at *at*: the wall clock would have shown *stops*, and showed *resumes*."""

    at: datetime
    stops: datetime
    resumes: datetime

    @property
    def is_gap(self) -> bool:
        """Whether the clock went forward."""
        return self.resumes > self.stops


@dataclass(frozen=True, slots=True)
class Asked:
    """Which moment is asked for. *text*: what a person wrote, empty for the newest slot.

    *shown*: what was written, where the wall clock never showed it or showed it twice; *again_at*: the second time.
    *of_day*: how many slots the day has of which only the date was given; *beyond*: after all that can be planned.
    """

    at: datetime
    text: str = ""
    change: ClockChange | None = None
    shown: datetime | None = None
    again_at: datetime | None = None
    of_day: int | None = None
    beyond: bool = False


@dataclass(frozen=True, slots=True)
class PauseFacts:
    """A pause of one entry (*scope* is empty), of everything ("all") or of a tag ("tag:…")."""

    since: datetime | None
    until: datetime | None
    by: str
    reason: str
    scope: str = ""


@dataclass(frozen=True, slots=True)
class EntryFacts:
    """An entry as its row stands now."""

    id: int
    name: str
    job: str
    schedule: str
    zone: str
    first_seen_at: datetime
    accounted_until: datetime
    retired_at: datetime | None
    parked_reason: str
    declared_at: datetime | None
    declared_by: str
    vouched_until: datetime | None
    catch_up: str
    executor: str
    group: str
    allows_overlap: bool
    retries: int
    is_idempotent: bool
    deadline: timedelta | None
    window: Window | None = None


@dataclass(frozen=True, slots=True)
class AttemptFacts:
    """One try at a run; *error* is the line that names it."""

    id: int
    number: int
    outcome: str
    host: str
    begun_at: datetime
    ended_at: datetime | None
    error: str
    late_outcome: str = ""
    cancel_requested_at: datetime | None = None
    lease_until: datetime | None = None
    entry: str = ""
    group: str = ""
    run: int = 0
    instance: str = ""


@dataclass(frozen=True, slots=True)
class RunFacts:
    """One run, and its newest attempts, oldest first; *came_second*, and *more_came*: who found its slot recorded."""

    id: int
    kind: str
    slot_at: datetime | None
    planned_at: datetime
    state: str
    verdict: str
    reason: str
    detail: str
    trigger: str
    requested_by: str
    recorded_at: datetime
    ended_at: datetime | None
    asked_at: datetime | None
    wake_at: datetime | None
    start_before: datetime | None
    sends: int
    tries: int
    attempts: tuple[AttemptFacts, ...] = ()
    came_second: tuple[tuple[str, datetime], ...] = ()
    more_came: int = 0


@dataclass(frozen=True, slots=True)
class RangeFacts:
    """Slots written off together; *pause*: which pause they fell into, where that is why."""

    first_at: datetime
    last_at: datetime
    count: int
    verdict: str
    reason: str
    trigger: str
    recorded_at: datetime
    pause: PauseFacts | None = None


@dataclass(frozen=True, slots=True)
class Deed:
    """What somebody did: a line of the audit trail. *about*: "entry", "run", "all", or "tag:…"."""

    about: str
    verb: str
    at: datetime
    by: str
    reason: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Scheduler:
    """A scheduler that lives; *knows*: whether it declares the entry, None where it has not said."""

    kind: str
    host: str
    pid: int
    release: str
    started_at: datetime
    knows: bool | None
    lacks_zone: bool = False
    is_draining: bool = False
    instance: str = ""


@dataclass(frozen=True, slots=True)
class Silence:
    """Between two looks at the clock. *last_at*: when anything was recorded before, None where that is not known.

    *others*: how many slots of other entries were recorded meanwhile, so that somebody did look.
    """

    last_at: datetime | None
    last_of: str
    until: datetime
    others: int = 0


@dataclass(frozen=True, slots=True)
class Nearby:
    """A slot beside the moment that was asked for, and what became of it."""

    at: datetime
    status: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class InTheWay:
    """What keeps a run that is due from beginning.

    *going*: the run of the same entry that goes on; *group_running*: how many run in its full group;
    *busy*: by the instance of a living scheduler, the attempts that take its places; *places*: how many one has whose
    settings are those of the asking process.
    """

    going: RunFacts | None = None
    group_running: int = 0
    busy: tuple[AttemptFacts, ...] = ()
    places: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """All that was found. *schedule*: the one in force at the moment; None where its text cannot be read.

    *changed*: the deed that ended that schedule, *set_by*: the one that set it; *renamed*: the deed that gave the
    entry its present name, where a former one was asked for.
    *overlapped*: the run that a skipped slot found in its way. *requested*: runs by hand near the moment.
    """

    now: datetime
    asked: Asked
    entry: EntryFacts
    schedule: Schedule | None
    schedule_zone: str
    is_slot: bool
    grace: timedelta
    kept: timedelta | None = None
    run: RunFacts | None = None
    range: RangeFacts | None = None
    deeds: tuple[Deed, ...] = ()
    of_run: tuple[Deed, ...] = ()
    changed: Deed | None = None
    set_by: Deed | None = None
    renamed: Deed | None = None
    former_name: str = ""
    pause: PauseFacts | None = None
    overlapped: RunFacts | None = None
    newer: RunFacts | None = None
    silence: Silence | None = None
    before: Nearby | None = None
    after: Nearby | None = None
    requested: tuple[RunFacts, ...] = ()
    next_at: datetime | None = None
    schedulers: tuple[Scheduler, ...] = ()
    in_the_way: InTheWay | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """Why a slot ended as it did, or what will become of it, for people and for programs.

    *status*: a verdict; or running, due, sent, waiting; or to_come, no_slot, not_declared, retired, unrecorded,
    not_kept.
    """

    entry: str
    zone: str
    at: datetime
    status: str
    reason: str
    headline: str
    because: tuple[str, ...]
    next_steps: tuple[str, ...]
    run: int | None
    facts: Facts

    @property
    def text(self) -> str:
        """The whole answer, a sentence a line."""
        return "\n".join([self.headline, *self.because, *(f"To do: {each}" for each in self.next_steps)])
