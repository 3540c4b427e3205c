"""Foreign schedules that are planned and applied: a crontab, and what extensions write.

A target is read, planned (a diff that changes nothing), applied (with a backup) and undone. Only the
part that carries this deployment's mark is ever changed.
"""

from __future__ import annotations

from functools import cache

from crons.extensions import extensions
from crons.jobs import Declaration
from crons.sources import sources
from crons.targets.base import PER_JOB, SERVE, TICK, Plan, Target, Unfit, Words
from crons.targets.crontab import CrontabTarget
from crons.targets.installation import Installation

__all__ = [
    "PER_JOB",
    "SERVE",
    "TICK",
    "CrontabTarget",
    "Installation",
    "Plan",
    "Target",
    "Unfit",
    "Words",
    "declared",
    "targets",
]


@cache
def targets() -> dict[str, type[Target]]:
    """Return all of them, by name."""
    kinds: list[type[Target]] = [CrontabTarget, *(kind for each in extensions() for kind in each.targets())]
    return {kind.name: kind for kind in kinds}


def declared() -> list[Declaration]:
    """List what this code declares, by name; what cannot be read is sync's and the checks' to say."""
    found = {each.name: each for source in sources() for each in source.read().declarations}
    return [found[name] for name in sorted(found)]
