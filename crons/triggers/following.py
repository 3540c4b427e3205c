"""Following a run that another process runs, to its end: for `crons log --follow` and `crons run --wait`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from django.db import InterfaceError, OperationalError, connections
from django.db.models import Q

from crons import api, ledger
from crons.conf import conf
from crons.exceptions import LedgerUnavailable
from crons.hosts import is_gone
from crons.models import Attempt, OutputChunk, Run
from crons.presentation import local
from crons.verdicts import State

POLL_SECONDS = 0.5
NO_ANSWER = (OperationalError, InterfaceError, LedgerUnavailable)


@dataclass
class Follower:
    """Follows one run, whoever runs it and however often it is tried; changes nothing about it.

    *note* gets each change of its state, once, in words; *show* gets each piece of output, in order.
    *run* is the row as it was read last; *was_deleted* says that there is none any more. *has_vanished* says that the
    process of its current attempt has ended, or has let its lease run out: the next tick or serve decides what then.
    """

    run: Run
    note: Callable[[str], None]
    show: Callable[[OutputChunk], None]
    was_deleted: bool = False
    has_vanished: bool = False
    _attempt: int = 0
    _seq: int = -1
    _is_unanswered: bool = False
    _vanished: set[int] = field(default_factory=set)
    _noted: set[tuple[str, datetime | None]] = field(default_factory=set)

    @property
    def has_no_process(self) -> bool:
        """Whether nobody runs it now: the next look at the clock may begin it, or find it lost."""
        return self.has_vanished or self.run.state in (State.DUE, State.WAITING)

    def follow(
        self, goes_on: Callable[[], bool] = lambda: True, *, pause: Callable[[float], None] = time.sleep
    ) -> bool:
        """Poll until the run is over, or until *goes_on* says no after a *pause*; whether the run is over."""
        while not self.poll():
            pause(POLL_SECONDS)
            if not goes_on():
                return False
        return True

    def poll(self) -> bool:
        """Show what is new; whether the run is over."""
        try:
            is_over = self._show_what_is_new()
        except NO_ANSWER as error:
            connection = connections[conf.database]
            if not connection.in_atomic_block:
                connection.close_if_unusable_or_obsolete()
            if not self._is_unanswered:
                self.note(f"the database does not answer, trying again: {error}")
            self._is_unanswered = True
            return False
        self._is_unanswered = False
        return is_over

    def _show_what_is_new(self) -> bool:
        # The state first: an ending is written after all output, so what is read below is all of it.
        run = api.history().filter(pk=self.run.pk).first()
        for chunk in self._new_chunks():
            self._attempt, self._seq = chunk.attempt_id, chunk.seq
            self.show(chunk)
        if run is None:
            self.note(f"run {self.run.pk} does not exist any more.")
            self.was_deleted = True
            return True
        self.run, self.has_vanished = run, False
        if run.state == State.RUNNING:
            self._check_process()
        elif run.state != State.DONE:
            self._note_state()
        return bool(run.state == State.DONE)

    def _new_chunks(self) -> Iterator[OutputChunk]:
        new = Q(attempt_id__gt=self._attempt) | Q(attempt_id=self._attempt, seq__gt=self._seq)
        chunks = OutputChunk.objects.using(conf.database).filter(new, attempt__run=self.run.pk)
        return iter(chunks.order_by("attempt_id", "seq"))

    def _note_state(self) -> None:
        run = self.run
        mark = (run.state, run.wake_at)
        if mark in self._noted:
            return
        self._noted.add(mark)
        if run.wake_at is not None and run.tries and run.wake_at > ledger.database_now():
            self.note(f"run {run.pk}: {run.detail}; again at {local(run.wake_at, run.entry.zone)}.")
        else:
            self.note(f"run {run.pk} waits: {api.why_waiting([run]).get(run.pk) or 'for its turn'}.")

    def _check_process(self) -> None:
        going = current_attempt(self.run)
        if going is None or going.outcome:
            return
        if is_gone(going.instance, going.boot_id):
            how = "was killed"
        elif going.lease_until is not None and going.lease_until < ledger.database_now():
            how = f"has not been heard of since its lease ended at {local(going.lease_until, self.run.entry.zone)}"
        else:
            return
        self.has_vanished = True
        if going.pk not in self._vanished:
            # Noted here: where no scheduler runs any more, nothing else would ever say it.
            self._vanished.add(going.pk)
            self.note(
                f"run {self.run.pk}: what ran it (pid {going.pid} on {going.host}) {how}. "
                "The next serve or tick that looks says what becomes of it."
            )


def current_attempt(run: Run) -> Attempt | None:
    """Return the newest attempt of *run*, as the row that was read last knows it."""
    return Attempt.objects.using(conf.database).filter(pk=run.current_attempt or 0).first()
