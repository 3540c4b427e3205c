"""A scheduler in a past that is played: the real dispatcher and the real ledger, by a clock that is moved on.

Jobs are called for real, in this process, at the moment at which they begin; how long they take is made up, so that
some go on while the next slot comes. `crons.testing.play` has each end before the clock moves on.
"""

import heapq
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from itertools import count
from socket import socket

from crons import ledger, watch
from crons.attempts import Begun, Finished
from crons.dispatch import Dispatcher
from crons.executors import Executor, LedgerWriter
from crons.executors.inline import run_here
from crons.executors.runner import run_attempt
from crons.hosts import Instance, lock_attempt
from crons.jobs import registry
from crons.testing.clock import Clock

PLACES = 4  # as `crons serve` has


class Player:
    """Lives on to the moments that it is told, as a scheduler that is always there; *took* says how long a run takes.

    *before* is called with each attempt before its job is.
    """

    def __init__(self, now: Clock, took: Callable[[Begun], timedelta], before: Callable[[Begun], None]) -> None:
        self.now = now
        self.is_full = False
        self._took, self._before = took, before
        self._instance = Instance.start("serve")
        self._executors = {alias: _Played(alias, self) for alias in registry.executors()}
        self._dispatcher = Dispatcher("serve", self._instance, self._executors)
        self.writer = self._dispatcher.writer()
        self._going: list[tuple[datetime, int, Finished, socket]] = []
        self._order = count()

    def live(self, until: datetime) -> None:
        """Do all that falls due up to *until*."""
        self._turn()
        while (at := self._next()) is not None and at <= until:
            self.now.move_to(at)
            self._turn()
        if self.now.now < until:
            self.now.move_to(until)
            self._turn()

    def drain(self) -> None:
        """See what goes on to its end, and begin nothing."""
        while self._going:
            self.now.move_to(max(self.now.now, self._going[0][0]))
            self._end_due()
        watch.inspect(self.now.now)

    def close(self) -> None:
        """Be gone; what goes on is lost then, as with a scheduler that is killed."""
        for *_, name in self._going:
            name.close()
        self._instance.stop()

    def _next(self) -> datetime | None:
        ends = [self._going[0][0]] if self._going else []
        falls_due = ledger.agenda(self.now.now).next_at()
        return min([*ends, *filter(None, [falls_due])], default=None)

    def _turn(self) -> None:
        self._end_due()
        agenda = ledger.agenda(self.now.now)
        # What has only ended is looked at when something falls due again, which is soon.
        if agenda.must_record or agenda.may_begin:
            self._dispatcher.turn(self.now.now)

    def _end_due(self) -> None:
        ended, names = [], []
        while self._going and self._going[0][0] <= self.now.now:
            _, _, finished, name = heapq.heappop(self._going)
            ended.append(finished)
            names.append(name)
        if ended:
            self.writer.finish(ended)
        for name in names:
            name.close()

    def begin(self, begun: Begun) -> None:
        """Call the job of *begun*; it ends when the clock comes there."""
        name = lock_attempt(begun.instance, begun.attempt)
        self._before(begun)
        ending, chunks = run_here(begun, lambda: run_attempt(begun))
        self.writer.write_output(chunks)
        ends_at = self.now.now + self._took(begun)
        heapq.heappush(self._going, (ends_at, next(self._order), Finished(begun.attempt, ending), name))

    def running(self) -> frozenset[int]:
        """Return what goes on."""
        return frozenset(finished.attempt for _, _, finished, _ in self._going)


class _Played(Executor):
    """Hands over to the player, whatever the executor is called."""

    def __init__(self, alias: str, player: Player) -> None:
        super().__init__(alias=alias)
        self._player = player

    def prepare(self) -> None:
        """Nothing is needed."""

    def free(self) -> int:
        return 0 if self._player.is_full else max(PLACES - len(self._player.running()), 0)

    def start(self, begun: Iterable[Begun]) -> None:
        for each in begun:
            self._player.begin(each)

    def running(self) -> frozenset[int]:
        return self._player.running()

    def work(self, writer: LedgerWriter, timeout_seconds: float, wake_fd: int | None = None) -> None:
        """Nothing is left to do: the player ends what it has begun."""

    def cancel(self, attempts: Iterable[int], reason: str) -> None:
        """Nobody cancels in the past."""

    def close(self) -> None:
        """Nothing is held."""
