"""Jobs and entries as they are declared: frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from crons.jobs.callables import Body
from crons.jobs.origins import Origin
from crons.jobs.policies import Policy
from crons.schedules import Schedule


@dataclass(frozen=True)
class Job:
    """What to run and under which policies. *source_ref* and *origin* say where it was declared.

    *environment*: variables of its attempts besides those of the process that begins them.
    """

    name: str
    body: Body
    policy: Policy = field(default_factory=Policy)
    owner: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    source: str = "code"
    source_ref: str = ""
    origin: Origin | None = field(default=None, compare=False, repr=False)
    environment: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)


@dataclass(frozen=True)
class Declaration:
    """An entry as declared: *job* on *schedule* with *args* (keyword arguments, plain JSON)."""

    name: str
    job: str
    schedule: Schedule
    args: Mapping[str, Any] = field(default_factory=dict)
    source: str = "code"
    source_ref: str = ""
    aliases: tuple[str, ...] = ()
    origin: Origin | None = field(default=None, compare=False, repr=False)
