"""Following a run: what its attempts write, as they write it, until it is over."""

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
from crons.instances import is_gone
from crons.management import rows
from crons.management.moments import local
from crons.management.output import Out
from crons.models import Attempt, OutputChunk, Run
from crons.verdicts import State, Verdict

LOOK_SECONDS = 0.5
STOPPED_BY_CTRL_C = 130
AWAY = (OperationalError, InterfaceError, LedgerUnavailable)


@dataclass
class Follower:
    """Prints what one run writes; *pause* waits between looks. Whoever follows has no part in the run."""

    run: Run
    out: Out
    stream: str = ""
    pause: Callable[[float], None] = time.sleep
    _attempt: int = 0
    _seq: int = -1
    _code: int = 1
    _is_away: bool = False
    _vanished: set[int] = field(default_factory=set)
    _told: set[tuple[str, datetime | None]] = field(default_factory=set)

    def follow(self) -> int:
        """Print until the run is over; return 0 if it succeeded, else what its last attempt exited with."""
        try:
            while not self._look():
                self.pause(LOOK_SECONDS)
        except KeyboardInterrupt:
            self.out.note(f"run {self.run.pk} goes on. See: manage.py crons show {self.run.pk}")
            return STOPPED_BY_CTRL_C
        return self._code

    def _look(self) -> bool:
        """Print what is new; whether the run is over."""
        try:
            is_over = self._print_news()
        except AWAY as error:
            connection = connections[conf.database]
            if not connection.in_atomic_block:
                connection.close_if_unusable_or_obsolete()
            if not self._is_away:
                self.out.note(f"the database does not answer, trying again: {error}")
            self._is_away = True
            return False
        self._is_away = False
        return is_over

    def _print_news(self) -> bool:
        # The state first: an ending is written after all output, so what is read below is all of it.
        run = api.history().filter(pk=self.run.pk).first()
        for chunk in self._new_chunks():
            self._print(chunk)
        if run is None:
            self.out.note(f"run {self.run.pk} does not exist any more.")
            self._code = 1
            return True
        self.run = run
        if run.state != State.DONE:
            self._say_where_it_stands()
            return False
        self._code = self._exit_code()
        self.out.note(f"run {run.pk} of {run.entry.name}: {rows.standing(run).text}")
        return True

    def _new_chunks(self) -> Iterator[OutputChunk]:
        new = Q(attempt_id__gt=self._attempt) | Q(attempt_id=self._attempt, seq__gt=self._seq)
        chunks = OutputChunk.objects.using(conf.database).filter(new, attempt__run=self.run.pk)
        return iter(chunks.order_by("attempt_id", "seq"))

    def _print(self, chunk: OutputChunk) -> None:
        self._attempt, self._seq = chunk.attempt_id, chunk.seq
        if self.stream and chunk.stream != self.stream:
            return
        if self.out.json:
            self.out.row(rows.as_json(chunk))
        else:
            self.out.text(chunk.text)
            self.out.stdout.flush()

    def _say_where_it_stands(self) -> None:
        run = self.run
        if run.state == State.RUNNING:
            self._say_if_vanished()
            return
        mark = (run.state, run.wake_at)
        if mark in self._told:
            return
        self._told.add(mark)
        if run.wake_at is not None and run.tries and run.wake_at > ledger.database_now():
            self.out.note(f"run {run.pk}: {run.detail}; again at {local(run.wake_at, run.entry.zone)}.")
        else:
            self.out.note(f"run {run.pk} waits: {api.why_waiting([run]).get(run.pk) or 'for its turn'}.")

    def _say_if_vanished(self) -> None:
        # Where no scheduler looks any more nothing else would ever be printed.
        going = Attempt.objects.using(conf.database).filter(pk=self.run.current_attempt or 0, outcome="").first()
        if going is None or going.pk in self._vanished:
            return
        if is_gone(going.instance, going.boot_id):
            how = "was killed"
        elif going.lease_until is not None and going.lease_until < ledger.database_now():
            how = f"has not been heard of since its lease ended at {local(going.lease_until, self.run.entry.zone)}"
        else:
            return
        self._vanished.add(going.pk)
        self.out.note(
            f"run {self.run.pk}: what ran it (pid {going.pid} on {going.host}) {how}. "
            "The next serve or tick that looks says what becomes of it."
        )

    def _exit_code(self) -> int:
        if self.run.verdict == Verdict.SUCCEEDED:
            return 0
        last = Attempt.objects.using(conf.database).filter(pk=self.run.current_attempt or 0).first()
        code = (last.exit_code if last else None) or 1
        return code if code > 0 else 128 - code  # as a shell says of what a signal ended
