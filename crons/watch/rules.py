"""One table of all rules: how bad what each finds is, how long it has to last before people are told, and how it ends.

A rule that stands here becomes an incident when inspection finds it; `crons/watch/incidents.py` does that for all.
What a rule finds in one look and not in the next must not tell people twice a minute: *lasts* keeps back what may be
over at once, *calm* keeps open what has come back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

INFO, WARNING, CRITICAL = SEVERITIES = ("info", "warning", "critical")
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
# Counted up to such a number for the first time, it is told again.
STEPS = (10, 100, 1_000, 10_000)


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for a rule.

    *severity* unless the problem says its own; *lasts*: it opens when it has been so for that long, where a problem
    says since when it is; *calm*: one that comes back within that time is the same incident, which then closes only
    when it has been gone for as long; *steps*: counts at which it is told again; *looks*: the rule answers whoever
    asks, so that its open incident need not be listed beside it.
    """

    severity: str = WARNING
    lasts: timedelta = timedelta(0)
    calm: timedelta = timedelta(0)
    steps: tuple[int, ...] = STEPS
    looks: bool = False


RULES: Mapping[str, Terms] = {
    # What keeps everything from running.
    "database": Terms(CRITICAL, calm=HOUR, looks=True),
    "scheduler": Terms(CRITICAL, lasts=2 * MINUTE, calm=HOUR, looks=True),
    "host": Terms(CRITICAL, calm=HOUR, looks=True),
    "clock": Terms(CRITICAL, calm=HOUR, looks=True),
    "overdue": Terms(CRITICAL, lasts=2 * MINUTE, calm=HOUR, looks=True),
    # What keeps some of it from running.
    "undeclared": Terms(lasts=MINUTE, calm=HOUR, looks=True),
    "zone": Terms(calm=HOUR, looks=True),
    "parked": Terms(calm=HOUR, looks=True),
    "waiting": Terms(lasts=5 * MINUTE, calm=HOUR, looks=True),
    "stuck": Terms(lasts=2 * MINUTE, looks=True),
    "old code": Terms(lasts=10 * MINUTE, calm=HOUR),
    # How it went.
    "failing": Terms(steps=(5, 50, 500, 5_000)),
    "unsteady": Terms(calm=6 * HOUR),
    "outage": Terms(CRITICAL, calm=6 * HOUR),
    "missed": Terms(calm=HOUR),
    "late": Terms(calm=HOUR),
    "retired": Terms(INFO),
    "crons": Terms(),
}


def terms_of(kind: str) -> Terms:
    """Return what holds for a rule; for one that is not in the table, what holds for most."""
    return RULES.get(kind, Terms())
