"""Following a run that another process runs: what it writes, as it writes it, and where it stands. For all who wait."""

from __future__ import annotations

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
AWAY = (OperationalError, InterfaceError, LedgerUnavailable)


@dataclass
class Following:
    """Follows one run, whoever runs it and however often it is tried; has no part in it.

    *note* is told of each change of where it stands, once; *show* gets each piece of output, in order.
    *run* is the row as it was read last; *was_deleted* says so; *has_vanished* that the process of its
    current attempt has ended, or has not kept its lease: what becomes of it is for a trigger that looks.
    """

    run: Run
    note: Callable[[str], None]
    show: Callable[[OutputChunk], None]
    was_deleted: bool = False
    has_vanished: bool = False
    _attempt: int = 0
    _seq: int = -1
    _is_away: bool = False
    _vanished: set[int] = field(default_factory=set)
    _told: set[tuple[str, datetime | None]] = field(default_factory=set)

    def poll(self) -> bool:
        """Show what is new; whether the run is over."""
        try:
            is_over = self._show_news()
        except AWAY as error:
            connection = connections[conf.database]
            if not connection.in_atomic_block:
                connection.close_if_unusable_or_obsolete()
            if not self._is_away:
                self.note(f"the database does not answer, trying again: {error}")
            self._is_away = True
            return False
        self._is_away = False
        return is_over

    def _show_news(self) -> bool:
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
            self._look_for_its_process()
        elif run.state != State.DONE:
            self._say_where_it_stands()
        return bool(run.state == State.DONE)

    def _new_chunks(self) -> Iterator[OutputChunk]:
        new = Q(attempt_id__gt=self._attempt) | Q(attempt_id=self._attempt, seq__gt=self._seq)
        chunks = OutputChunk.objects.using(conf.database).filter(new, attempt__run=self.run.pk)
        return iter(chunks.order_by("attempt_id", "seq"))

    def _say_where_it_stands(self) -> None:
        run = self.run
        mark = (run.state, run.wake_at)
        if mark in self._told:
            return
        self._told.add(mark)
        if run.wake_at is not None and run.tries and run.wake_at > ledger.database_now():
            self.note(f"run {run.pk}: {run.detail}; again at {local(run.wake_at, run.entry.zone)}.")
        else:
            self.note(f"run {run.pk} waits: {api.why_waiting([run]).get(run.pk) or 'for its turn'}.")

    def _look_for_its_process(self) -> None:
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
            # Where no scheduler looks any more nothing else would ever be said.
            self._vanished.add(going.pk)
            self.note(
                f"run {self.run.pk}: what ran it (pid {going.pid} on {going.host}) {how}. "
                "The next serve or tick that looks says what becomes of it."
            )


def current_attempt(run: Run) -> Attempt | None:
    """Return the newest attempt of *run*, as the row that was read last knows it."""
    return Attempt.objects.using(conf.database).filter(pk=run.current_attempt or 0).first()
