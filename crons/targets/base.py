"""The contract of a target."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from crons.exceptions import CronsError, TargetError
from crons.jobs import Declaration
from crons.ledger import database_now, deployment, writing
from crons.models import AuditEvent
from crons.redaction import for_people

# One thing that fires everything each minute, or one per entry besides.
TICK, PER_JOB = "tick", "per-job"
SERVE = "serve"  # a scheduler that stays


class Unfit(CronsError):
    """A schedule that this target cannot express; the message is the reason."""


class Words(NamedTuple):
    """What the foreign schedule is called, what is ours in it, and what one entry has there."""

    whole: str
    part: str
    piece: str


@dataclass(frozen=True)
class Plan:
    """What a target holds, and what it should hold.

    *found*, *wanted*: the whole of the foreign schedule, None where there is none; only who made the plan reads them.
    *ours*, *ours_wanted*: our part of it, as lines for people.
    *drift*: how our part is not what was written last, in words; "" where it is.
    *refused*: (entry, reason) of what the target cannot express and so will not fire.
    *ticks*: whether something fires what is refused, if not in its own way.
    *undoes*: the backup that an undo goes back to, and uses up.
    """

    target: str
    mode: str
    found: bytes | None
    wanted: bytes | None
    ours: tuple[str, ...] = ()
    ours_wanted: tuple[str, ...] = ()
    drift: str = ""
    refused: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    undoes: Path | None = None
    ticks: bool = False
    blocked: tuple[str, ...] = ()
    switches: tuple[str, ...] = ()

    @property
    def is_in_step(self) -> bool:
        """Whether there is nothing to change."""
        return self.found == self.wanted and not self.switches

    def refuse_blocked(self) -> None:
        """Raise TargetError if it must not be applied as it stands."""
        if self.blocked:
            raise TargetError(f"nothing was changed. {'. '.join(self.blocked)}.")


class Target(ABC):
    """A schedule kept by another program, whose lines call our triggers.

    An implementer promises: planning changes nothing; only the part with this deployment's mark is
    changed, all else stays byte for byte; what is not as it was planned is not touched; before each
    change what was there is kept; what was written is read back. What cannot be done is raised as TargetError.
    It may assume: apply and undo are called within the transaction that records them.
    """

    name: ClassVar[str]
    modes: ClassVar[tuple[str, ...]]
    words: ClassVar[Words]
    options: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """What its constructor takes besides *take_over*: name → how verbs take it, as argparse says it."""
    plan_options: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """The same, of what only `crons plan` and `apply` take."""

    def __init__(self, *, take_over: bool = False) -> None:
        """*take_over*: our mark is ours even where it was left by another database."""
        self.take_over = take_over
        self.key = hashlib.sha256(deployment.here().identity.encode()).hexdigest()[:16]
        self.place = hashlib.sha256(deployment.located().identity.encode()).hexdigest()[:8]

    @abstractmethod
    def plan(self, declarations: Iterable[Declaration], *, mode: str | None = None) -> Plan:
        """Say what would be changed; *mode* None keeps that of what is installed."""

    @abstractmethod
    def plan_undo(self, *, everything: bool = False) -> Plan:
        """Say what would be changed to have our part as it was before the last apply, or gone altogether."""

    @abstractmethod
    def write(self, plan: Plan) -> Path | None:
        """Install what *plan* wants; return where the backup is, None where nothing was kept."""

    @abstractmethod
    def write_undo(self, plan: Plan) -> Path | None:
        """Install what a plan of plan_undo wants; return where what was undone is kept."""

    def apply(self, plan: Plan, by: str) -> Path | None:
        """Install what *plan* wants, with an audit event by *by*; return where the backup is."""
        plan.refuse_blocked()
        return self._recorded("apply", plan, by)

    def undo(self, plan: Plan, by: str) -> Path | None:
        """Install what a plan of plan_undo wants, with an audit event by *by*; return where what was undone is kept."""
        return self._recorded("undo", plan, by)

    def _recorded(self, verb: str, plan: Plan, by: str) -> Path | None:
        # In one transaction: a change that is not recorded, or the record of none, would be a lie.
        with writing() as using:
            AuditEvent.objects.using(using).create(
                at=database_now(),
                actor=by[:150],
                verb=verb,
                subject_type="target",
                subject=self.name,
                before={"lines": for_people(plan.ours)},
                after={"lines": for_people(plan.ours_wanted), "mode": plan.mode},
            )
            return self.write(plan) if verb == "apply" else self.write_undo(plan)
