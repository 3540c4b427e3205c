"""What rules read and what they yield: a `Look`, rows and a clock, read once for all of them; a `Problem`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from django.db import connections
from django.db.models import BooleanField, F, Q, QuerySet, Subquery
from django.db.models.expressions import RawSQL
from django.db.models.functions import Now

from crons import ledger
from crons.columns import UNREAD
from crons.conf import conf
from crons.hosts import is_gone
from crons.models import Attempt, Entry, Heartbeat, Incident, Run
from crons.schedules import FAR_FUTURE
from crons.watch.newest import Newest, newest_of_all

# Retiring may have been a mistake, and what is missing does not show by itself.
RETIRED_LATELY = timedelta(days=7)
# The most rows of a kind that a rule, or the first page, reads.
READ = 300
Visible = Callable[[QuerySet[Any]], QuerySet[Any]]
READ_ONLY = "current_setting('transaction_read_only')"
# Clocks of hosts and of database servers that follow each other differ by less.
AHEAD = timedelta(minutes=1)
ANY_LEASE = (UNREAD, FAR_FUTURE)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong now.

    *kind* is a word that rules and people know it by; *entry* is the name of the entry that it is about, or empty;
    *text* says it, without the moment; *since* is when it began, where that is known; *next_step* is what to do.
    *row* is the entry for whoever links to it, not always whole; *run_id* is the run to look at.
    What its incident needs: *about* tells apart what one rule finds and is no entry, as a host is; *severity* where it
    is not the rule's own; *count* grows while it gets worse; *mark* is what changes when it becomes another problem
    (empty: the text without its numbers); *facts* are labels and texts that people are told with it.
    """

    kind: str
    text: str
    entry: str = ""
    since: datetime | None = None
    next_step: str = ""
    run_id: int | None = None
    row: Entry | None = field(default=None, compare=False, repr=False)
    about: str = ""
    severity: str = ""
    count: int = 1
    mark: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    # The open incident that says it, for whoever acknowledges it.
    incident: Incident | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(
        cls,
        kind: str,
        text: str,
        row: Entry | None,
        *,
        since: datetime | None = None,
        next_step: str = "",
        run_id: int | None = None,
        **more: Any,
    ) -> Problem:
        """Make the problem of one entry's *row*; *more* are others of its fields."""
        return cls(kind, text, row.name if row else "", since, next_step, run_id, row, **more)

    def as_json(self) -> dict[str, Any]:
        """Return it as data."""
        return {name: getattr(self, name) for name in ("kind", "entry", "text", "since", "next_step", "run_id")}


def all_rows(rows: QuerySet[Any]) -> QuerySet[Any]:
    """Take nothing away."""
    return rows


class Look:
    """What one look reads for all rules; each is read once, when the first rule asks for it.

    *visible* leaves out the rows of entries that whoever looks may not see; *tell* takes the names of such entries out
    of incidents that many share.
    """

    def __init__(
        self,
        now: datetime | None = None,
        visible: Visible = all_rows,
        tell: Callable[[Sequence[Incident]], object] = list,
    ) -> None:
        self._now = now
        self.visible = visible
        self.tell = tell

    @property
    def sees_all(self) -> bool:
        """Whether no row is left out."""
        return self.visible is all_rows

    @cached_property
    def entries(self) -> list[Entry]:
        """The entries that wake first, up to READ, with the database's time, and that of the newest run."""
        # With these: two statements less than asking for them.
        newest = Run.objects.using(conf.database).order_by("-pk").values("recorded_at")[:1]
        rows = self._entries().annotate(asked_at=Now(), newest_run_at=Subquery(newest))
        if connections[conf.database].vendor == "postgresql":
            rows = rows.annotate(read_only=RawSQL(READ_ONLY, ()))
        return list(rows.order_by("wake_at", "name")[:READ])

    @cached_property
    def now(self) -> datetime:
        """The time at which this looks: the database's, unless it was given."""
        if self._now is not None:
            return self._now
        if ledger.transactions.now_in_tests is not None:
            return ledger.database_now()  # of a clock that a test has stopped the database knows nothing
        asked_at: datetime | None = getattr(self.entries[0], "asked_at", None) if self.entries else None
        return asked_at or ledger.database_now()

    @property
    def is_read_only(self) -> bool:
        """Whether PostgreSQL says that it takes no writes. Cost: one statement where there is no entry to ask with."""
        if self.entries:
            return getattr(self.entries[0], "read_only", "off") == "on"
        if connections[conf.database].vendor != "postgresql":
            return False
        with connections[conf.database].cursor() as cursor:
            cursor.execute(f"SELECT {READ_ONLY}")
            return bool(cursor.fetchone()[0] == "on")

    @property
    def late(self) -> datetime:
        """What was due before this is late."""
        return self.now - conf.grace

    @property
    def stopped(self) -> list[Entry]:
        """The entries that are parked, that nothing has planned in time, or that are accounted for beyond now."""
        return [each for each in self._apart if each.retired_at is None]

    @property
    def retired(self) -> list[Entry]:
        """The entries that were retired lately, the newest first."""
        return [each for each in self._apart if each.retired_at is not None]

    @cached_property
    def _apart(self) -> list[Entry]:
        # In one statement, because both read all entries.
        due = Q(wake_at__lt=self.late) | Q(wake_at__isnull=True, accounted_until__lt=self.late)
        due |= Q(accounted_until__gt=self.now + AHEAD)
        stopped = Q(retired_at=None) & (due | ~Q(parked_reason=""))
        rows = self.visible(Entry.objects.using(conf.database))
        rows = rows.filter(stopped | Q(retired_at__gte=self.now - RETIRED_LATELY))
        order = (F("retired_at").desc(nulls_first=True), "-parked_reason", "wake_at", "name")
        return list(rows.order_by(*order)[: 3 * READ])

    @property
    def overdue(self) -> list[Entry]:
        """The entries that nothing has planned in time, though they could be."""
        return [
            each
            for each in self.stopped
            if not each.parked_reason and (each.wake_at or each.accounted_until) < self.late
        ]

    @cached_property
    def heartbeats(self) -> list[Heartbeat]:
        """The rows of the schedulers, living or not, up to READ; without the names that they declare.

        *says_what* is whether those can be read: a hundred thousand are compared in the database.
        """
        is_postgres = connections[conf.database].vendor == "postgresql"
        is_list = "jsonb_typeof(declares) = 'array'" if is_postgres else "json_valid(declares)"
        says_what = RawSQL(f"COALESCE({is_list}, FALSE)", (), output_field=BooleanField())
        rows = Heartbeat.objects.using(conf.database).defer("declares").annotate(says_what=says_what)
        return list(rows.order_by("host", "started_at")[:READ])

    @cached_property
    def declares(self) -> dict[int, set[str]]:
        """The names that the living schedulers declare, by the ids of their rows."""
        rows = Heartbeat.objects.using(conf.database).filter(pk__in=[beat.pk for beat in self.schedulers])
        return {pk: set(names or ()) for pk, names in rows.values_list("pk", "declares")}

    @cached_property
    def killed(self) -> list[Heartbeat]:
        """Those whose processes this machine's kernel does not know any more."""
        return [beat for beat in self.heartbeats if is_gone(beat.instance, beat.boot_id)]

    @cached_property
    def schedulers(self) -> list[Heartbeat]:
        """Those that live."""
        return [beat for beat in self.heartbeats if beat.expected_by >= self.now and beat not in self.killed]

    @cached_property
    def newest(self) -> list[Newest]:
        """The newest success of each entry of which something may be told by it; for rules over time."""
        return newest_of_all(self.now)

    @cached_property
    def going(self) -> list[Attempt]:
        """The attempts that go on, the oldest first, with their runs and entries; one more than READ, to show it."""
        return list(self.visible(going())[: READ + 1])

    def _entries(self) -> QuerySet[Entry]:
        return self.visible(Entry.objects.using(conf.database).filter(retired_at=None))


def going() -> QuerySet[Attempt]:
    """Return the attempts that go on, the oldest first, with their runs, entries, and what their jobs said."""
    # A range, not IS NOT NULL: of that PostgreSQL thinks, until it has statistics, that it holds for all rows.
    rows = Attempt.objects.using(conf.database).filter(lease_until__isnull=False, lease_until__range=ANY_LEASE)
    return rows.select_related("run__entry", "work").order_by("begun_at", "pk")
