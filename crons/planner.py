"""Planning: an entry's account and the time → slots to record, ranges to write off, next wake. Pure.

So is what follows from how a try ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from crons.jobs import Policy
from crons.schedules import Schedule
from crons.verdicts import Ending, Outcome, Reason, Verdict

# An idempotent job that loses its process is begun again even without retry=, but not for ever:
# one that gets its process killed each time must come to rest.
LOST_TRIES = 3


@dataclass(frozen=True, slots=True)
class Account:
    """What planning needs to know of an entry: its schedule, its rules, and how far it is accounted for."""

    schedule: Schedule
    tz: ZoneInfo
    policy: Policy
    accounted_until: datetime
    paused_at: datetime | None = None
    paused_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class PlannedSlot:
    """A slot to record as a run; begun later than *start_before*, it is missed; *is_late*: nothing looked in time.

    *opens_at*: when its job's window lets it begin, where that is closed now.
    """

    slot_at: datetime
    start_before: datetime | None
    is_late: bool = False
    opens_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PlannedRange:
    """Slots to write off together."""

    first_at: datetime
    last_at: datetime
    count: int
    verdict: Verdict
    reason: Reason


@dataclass(frozen=True, slots=True)
class Plan:
    """What planning an entry decides: every slot up to *accounted_until* is in *slots* or *ranges*."""

    slots: tuple[PlannedSlot, ...]
    ranges: tuple[PlannedRange, ...]
    accounted_until: datetime
    wake_at: datetime


# Many entries share a schedule and were last planned together: one plan serves them all.
@lru_cache(maxsize=4096)
def plan(account: Account, now: datetime, grace: timedelta) -> Plan:
    """Decide the verdict of every slot in (accounted_until, now], or that it is to run.

    Args: *grace* is how late a slot still counts as on time.
    Returns: slots oldest first; ranges oldest first.
    Cost: no queries; an absence of any length is counted, not walked through.
    """
    after = account.accounted_until
    if now <= after:
        # The clock went back, or somebody just planned: nothing is repeated.
        return Plan((), (), after, account.schedule.next_after(after, account.tz))
    ranges: list[PlannedRange] = []
    if account.paused_at is not None:
        paused_until = min(now, account.paused_until or now)
        ranges += _write_off(account, after, paused_until, Verdict.SKIPPED, Reason.PAUSED)
        after = max(after, paused_until)
    slots, missed = _let_through(account, after, now, grace)
    wake_at = account.schedule.next_after(now, account.tz)
    return Plan(tuple(slots), (*ranges, *missed), now, wake_at)


def while_retired(account: Account, now: datetime) -> list[PlannedRange]:
    """Write off every slot in (accounted_until, now]: no code declared the entry, so nothing was to run.

    Cost: no queries; an absence of any length is counted, not walked through.
    """
    return _write_off(account, account.accounted_until, now, Verdict.SKIPPED, Reason.RETIRED)


def without(planned: Plan, taken: Iterable[tuple[datetime, datetime]], account: Account) -> Plan:
    """Leave out of *planned* the slots that have a row already: those in *taken*, spans from a first slot to a last.

    For accounts that were set back, by hand or because a clock had been ahead: no slot gets a second verdict.
    """
    spans = sorted(taken)
    slots = tuple(slot for slot in planned.slots if not any(first <= slot.slot_at <= last for first, last in spans))
    ranges = [piece for each in planned.ranges for piece in _cut(account, each, spans)]
    return Plan(slots, tuple(ranges), planned.accounted_until, planned.wake_at)


@dataclass(frozen=True)
class Next:
    """What follows from an ending: a verdict, or another try at *again_at*."""

    verdict: Verdict | None
    again_at: datetime | None = None


def after_ending(ending: Ending, tries: int, policy: Policy, now: datetime, *, asked: bool = False) -> Next:
    """Say what a run's *tries*-th try means for it.

    Exceptions are tried again as retry= says; lost and timed out only where the job is idempotent,
    because the job may have done its work. So is what a stopping scheduler cancelled: that nobody
    *asked* for, and whoever comes next can do it. What somebody asked to stop is not tried again,
    however its try ended before the request reached it; nor what the job itself gave up.
    What stopped at its window's end goes on; tries that ended so are not among *tries*.
    """
    outcome, retry = ending.outcome, policy.retry
    if outcome == Outcome.CONTINUED:
        return Next(Verdict.CANCELLED) if asked else Next(None, now)
    if asked or ending.final:
        return Next(Verdict(outcome))
    if outcome == Outcome.FAILED and tries <= retry.times:
        return Next(None, now + retry.delay(tries))
    if outcome == Outcome.TIMED_OUT and policy.idempotent and tries <= retry.times:
        return Next(None, now + retry.delay(tries))
    interrupted = outcome in (Outcome.LOST, Outcome.CANCELLED)
    if interrupted and policy.idempotent and tries < max(LOST_TRIES, 1 + retry.times):
        return Next(None, now)
    return Next(Verdict(outcome))


def _cut(account: Account, whole: PlannedRange, spans: list[tuple[datetime, datetime]]) -> Iterator[PlannedRange]:
    after = whole.first_at - timedelta.resolution
    for first, last in [*spans, (whole.last_at + timedelta.resolution, whole.last_at)]:
        until = min(first - timedelta.resolution, whole.last_at)
        yield from _write_off(account, after, until, whole.verdict, whole.reason)
        after = max(after, last)


def _let_through(
    account: Account, after: datetime, now: datetime, grace: timedelta
) -> tuple[list[PlannedSlot], list[PlannedRange]]:
    policy = account.policy
    allowed = grace if policy.catch_up == "none" else None
    latest_start = [length for length in (policy.deadline, allowed) if length is not None]
    patience = min(latest_start) if latest_start else None
    wanted = policy.cap if policy.catch_up == "all" else 1
    kept: list[datetime] = []
    for slot_at in _backwards(account, after, now):
        if len(kept) == wanted or (patience is not None and now - slot_at > patience):
            break
        kept.append(slot_at)
    kept.reverse()
    opening = now if policy.window is None else policy.window.opening(now, account.tz)
    opens_at = opening if opening > now else None
    slots = [
        PlannedSlot(slot_at, slot_at + patience if patience is not None else None, now - slot_at > grace, opens_at)
        for slot_at in kept
    ]
    until = kept[0] - timedelta.resolution if kept else now
    return slots, _missed(account, after, until, now)


def _missed(account: Account, after: datetime, until: datetime, now: datetime) -> list[PlannedRange]:
    """Write off (after, until]: first what the deadline forbids, then what catch_up drops."""
    policy = account.policy
    too_old = after
    if policy.deadline is not None:
        # A slot exactly as old as the deadline may still start.
        too_old = min(until, max(after, now - policy.deadline - timedelta.resolution))
    dropped = Reason.CAP if policy.catch_up == "all" else Reason.CATCH_UP
    return [
        *_write_off(account, after, too_old, Verdict.MISSED, Reason.DEADLINE),
        *_write_off(account, too_old, until, Verdict.MISSED, dropped),
    ]


def _write_off(
    account: Account, after: datetime, until: datetime, verdict: Verdict, reason: Reason
) -> list[PlannedRange]:
    if until <= after:
        return []
    first_at = account.schedule.next_after(after, account.tz)
    if first_at > until:
        return []
    last_at = account.schedule.latest(until, account.tz)
    count = account.schedule.count(after, until, account.tz)
    return [PlannedRange(first_at, last_at, count, verdict, reason)]


def _backwards(account: Account, after: datetime, now: datetime) -> Iterator[datetime]:
    # From now on backwards: a week of missed minutes costs no more than one.
    if account.schedule.next_after(after, account.tz) > now:
        return
    slot_at = account.schedule.latest(now, account.tz)
    while slot_at > after:
        yield slot_at
        slot_at = account.schedule.latest(slot_at - timedelta.resolution, account.tz)
