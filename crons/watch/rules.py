"""One table of all rules: how bad what each finds is, how long it has to last before people are told, and how it ends.

A rule that stands here becomes an incident when inspection finds it; `crons/watch/incidents.py` does that for all.
What a rule finds in one look and not in the next must not tell people twice a minute: *lasts* keeps back what may be
over at once, *calm* keeps open what has come back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

INFO, WARNING, CRITICAL = SEVERITIES = ("info", "warning", "critical")
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
# What was planned longer ago is late or missed no more; an entry whose slots are rarer is looked at by its next.
LATELY = timedelta(days=8)
# Counted up to such a number for the first time, it is told again.
STEPS = (10, 100, 1_000, 10_000)
# More problems of one kind that are new in one look are one incident: 1,000 mails tell less than one.
FEW = 5
# The verbs with which *says* begins.
OF_MANY = {"waits": "wait", "fails": "fail", "is": "are", "does": "do", "runs": "run", "takes": "take",
           "reaches": "reach", "has": "have"}  # fmt: skip
# The incident of all entries while nothing looked at the clock.
OUTAGE = "outage"
# The end of the key of an incident that many entries share; no entry and no host has that name.
SHARED = ":*"
# Numbers, addresses and ids differ from failure to failure of the same kind.
CHANGING = re.compile(r"0x[0-9a-fA-F]+|\b[0-9a-f]{8}-[0-9a-f-]{27}\b|\d+")


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for a rule.

    *says* follows the name of what it is about ("backup waits to be begun"), *over* does when that has ended.
    *severity* unless the problem says its own; *lasts*: it opens when it has been so for that long, where a problem
    says since when it is; *calm*: one that comes back within that time is the same incident, which then closes only
    when it has been gone for as long; *steps*: counts at which it is told again; *few*: so many new ones in one look
    have an incident each, more share one; *by_name*: whoever joins those that share one is told of.
    *looks*: the rule answers whoever asks, so that its open incident need not be listed beside it. *by_event*: what
    ends with a run opens and closes it, not a look at what is now. *window*: a run that was planned longer ago is not
    looked at, so that an entry whose slots are rarer is over without another. *recalls*: its messages say when the
    entry last succeeded, and what was changed since.
    """

    says: str = "is not well"
    over: str = "well again"
    severity: str = WARNING
    lasts: timedelta = timedelta(0)
    calm: timedelta = timedelta(0)
    steps: tuple[int, ...] = STEPS
    few: int = FEW
    by_name: bool = False
    looks: bool = False
    by_event: bool = False
    window: timedelta | None = None
    recalls: bool = False

    @property
    def say(self) -> str:
        """What follows the number of those that it is about: "12 jobs wait to be begun"."""
        verb, space, rest = self.says.partition(" ")
        return f"{OF_MANY.get(verb, verb)}{space}{rest}"


RULES: Mapping[str, Terms] = {
    # What keeps everything from running.
    "database": Terms("takes no writes", "written to again", CRITICAL, calm=HOUR, looks=True),
    "refused": Terms(
        "refused writes", "written to again", CRITICAL, 30 * SECOND, HOUR, (2, 10, 100, 1_000), by_event=True
    ),
    "scheduler": Terms("is gone", "back, or replaced", CRITICAL, lasts=2 * MINUTE, calm=HOUR, looks=True),
    "host": Terms("cannot run jobs", "running jobs again", CRITICAL, calm=HOUR, looks=True),
    "clock": Terms("does not have the database's time", "on time again", CRITICAL, calm=HOUR, looks=True),
    "overdue": Terms(
        "overdue: nothing looks at the clock",
        "looked at again",
        CRITICAL,
        lasts=2 * MINUTE,
        calm=HOUR,
        few=0,
        looks=True,
    ),
    # What keeps some of it from running.
    "undeclared": Terms(
        "declared by no running code", "declared again", lasts=MINUTE, steps=(), few=0, by_name=True, looks=True
    ),
    "zone": Terms("has no data of a time zone", "able to read all time zones again", calm=HOUR, looks=True),
    "parked": Terms("cannot be planned", "planned again", calm=HOUR, looks=True),
    "waiting": Terms("waits to be begun", "begun again", lasts=5 * MINUTE, calm=HOUR, looks=True),
    "stuck": Terms("stuck", "not stuck any more", lasts=2 * MINUTE, looks=True),
    "old code": Terms("runs other code than the rest", "on the code of the rest", lasts=10 * MINUTE, calm=HOUR),
    "channel": Terms("reaches nobody", "reaching people again", lasts=5 * MINUTE, calm=HOUR),
    # How it went.
    "failing": Terms("failed", "working again", steps=(5, 50, 500, 5_000), by_event=True, recalls=True),
    "unsteady": Terms("fails time and again", "steady again", calm=6 * HOUR, steps=(), recalls=True),
    OUTAGE: Terms("missed slots", "over", CRITICAL, calm=HOUR, steps=(), by_event=True),
    "missed": Terms("missed slots that were recorded", "begun again", calm=HOUR, window=LATELY, recalls=True),
    "late": Terms("begun late", "begun in time again", calm=HOUR, window=LATELY, recalls=True),
    "slow": Terms("too slow", "fast enough again", calm=HOUR, steps=(), recalls=True),
    "hanging": Terms("hanging", "not hanging any more", calm=HOUR, steps=(), recalls=True),
    "silent": Terms("without a success for too long", "succeeding again", steps=(), recalls=True),
    "idle": Terms("without anything to do", "at work again", INFO, steps=()),
    "retired": Terms("retired", "back", INFO, by_event=True),
    "crons": Terms("could not be looked at", "looked at again"),
}
# The rules of which the first page and `crons health` ask themselves.
LOOKS = frozenset(kind for kind, terms in RULES.items() if terms.looks)
BY_EVENT = frozenset(kind for kind, terms in RULES.items() if terms.by_event)


def terms_of(kind: str) -> Terms:
    """Return what holds for a rule; for one that is not in the table, what holds for most."""
    return RULES.get(kind, Terms())


def is_worse(severity: str, than: str) -> bool:
    """Say whether one severity is above another; of one that is not known nothing is."""
    return severity in SEVERITIES and than in SEVERITIES and SEVERITIES.index(severity) > SEVERITIES.index(than)


def without_numbers(text: str) -> str:
    """Return *text* with what differs from one problem of a kind to the next taken out."""
    return CHANGING.sub("#", text)
