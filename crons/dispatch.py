"""Joining: look → record → expire → begin → hand over. The only file where these meet."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from crons import ledger, watch
from crons.attempts import Begun, Chunk, Finished, Renewed, Unstarted
from crons.conf import conf
from crons.exceptions import LedgerUnavailable
from crons.executors.base import Executor
from crons.executors.sending import Publisher, Returned, Sender
from crons.hosts.instances import Instance, boottime
from crons.jobs import registry
from crons.ledger import BATCH, Agenda, Recorded
from crons.side_output import Echo, get_log
from crons.signals import attempt_begun

log = get_log("crons")
# Runs that can no longer begin are looked for when slots were recorded, and else this often.
SETTLE_SECONDS = 1.0
# Columns that hold no moment are looked for by the first pass of a process, and then this often.
MEND_SECONDS = 10.0


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


# What a look waits for publishers at the end of a process that will not look again, and for the ledger's word on what
# it has begun.
LAST_CALL_SECONDS = 10.0
AGAIN_SECONDS = 0.5
# How long an attempt that has ended is left to its silent process by one that cannot tell how long all went well.
LONG_LEASES = 10
# A moment that was read longer ago is not what a lease may be counted from.
OLD_SECONDS = 1.0


class Dispatcher:
    """One process's part in the schedule: it looks at the clock, records, begins, and hands over.

    *executors* by alias run what it begins; *senders* offer it to other processes. It is told the time where
    that matters and otherwise asks the database. *sent* counts the messages.
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
        self.executors = executors
        self.publishers = {alias: Publisher(sender) for alias, sender in (senders or {}).items()}
        self.sent = 0
        self._returned: list[Returned] = []
        self._after_trouble = False
        self._settle_at = self._mend_at = 0.0
        self._clock = ledger.ClockWatch()
        self.lacking: set[str] = set()
        self._unstarted = Unstarted()
        self._well_since = boottime()

    def turn(self, now: datetime | None = None, *, beginning: bool = True) -> Pass:
        """Do everything that is due: record slots, give up what is lost, begin what there is room for.

        Cost: one statement when nothing is due and nothing runs.
        Raises: LedgerUnavailable; what was begun before is still ours and goes on.
        """
        looked_at = boottime()
        with self._noticing_silence():
            self._take_back(now)
            if self._mend_at <= time.monotonic():
                ledger.mend_moments(now)
                self._mend_at = time.monotonic() + MEND_SECONDS
            agenda = ledger.agenda(now, lacking=self.lacking)
        if now is None:
            self._clock.check(agenda.now)
        done = Pass(agenda)
        if agenda.must_record:
            self._record(done, agenda.now)
        if agenda.lease_at is not None and not self._after_trouble:
            # After a failed write others could not renew either: nobody is declared lost in that pass.
            done.lost = self._expire(agenda.now)
        self._after_trouble = False
        # At each look: what this process began and does not run would be in the way as long as it lives.
        released = agenda.lease_at is not None and self._release(agenda.now)
        if done.runs:
            self._settle_at = 0.0  # a new slot may overlap a run still going: that is decided now
        if beginning and (agenda.may_begin or done.runs or done.lost or released):
            # Recording takes its time after a long absence, and so does a lock; a lease must not have begun before.
            is_old = done.runs or boottime() - looked_at > OLD_SECONDS
            done.begun = self.begin(ledger.database_now() if now is None and is_old else agenda.now)
        if agenda.inspect_at is not None or agenda.open_incidents or done.lost:
            watch.inspect(agenda.now)
        return done

    def begin(self, now: datetime, *, only_run: int | None = None, arrived: bool = False) -> list[Begun]:
        """Begin what there is room for and hand it to its executor; send what others begin.

        Args: *arrived* says that *only_run* is here because a message named it.
        """
        looked_at = boottime()
        free = {alias: executor.free() for alias, executor in self.executors.items()}
        if only_run is not None and not arrived and not self._after_trouble:
            # Nobody else may ever look: what was killed would be in the way of all the slots to come.
            self._expire(now)
        if only_run is not None or self._settle_at <= time.monotonic():
            ledger.settle(now)
            self._settle_at = time.monotonic() + SETTLE_SECONDS
        self._take_refused()
        if self._unstarted:
            self._release(now)
        now += timedelta(seconds=boottime() - looked_at) if boottime() - looked_at > OLD_SECONDS else timedelta(0)
        begun = ledger.begin(
            now, free, registry.jobs, self.instance, only_run=only_run, arrived=arrived, unstarted=self._unstarted
        )
        self._start(begun)
        for each in begun:
            attempt_begun.send_robust(None, begun=each)
        try:
            with self.noticing_trouble():
                self._send(now, only_run)
        except LedgerUnavailable as error:
            if not begun:
                raise
            # What was begun is in our hands: who ended now would take it along.
            log.warning("what runs elsewhere is sent at the next look: %s", error)
        return begun

    def finish_sending(self) -> None:
        """Wait for what is being sent, a short while; what was not taken is due again."""
        until = time.monotonic() + LAST_CALL_SECONDS
        try:
            for publisher in self.publishers.values():
                publisher.join(max(until - time.monotonic(), 0.0))
            self._take_back(None)
        finally:
            self.close()

    def release_refused(self) -> None:
        """Release at once what an executor took and could not start: it is due again, for anyone."""
        self._take_refused()
        if self._unstarted.reasons:
            self._release(None)

    def _take_refused(self) -> None:
        for executor in self.executors.values():
            self._unstarted.refuse(executor.refused())

    def release_unstarted(self) -> None:
        """Release what may have been begun without an answer; for a process that ends, which waits a little for that.

        Else it would be found lost, as if its job may have run.
        """
        until = time.monotonic() + LAST_CALL_SECONDS
        self._take_refused()
        while self._unstarted:
            try:
                self._release(None)
                return
            except LedgerUnavailable as error:
                if time.monotonic() >= until:
                    log.warning("what was begun without an answer will be found lost, though it never ran: %s", error)
                    return
                time.sleep(AGAIN_SECONDS)

    def close(self) -> None:
        """Let the publishers' threads end as soon as they are idle; what is sent later starts others."""
        for publisher in self.publishers.values():
            publisher.close()

    def _send(self, now: datetime, only_run: int | None) -> None:
        room = {alias: publisher.room() for alias, publisher in self.publishers.items()}
        if any(room.values()):
            messages = ledger.send(now, room, only_run=only_run)
            self.sent += len(messages)
            for alias, publisher in self.publishers.items():
                publisher.post([each for each in messages if each.executor == alias])

    def _take_back(self, now: datetime | None) -> None:
        self._returned += [each for publisher in self.publishers.values() for each in publisher.returned()]
        if self._returned:
            at = now or ledger.database_now()
            # Of a heap one message failed and the rest was not tried: one write for each reason, not for each run.
            for error in dict.fromkeys(each.error for each in self._returned):
                alike = [each for each in self._returned if each.error == error]
                again_at = at + timedelta(seconds=max(each.pause_seconds for each in alike))
                detail = f"could not be sent: {error}"
                ledger.take_back([each.run for each in alike], again_at, detail, unsent=True)
            self._returned = []

    def running(self) -> int:
        """Count the attempts started here that are not yet written down as ended."""
        return len(self._held())

    def _held(self) -> set[int]:
        return {attempt for executor in self.executors.values() for attempt in executor.running()}

    def _start(self, begun: list[Begun]) -> None:
        self._unstarted.attempts |= {each.attempt for each in begun}
        try:
            for alias, executor in self.executors.items():
                mine = [each for each in begun if each.executor == alias]
                if mine:
                    executor.start(mine)
        finally:
            self._unstarted.attempts -= self._held()

    def _expire(self, now: datetime) -> list[int]:
        # Others may be about to write endings down: just after the database was away, or as far as a process that
        # has just started can tell. Those get much longer.
        is_well = boottime() - self._well_since > (conf.lease / 3).total_seconds()
        return ledger.expire(now, mine=self.instance.name, patience=conf.lease if is_well else LONG_LEASES * conf.lease)

    def _release(self, now: datetime | None) -> list[int]:
        """End the attempts of this process that no executor of it has; say which."""
        self._take_refused()
        released = ledger.release(self.instance.name, self._held(), self._unstarted, now or ledger.database_now())
        if released:
            log.warning("released what this process was said to run, and does not", extra={"attempts": released})
        return released

    @contextmanager
    def noticing_trouble(self) -> Iterator[None]:
        """Remember a write that failed inside: the next pass expires nothing."""
        with self._noticing_silence():
            try:
                yield
            except LedgerUnavailable:
                self._after_trouble = True
                raise

    @contextmanager
    def _noticing_silence(self) -> Iterator[None]:
        try:
            yield
        except LedgerUnavailable:
            self._well_since = boottime()
            raise

    def _record(self, done: Pass, now: datetime) -> None:
        while True:
            recorded = ledger.record(now, self.trigger, lacking=self.lacking)
            _add(done, recorded)
            if recorded.entries < BATCH:
                return


def _add(done: Pass, recorded: Recorded) -> None:
    done.runs += len(recorded.runs)
    done.written_off += sum(each.count for each in recorded.ranges)
    done.parked += recorded.parked
    for name, zone in recorded.left.items():
        log.warning("%s is left to other hosts: this machine has no time zone data of %s", name, zone)
    for name in recorded.parked:
        log.error("entry parked", extra={"entry": name})


class DispatcherWriter:
    """The ledger as executors see it: the database's time is asked for at each write.

    *echo* shows what has been stored; what it could not show is noted in the record of each attempt.
    """

    def __init__(self, dispatcher: Dispatcher, echo: Echo | None = None) -> None:
        self._dispatcher = dispatcher
        self._echo = echo
        self._last_seq: dict[int, int] = {}

    def renew(self, attempts: Collection[int]) -> Renewed:
        """Extend the leases of *attempts*."""
        with self._dispatcher.noticing_trouble():
            return ledger.renew(attempts, ledger.database_now())

    def write_output(self, chunks: Sequence[Chunk]) -> None:
        """Store *chunks*."""
        with self._dispatcher.noticing_trouble():
            ledger.write_output(chunks)
        if self._echo is not None:
            for chunk in chunks:
                self._echo.show(chunk.stream, chunk.text)
                self._last_seq[chunk.attempt] = chunk.seq

    def finish(self, finished: Sequence[Finished]) -> None:
        """Store how attempts ended, and open or close what incidents follow."""
        with self._dispatcher.noticing_trouble():
            if self._echo is not None and (note := self._echo.note()):
                written = [each.attempt for each in finished if each.attempt in self._last_seq]
                ledger.write_output([Chunk(each, self._last_seq[each] + 1, "log", note) for each in written])
            ledger.finish(finished, ledger.database_now())
