"""What is wrong now: the one answer for `crons health`, the first page, the alerts and the metrics.

A problem is found by a rule: a function that reads a `Look` (rows and a clock, never the memory of a process that
runs jobs) and yields a `Problem` for each thing that is wrong. To add one:

1. write `def my_rule(look: Look) -> Iterator[Problem]`, here or in a module beside this one, that reads what
   several rules need from the look, and what only it needs in one statement, along an index and up to `READ` rows;
2. add it to `RULES`, in the order in which people should read;
3. give its kind a line in docs/reference/cli.md (`health`), and, if it costs a statement, move the count in
   tests/crons/test_board.py: the first page may cost twelve.

A rule that raises is a problem of its own (`crons`) and hides none of the others; only a database that does not
answer ends the look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property

from django.db import DatabaseError, connections
from django.db.models import Q, QuerySet, Subquery
from django.db.models.expressions import RawSQL
from django.db.models.functions import Now

from crons import ledger
from crons.columns import UNREAD
from crons.conf import conf
from crons.exceptions import ClockInDoubt, CronsError, LedgerUnavailable
from crons.hosts.instances import is_gone
from crons.jobs import registry
from crons.models import Attempt, Entry, Heartbeat, Incident, Run
from crons.presentation import utc
from crons.schedules import FAR_FUTURE
from crons.side_output import get_log
from crons.watch.hosts import hosts, writes
from crons.watch.undeclared import RULE as UNDECLARED
from crons.watch.undeclared import undeclared
from crons.watch.unsynced import unsynced
from crons.watch.waiting import waiting

log = get_log("crons")
READ = 300
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
    """

    kind: str
    text: str
    entry: str = ""
    since: datetime | None = None
    next_step: str = ""
    run_id: int | None = None
    row: Entry | None = field(default=None, compare=False, repr=False)

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
    ) -> Problem:
        """Make the problem of one entry's *row*."""
        return cls(kind, text, row.name if row else "", since, next_step, run_id, row)


class Look:
    """What one look reads for all rules; each is read once, when the first rule asks for it."""

    def __init__(self, now: datetime | None = None) -> None:
        self._now = now

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

    @cached_property
    def stopped(self) -> list[Entry]:
        """The entries that are parked, that nothing has planned in time, or that are accounted for beyond now."""
        due = Q(wake_at__lt=self.late) | Q(wake_at__isnull=True, accounted_until__lt=self.late)
        due |= Q(accounted_until__gt=self.now + AHEAD)
        found = self._entries().filter(due | ~Q(parked_reason=""))
        return list(found.order_by("-parked_reason", "wake_at", "name")[: 2 * READ])

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
        """The rows of the schedulers, living or not, up to READ."""
        return list(Heartbeat.objects.using(conf.database).order_by("host", "started_at")[:READ])

    @cached_property
    def killed(self) -> list[Heartbeat]:
        """Those whose processes this machine's kernel does not know any more."""
        return [beat for beat in self.heartbeats if is_gone(beat.instance, beat.boot_id)]

    @cached_property
    def schedulers(self) -> list[Heartbeat]:
        """Those that live."""
        return [beat for beat in self.heartbeats if beat.expected_by >= self.now and beat not in self.killed]

    @cached_property
    def going(self) -> list[Attempt]:
        """The attempts that go on, the oldest first, with their runs and entries; one more than READ, to show it."""
        return list(going()[: READ + 1])

    def _entries(self) -> QuerySet[Entry]:
        return Entry.objects.using(conf.database).filter(retired_at=None)


def going() -> QuerySet[Attempt]:
    """Return the attempts that go on, the oldest first, with their runs and entries."""
    # A range, not IS NOT NULL: of that PostgreSQL thinks, until it has statistics, that it holds for all rows.
    rows = Attempt.objects.using(conf.database).filter(lease_until__isnull=False, lease_until__range=ANY_LEASE)
    return rows.select_related("run__entry").order_by("begun_at", "pk")


def problems(look: Look | None = None) -> list[Problem]:
    """List what is wrong now, in the order of the rules; an empty list means well.

    Raises: LedgerUnavailable if that cannot be told.
    """
    look = look or Look()
    return [problem for rule in RULES for problem in _found(rule, look)]


def _found(rule: Rule, look: Look) -> list[Problem]:
    try:
        return list(rule(look))
    except DatabaseError as error:
        raise LedgerUnavailable(f"the database did not answer: {error}") from error
    except LedgerUnavailable:
        raise
    except Exception as error:
        log.exception("the rule %s failed", rule.__name__)
        text = f"whether anything is {rule.__name__} cannot be told: {type(error).__name__}: {error}"
        return [Problem("crons", text, next_step="The log has the traceback; please report it.")]


def disabled(look: Look) -> Iterator[Problem]:
    """This process is switched off; others may not be, but who asks here must not read that all is well."""
    if not conf.enabled:
        text = 'switched off: CRONS["ENABLED"] or CRONS_ENABLED in the environment says that this process may record '
        yield Problem("disabled", text + "and begin nothing")


def broken(look: Look) -> Iterator[Problem]:
    """The `cron` modules that this process could not import, so that it begins none of their jobs."""
    for module, why in sorted(registry.broken.items()):
        yield Problem("broken", f"no job of {module} is begun here: {why}", next_step="See: manage.py check")


def parked(look: Look) -> Iterator[Problem]:
    """The entries that cannot be planned; nothing of them is lost meanwhile."""
    for entry in look.stopped:
        if entry.parked_reason:
            text = f"cannot be planned: {entry.parked_reason}"
            after = "Once that is mended: manage.py crons sync"
            yield Problem.of("parked", text, entry, since=entry.accounted_until, next_step=after)


def ahead(look: Look) -> Iterator[Problem]:
    """The entries that are accounted for beyond now, so that nothing plans them: a clock was ahead."""
    for entry in look.stopped:
        yield from reaches_ahead(entry, look.now)


def reaches_ahead(entry: Entry, now: datetime) -> Iterator[Problem]:
    """Yield the problem of one entry that is accounted for beyond *now*."""
    if entry.retired_at is None and entry.accounted_until > now + AHEAD:
        text = (
            f"is accounted for until {utc(entry.accounted_until)}, which has not come: "
            "a clock was ahead, and nothing of it falls due before"
        )
        yield Problem.of("clock", text, entry, next_step="Set it back to now: manage.py crons reconcile --clock")


def clocks(look: Look) -> Iterator[Problem]:
    """The hosts of schedulers whose clocks are far from the database's, and a clock that is not believed."""
    for beat in look.schedulers:
        if abs(beat.clock_skew_seconds) > AHEAD.total_seconds():
            text = f"the clock of {beat.host} is {beat.clock_skew_seconds:+.0f} s from the database's"
            yield Problem("clock", text, next_step="Have both keep time, for example with systemd-timesyncd")
    moments = [beat.beat_at for beat in look.heartbeats]
    moments += [at for each in look.entries[:1] if (at := getattr(each, "newest_run_at", None)) is not None]
    try:
        due = min((each.wake_at for each in look.entries if each.wake_at is not None), default=None)
        ledger.require_near(max(moments, default=None), due, look.now)
    except ClockInDoubt as doubt:
        yield Problem("clock", str(doubt))


def scheduler(look: Look) -> Iterator[Problem]:
    """The schedulers that were killed or say nothing any more."""
    for beat in look.heartbeats:
        if beat in look.schedulers:
            continue
        who = f"{beat.kind} on {beat.host} (pid {beat.pid})"
        text = f"{who} was killed" if beat in look.killed else f"{who} is silent"
        yield Problem("scheduler", text, since=beat.beat_at, next_step="Start it again there: manage.py crons serve")


def incidents(look: Look) -> Iterator[Problem]:
    """The incidents that are open; each has the kind of its rule. What is undeclared has a rule that looks itself."""
    rows = Incident.objects.using(conf.database).filter(open_key__isnull=False, closed_at=None)
    rows = rows.exclude(rule=UNDECLARED)
    for each in rows.select_related("entry").order_by("-changed_at", "pk")[:READ]:
        text = f"{each.summary} ({each.count} times)" if each.count > 1 else each.summary
        after = f"See: manage.py crons log {each.run_id}" if each.run_id else ""
        yield Problem.of(each.rule, text, each.entry, since=each.opened_at, next_step=after, run_id=each.run_id)


def waiting_runs(look: Look) -> Iterator[Problem]:
    """The runs that nobody begins, though nothing of their entry is in the way."""
    for each in waiting(look.late):
        least = "at least " if each.at_least else ""
        runs_wait = "a run waits" if each.count == 1 else f"{least}{each.count} runs wait"
        text, after = f"{runs_wait} to be begun: {each.why}", f"See: manage.py crons show {each.run_id}"
        yield Problem.of("waiting", text, each.entry, since=each.since, next_step=after, run_id=each.run_id)


def stuck(look: Look) -> Iterator[Problem]:
    """The attempts whose lease nobody renews, or that go on past their timeout: what they block waits for somebody."""
    for each in look.going:
        timeout = _timeout_of(each.run.entry)
        who = f"attempt {each.pk} on {each.host} (pid {each.pid})"
        if each.lease_until is not None and each.lease_until < look.now:
            since, text = each.lease_until, f"{who} has not renewed its lease: is that process stopped?"
        elif timeout is not None and each.begun_at + timeout < look.late:
            since, text = each.begun_at + timeout, f"{who} goes on past its timeout, and could not be ended"
        else:
            continue
        text = f"{text} {each.error}" if each.error else text
        after = f"See: manage.py crons show {each.run_id}"
        yield Problem.of("stuck", text, each.run.entry, since=since, next_step=after, run_id=each.run_id)


def _timeout_of(entry: Entry) -> timedelta | None:
    try:
        return ledger.policy_of(entry).timeout
    except CronsError:
        return None  # it is parked, which says why


def overdue(look: Look) -> Iterator[Problem]:
    """The entries that were to be planned, and nothing has looked."""
    after = "Start manage.py crons serve, or see why cron does not call manage.py crons tick"
    for entry in look.overdue:
        text = "was due, and nothing has looked" if entry.wake_at else "is declared, and nothing has looked yet"
        since = entry.wake_at or entry.accounted_until
        yield Problem.of("overdue", text, entry, since=since, next_step=after)


Rule = Callable[[Look], Iterator[Problem]]
RULES: list[Rule] = [
    disabled,
    writes,
    hosts,
    clocks,
    broken,
    undeclared,
    unsynced,
    parked,
    ahead,
    scheduler,
    incidents,
    stuck,
    waiting_runs,
    overdue,
]
