"""One turn: read what is due, record, expire, begin, hand over. The only file where these meet."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from crons import ledger, watch
from crons.exceptions import LedgerUnavailable
from crons.executors import Begun, Executor, Sender
from crons.executors.local import LocalAttempts
from crons.executors.publishing import Publishers
from crons.executors.writer import DatabaseWriter, LedgerHealth
from crons.hosts import Instance, boottime
from crons.jobs import registry
from crons.ledger import BATCH, Agenda, Recorded
from crons.side_output import Echo, get_log

log = get_log("crons")
# Runs that can no longer begin are looked for when slots were recorded, and else this often.
SETTLE_SECONDS = 1.0
# Columns that hold no moment are looked for by the first pass of a process, and then this often.
MEND_SECONDS = 10.0
# Whether what is open is over is asked this often, and whenever something has ended badly.
INCIDENT_SECONDS = 5.0
# A moment that was read longer ago is not what a lease may be counted from.
OLD_SECONDS = 1.0


@dataclass
class Pass:
    """What one pass did."""

    agenda: Agenda
    runs: int = 0
    written_off: int = 0
    parked: list[str] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    begun: list[Begun] = field(default_factory=list)

    def add(self, later: Pass) -> None:
        """Count what a later pass did as well."""
        self.runs += later.runs
        self.written_off += later.written_off
        self.parked += later.parked
        self.lost += later.lost
        self.begun += later.begun

    def summary(self, sent: int) -> dict[str, int]:
        """Return what `crons tick --json` and POST /crons/tick say of it and of the *sent* messages."""
        return {
            "recorded": self.runs,
            "written_off": self.written_off,
            "sent": sent,
            "lost": len(self.lost),
            "parked": len(self.parked),
        }

    def note(self, recorded: Recorded) -> None:
        """Count what was recorded, and log what could not be."""
        self.runs += len(recorded.runs)
        self.written_off += sum(each.count for each in recorded.ranges)
        self.parked += recorded.parked
        for name, zone in recorded.left.items():
            log.warning(
                "%s is left to other hosts: this machine has no time zone data of %s",
                name,
                zone,
                extra={"event": "zone.missing", "entry": name, "zone": zone},
            )
        for name in recorded.parked:
            log.error("entry parked", extra={"event": "entry.parked", "entry": name})


class Dispatcher:
    """One process's part in the schedule: it looks at the clock, records, begins, and hands over.

    *executors* by alias run what it begins (*attempts*); *senders* offer it to other processes (*publishers*).
    *lacking* are the time zones that this machine has no data of. Without a *now* from its caller, the time is that of
    the database.
    """

    def __init__(
        self,
        trigger: str,
        instance: Instance,
        executors: Mapping[str, Executor],
        senders: Mapping[str, Sender] | None = None,
    ) -> None:
        self.trigger = trigger
        self.instance = instance
        self.attempts = LocalAttempts(instance, executors)
        self.publishers = Publishers(senders or {})
        self.health = LedgerHealth()
        self.lacking: set[str] = set()
        self._clock = ledger.ClockWatch()
        self._settle_at = self._mend_at = self._incidents_at = 0.0

    def running(self) -> int:
        """Count the attempts started here that are not yet written down as ended."""
        return len(self.attempts.running())

    def inspect_rules(self, now: datetime, kind: str) -> None:
        """Have incidents follow what all rules find; *kind* stands for this process, which has no heartbeat."""
        found = watch.inspect_rules(now, kind)
        if found is not None:
            watch.alive({each.kind for each in found})

    def writer(self, echo: Echo | None = None) -> DatabaseWriter:
        """Return what executors write with; *echo* shows what has been stored."""
        return DatabaseWriter(self.health, echo)

    def turn(self, now: datetime | None = None, *, beginning: bool = True) -> Pass:
        """Do everything that is due: record slots, find attempts lost, begin what there is room for.

        Cost: one statement when nothing is due and nothing runs.
        Raises: LedgerUnavailable; what this process has begun goes on.
        """
        looked_at = boottime()
        agenda = self._look(now)
        done = Pass(agenda)
        if agenda.must_record:
            self._record(done, agenda.now)
        if agenda.lease_at is not None and not self.health.has_failed:
            # After a failed write others could not renew either: nobody is declared lost in that pass.
            done.lost = self.health.expire(self.instance, agenda.now)
        self.health.has_failed = False
        # In each pass: an attempt that this process began and does not run would block its entry as long as it lives.
        released = agenda.lease_at is not None and self.attempts.release(agenda.now)
        if beginning and (agenda.may_begin or done.runs or done.lost or released):
            # Recording takes its time after a long absence, and so does a lock; a lease must not have begun before.
            is_old = done.runs or boottime() - looked_at > OLD_SECONDS
            done.begun = self.begin(ledger.database_now() if now is None and is_old else agenda.now)
        is_new = agenda.inspect_at is not None or done.lost or done.runs or done.written_off
        if is_new or (agenda.open_incidents and self._incidents_at <= time.monotonic()):
            watch.inspect(agenda.now)
            self._incidents_at = time.monotonic() + INCIDENT_SECONDS
        return done

    def begin(self, now: datetime, *, only_run: int | None = None, arrived: bool = False) -> list[Begun]:
        """Begin what there is room for and hand it to its executor; send what others begin.

        Args: *arrived* says that *only_run* is here because a message named it.
        """
        looked_at = boottime()
        free = self.attempts.free()
        if only_run is not None and not arrived and not self.health.has_failed:
            # `run NAME` may be the only trigger: an attempt that was killed would block all slots to come.
            self.health.expire(self.instance, now)
        if only_run is not None or self._settle_at <= time.monotonic():
            ledger.settle(now)
            self._settle_at = time.monotonic() + SETTLE_SECONDS
        self.attempts.release_in_doubt(now)
        waited = boottime() - looked_at
        now += timedelta(seconds=waited) if waited > OLD_SECONDS else timedelta(0)
        begun = ledger.begin(
            now,
            free,
            registry.jobs,
            self.instance,
            only_run=only_run,
            arrived=arrived,
            unstarted=self.attempts.unstarted,
        )
        self.attempts.start(begun)
        try:
            with self.health.writing():
                self.publishers.send(now, only_run)
        except LedgerUnavailable as error:
            if not begun:
                raise
            # Not raised: a process that ended now would kill the attempts that it has just begun.
            log.warning("what runs elsewhere is sent at the next turn: %s", error, extra={"event": "sending.waiting"})
        return begun

    def _look(self, now: datetime | None) -> Agenda:
        """Read what there is to do, once what was not sent is due again and garbled moments are mended."""
        with self.health.reading():
            self.publishers.requeue_unsent(now)
            if self._mend_at <= time.monotonic():
                ledger.mend_moments(now)
                self._mend_at = time.monotonic() + MEND_SECONDS
            agenda = ledger.agenda(now, lacking=self.lacking)
        if now is None:
            self._clock.check(agenda.now)
        return agenda

    def _record(self, done: Pass, now: datetime) -> None:
        while True:
            recorded = ledger.record(now, self.trigger, lacking=self.lacking)
            done.note(recorded)
            if recorded.entries < BATCH:
                break
        if done.runs:
            self._settle_at = 0.0  # a new slot may overlap a run still going: that is decided now
