"""Foreign schedules that are planned and applied: a crontab, systemd's units, the rows of django-celery-beat.

A target is read, planned (a diff that changes nothing), applied (with a backup) and undone. Only the
part that carries this deployment's mark is ever changed.
"""

from __future__ import annotations

from crons.jobs import Declaration
from crons.sources import SOURCES
from crons.targets.base import Plan, Target, Unfit
from crons.targets.beat import BeatTarget
from crons.targets.crontab import CrontabTarget
from crons.targets.systemd import SystemdTarget

TARGETS: dict[str, type[Target]] = {"beat": BeatTarget, "crontab": CrontabTarget, "systemd": SystemdTarget}

__all__ = ["TARGETS", "CrontabTarget", "Plan", "SystemdTarget", "Target", "Unfit", "declared"]


def declared() -> list[Declaration]:
    """List what this code declares, by name; what cannot be read is sync's and the checks' to say."""
    found = {each.name: each for source in SOURCES for each in source.read().declarations}
    return [found[name] for name in sorted(found)]
