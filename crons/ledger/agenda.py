"""What is due when, in one statement; which slots come next; which groups are full."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from django.db import connections

from crons.columns import UNREAD
from crons.conf import conf
from crons.exceptions import CronsError
from crons.ledger import queries
from crons.ledger.entries import account_of
from crons.ledger.sql import moment
from crons.ledger.transactions import database_now, reading, verb
from crons.models import Entry
from crons.schedules import FAR_FUTURE

SQL = """SELECT
    (SELECT MIN(wake_at) FROM crons_entry WHERE wake_at IS NOT NULL /* zones */),
    (SELECT MIN(id) FROM crons_entry WHERE wake_at IS NULL /* zones */),
    (SELECT MIN(wake_at) FROM crons_run WHERE state = 'due' AND wake_at IS NOT NULL),
    (SELECT MIN(wake_at) FROM crons_run WHERE state = 'waiting' AND wake_at IS NOT NULL),
    (SELECT MIN(wake_at) FROM crons_run WHERE state = 'sent' AND wake_at IS NOT NULL),
    (SELECT MIN(lease_until) FROM crons_attempt WHERE lease_until IS NOT NULL),
    (SELECT MIN(inspect_at) FROM crons_run WHERE inspect_at IS NOT NULL),
    (SELECT MIN(next_try_at) FROM crons_delivery WHERE next_try_at IS NOT NULL),
    (SELECT MIN(open_key) FROM crons_incident WHERE open_key IS NOT NULL)"""


# Of runs and ranges: what the watch has not looked at yet. A range besides, not IS NOT NULL alone: of that PostgreSQL
# thinks, until it has statistics, that it holds for all rows.
FLAGGED: Final = {"inspect_at__isnull": False, "inspect_at__range": (UNREAD, FAR_FUTURE)}


@dataclass(frozen=True)
class Agenda:
    """When each kind of work is next due; None where there is none."""

    now: datetime
    plan_at: datetime | None
    due_at: datetime | None
    waiting_at: datetime | None
    sent_at: datetime | None
    lease_at: datetime | None
    inspect_at: datetime | None
    deliver_at: datetime | None
    open_incidents: bool

    @property
    def must_record(self) -> bool:
        """Whether a slot has fallen due, or an entry was never planned."""
        return self.plan_at is not None and self.plan_at <= self.now

    @property
    def must_deliver(self) -> bool:
        """Whether a message waits to be sent."""
        return self.deliver_at is not None and self.deliver_at <= self.now

    @property
    def may_begin(self) -> bool:
        """Whether a run could be begun now, or sent, room provided."""
        return any(at is not None and at <= self.now for at in (self.due_at, self.waiting_at, self.sent_at))

    def next_at(self) -> datetime | None:
        """Return the next moment after now at which something falls due."""
        later = [
            at for at in (self.plan_at, self.due_at, self.waiting_at, self.sent_at) if at is not None and at > self.now
        ]
        return min(later, default=None)


@verb
def agenda(now: datetime | None = None, *, lacking: Collection[str] = ()) -> Agenda:
    """Say when each kind of work is next due.

    Args: *lacking* are zones whose entries are left to other hosts.
    Cost: one statement of nine index look-ups, the same with ten entries and a hundred thousand; on PostgreSQL in a
    transaction that bounds its waits.
    """
    now = now or database_now()
    with reading() as using, connections[using].cursor() as cursor:
        among = f"AND zone NOT IN ({', '.join(['%s'] * len(lacking))})" if lacking else ""
        cursor.execute(SQL.replace("/* zones */", among), [*lacking, *lacking])
        plan_at, unplanned, *others, open_key = cursor.fetchone()
    plan_at = now if unplanned is not None else moment(plan_at)
    due_at, waiting_at, sent_at, lease_at, inspect_at, deliver_at = map(moment, others)
    return Agenda(now, plan_at, due_at, waiting_at, sent_at, lease_at, inspect_at, deliver_at, open_key is not None)


@dataclass(frozen=True)
class UpcomingSlot:
    """A slot that has not come yet; *row* is its entry, for whoever links to it.

    *opens_at*: when its job's window opens, where the slot comes while that is closed.
    """

    at: datetime
    entry: str
    zone: str
    paused: bool
    row: Entry = field(compare=False, repr=False)
    opens_at: datetime | None = None


def slots_of(entry: Entry, after: datetime, count: int) -> Iterator[UpcomingSlot]:
    """Yield the next *count* slots of *entry*; none where nothing plans it."""
    if entry.retired_at is not None or entry.parked_reason:
        return
    try:
        account = account_of(entry)
    except CronsError:
        return
    # Nothing plans what is accounted for already, as it is after a clock had been ahead.
    at = max(after, entry.accounted_until)
    for _ in range(count):
        at = account.schedule.next_after(at, account.tz)
        if at >= FAR_FUTURE:
            return
        paused = entry.paused_at is not None and (entry.paused_until is None or at <= entry.paused_until)
        window = account.policy.window
        opens_at = at if window is None else window.opening(at, account.tz)
        yield UpcomingSlot(at, entry.name, entry.zone, paused, entry, opens_at if opens_at > at else None)


def full_groups(using: str) -> dict[str, int]:
    """Return the groups at their limit, with how many runs of each are going."""
    limits = conf.groups
    running = queries.groups_running(using) if limits else Counter()
    return {group: running[group] for group, limit in limits.items() if running[group] >= limit}
