"""A process that may run attempts: its executors, its signals, and how it ends. Shared by all triggers."""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from functools import partial
from types import FrameType, TracebackType

from crons import ledger, watch
from crons.conf import conf
from crons.dispatch import Dispatcher
from crons.exceptions import CronsError, LedgerUnavailable
from crons.executors import Executor, Sender
from crons.executors.forking import close_shared
from crons.hosts import Instance, refuse_schedulers
from crons.jobs import registry
from crons.side_output import Echo, get_log, is_terminal

log = get_log("crons")
# At a terminal nobody waits half a minute after Ctrl-C.
DRAIN_AT_TERMINAL = timedelta(seconds=2)
# After cancelling: the kill wait of the executor, and time to write the endings down.
CANCELLING_SECONDS = 10.0
# At the end, for pings that are on their way.
PINGING_SECONDS = 5.0
LONGEST_LOOK_SECONDS = 1.0
# Cron on a host whose clock is ahead fires before the database's minute has begun.
LONGEST_AHEAD = timedelta(seconds=5)
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# A wrapper passes on a signal that its whole group got as well, and systemd may send SIGTERM and SIGHUP: signals so
# close together are one request to stop.
ONE_REQUEST_SECONDS = 2.0
# After a turn that failed.
PAUSE_SECONDS = 0.2


class Session:
    """Prepares executors before any database connection is open, and leaves nothing behind.

    SIGTERM, SIGINT and SIGHUP set *stopping*; another one, at least two seconds later, cuts the grace short.
    Raises: Disabled in a test suite that has not asked for schedulers.
    """

    def __init__(
        self,
        kind: str,
        trigger: str,
        executors: Mapping[str, Executor] | None = None,
        *,
        echo: Echo | None = None,
    ) -> None:
        refuse_schedulers()  # before anything of the test's is touched
        # Before anything is forked, so that jobs find them loaded; and a module may ask the database.
        registry.load()
        # Forked processes must not share a connection with this one.
        close_shared()
        ledger.keep_alive()
        self.instance = Instance.start(kind)
        made, senders = (dict(executors), {}) if executors is not None else make_executors()
        self.executors = made
        self.dispatcher = Dispatcher(trigger, self.instance, made, senders)
        self.writer = self.dispatcher.writer(echo)
        self.stopping: signal.Signals | None = None
        self.signals = 0
        self._asked_at = -math.inf
        self._wake_read, self._wake_write = os.pipe()
        self._listening = ExitStack()
        self.watchdog = ledger.Watchdog(lambda: self.stopping is not None)

    def __enter__(self) -> Session:
        watch.connect_pings()
        self.open()
        self._listening.enter_context(self.listening())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listening.close()
        self.close()
        watch.finish_pings(PINGING_SECONDS)

    def open(self) -> None:
        """Prepare the executors; who does not use `with` closes the session when an executor is broken."""
        for end in (self._wake_read, self._wake_write):
            os.set_blocking(end, False)
        try:
            for executor in self.executors.values():
                executor.prepare()
        except BaseException:
            self.close()
            raise

    @contextmanager
    def listening(self, to: Iterable[signal.Signals] = STOPPING) -> Iterator[None]:
        """Have the signals *to* set *stopping* inside; then they mean again what they meant.

        Under nohup, SIGHUP stays ignored.
        """
        heeded = [each for each in to if each != signal.SIGHUP or signal.getsignal(each) != signal.SIG_IGN]
        kept = {number: signal.signal(number, self._on_signal) for number in heeded}
        try:
            yield
        finally:
            for number, handler in kept.items():
                signal.signal(number, handler)

    def work(self, timeout_seconds: float) -> None:
        """Let executors read, renew and write for at most so long; return early when a place came free."""
        first, *others = self.executors.values()
        with self.watchdog:
            first.work(self.writer, max(0.0, timeout_seconds), self._wake_read)
        for other in others:
            with self.watchdog:
                other.work(self.writer, 0.0)
        with self.watchdog, suppress(LedgerUnavailable):  # the next turn releases it
            self.dispatcher.attempts.release_refused()
        with suppress(BlockingIOError):
            os.read(self._wake_read, 4096)

    def supervise(self, between: Callable[[], object] | None = None) -> None:
        """See through what runs here, until nothing does or somebody asks to stop; do *between* after each turn."""
        self._supervise(lambda: self.stopping is None, between=between)

    def free(self) -> int:
        """Count the attempts that could be started now."""
        return sum(executor.free() for executor in self.executors.values())

    def drain(self, between: Callable[[], object] | None = None) -> None:
        """Let what runs finish within the grace, then cancel it; write down how everything ended.

        Args: *between* is done after each turn.
        """
        grace = DRAIN_AT_TERMINAL if self.stopping == signal.SIGINT and is_terminal(sys.stdin) else conf.drain
        # Counted from the first, which began the stop: the second may come before this line does.
        self._supervise(lambda: self.signals <= 1, until=time.monotonic() + grace.total_seconds(), between=between)
        left = [(executor, executor.running()) for executor in self.executors.values()]
        for executor, attempts in left:
            if attempts:
                log.warning(
                    "cancelling what still runs", extra={"event": "attempts.cancelling", "attempts": sorted(attempts)}
                )
                who = "worker" if self.instance.kind == "worker" else "scheduler"
                how = "was stopped" if self.stopping is not None else "lost both of its fork servers and started anew"
                executor.cancel(attempts, f"the {who} {how}")
        self._supervise(lambda: True, until=time.monotonic() + CANCELLING_SECONDS, between=between)
        try:
            self.dispatcher.publishers.finish()
        except LedgerUnavailable as error:
            log.warning("what was not sent is sent later: %s", error, extra={"event": "sending.waiting"})

    def report(self) -> None:
        """Open and close incidents, and send their alerts; call when nothing runs any more."""
        try:
            watch.inspect(ledger.database_now())
            watch.send_due(ledger.database_now())
        except LedgerUnavailable as error:
            log.warning("incidents and alerts wait for the next trigger: %s", error, extra={"event": "alerts.waiting"})
        except Exception:
            log.exception("incidents and alerts wait for the next trigger", extra={"event": "alerts.waiting"})

    def _supervise(
        self, goes_on: Callable[[], bool], *, until: float = math.inf, between: Callable[[], object] | None = None
    ) -> None:
        while self.dispatcher.running() and goes_on() and (left := until - time.monotonic()) > 0:
            self._guarded(partial(self.work, min(LONGEST_LOOK_SECONDS, left)))
            if between is not None and goes_on():
                self._guarded(between)

    def _guarded(self, turn: Callable[[], object]) -> None:
        """Do one *turn*; what goes wrong is logged and jobs go on: raised further, it would end them."""
        try:
            turn()
        except Exception as error:
            known = isinstance(error, CronsError)
            about = {"event": "turn.failed", "failures": 1}
            log.warning("a turn failed, what runs goes on: %s", error, exc_info=not known, extra=about)
            time.sleep(PAUSE_SECONDS)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - self._asked_at < ONE_REQUEST_SECONDS:
            return
        self._asked_at = now
        self.stopping = signal.Signals(number)
        self.signals += 1
        with suppress(BlockingIOError):
            os.write(self._wake_write, b"s")

    def close(self) -> None:
        """Stop whatever still runs at once, and give the instance's name back."""
        self.watchdog.close()
        self.dispatcher.attempts.release_unstarted()
        for executor in self.executors.values():
            executor.close()
        self.dispatcher.publishers.close()
        self.instance.stop()
        for end in (self._wake_read, self._wake_write):
            with suppress(OSError):
                os.close(end)


def make_executors() -> tuple[dict[str, Executor], dict[str, Sender]]:
    """Build the executors that the declared jobs use: those that run here, and those that send elsewhere."""
    made = {alias: conf.make_executor(alias) for alias in registry.executors()}
    senders = {alias: each for alias, each in made.items() if isinstance(each, Sender)}
    here = {alias: each for alias, each in made.items() if alias not in senders}
    # A process that only sends needs an executor all the same: its loop is what waits between two turns.
    return here or {"process": conf.make_executor("process")}, senders
