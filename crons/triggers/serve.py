"""The built-in scheduler: looks at the clock the moment something is due, as many at once as you like."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from django.utils import timezone
from django.utils.autoreload import iter_all_python_module_files

from crons import api, ledger, watch
from crons.declarations import sync
from crons.dispatch import Pass
from crons.exceptions import ClockInDoubt, LedgerUnavailable, NotAdopted
from crons.side_output import Notifier, flush_at_exit, get_log
from crons.triggers import heartbeat
from crons.triggers.alert_sender import AlertSender
from crons.triggers.session import LONGEST_LOOK_SECONDS, Session

log, events = get_log("crons"), get_log("crons.events")
LONGEST_PAUSE_SECONDS = 5.0
# One turn may fail because another process holds a lock; so many in a row are a problem that the heartbeat reports.
REPORTED_FAILURES = 3
CONTENDED_SECONDS = 0.02
# How often all rules are asked.
RULES_SECONDS = 60.0
# At the end, for a mail that is on its way.
SENDING_SECONDS = 5.0


@dataclass
class Scheduler:
    """One `crons serve`. *say* tells a person what happens; *reload* starts anew when code changes."""

    session: Session
    say: Callable[[str], None]
    reload: bool = False
    alert_sender: AlertSender = field(default_factory=AlertSender)
    notifier: Notifier = field(default_factory=Notifier)
    is_ready: bool = False
    failures: int = 0
    last_error: str = ""
    beat_at: float = 0.0
    rules_at: float = 0.0
    mtimes: dict[Path, float] = field(default_factory=dict)
    unwritten: set[str] = field(default_factory=set)
    reported: set[str] = field(default_factory=set)

    def run(self) -> bool:
        """Serve until asked to stop; True if it should be started anew.

        Raises: NotAdopted, Disabled, LedgerUnavailable before the first turn; later ones are waited out.
        """
        ledger.permit()
        synced = api.sync(kind="serve")
        for problem in synced.problems:
            log.error(problem, extra={"event": "declaration.refused"})
        zones = sync.replan_changed_zones()
        self.unwritten = watch.absent()
        self.say(_greeting(self.session, synced, zones))
        about = {"pid": self.session.instance.pid, "places": self.session.free()}
        events.debug("serving", extra={"event": "scheduler.started", **about})
        anew = False
        while self.session.stopping is None and not anew:
            self._turn()
            anew = self._code_changed() or self._is_broken()
        if not anew:
            self.notifier.stopping("draining: nothing new is begun")
            pid = self.session.instance.pid
            events.debug("draining", extra={"event": "scheduler.stopping", "pid": pid})
        self.say("Draining: nothing new is begun." if not anew else "Starting anew.")
        self.session.drain(lambda: self.notifier.alive("draining: nothing new is begun"))
        with self.session.watchdog:
            self.session.report()
        self.alert_sender.finish(SENDING_SECONDS)
        try:
            with self.session.watchdog:
                heartbeat.stop(self.session.instance)
        except Exception as error:  # noqa: BLE001 (it ends as it was asked to)
            text = "the heartbeat's row could not be taken away; it will be called silent: %s"
            log.warning(text, error, extra={"event": "heartbeat.kept"})
        self.notifier.give_back()  # for the program that starts anew in this process
        return anew and self.session.stopping is None

    def _turn(self) -> None:
        """Look, do what is due, then work until something is due again."""
        try:
            with self.session.watchdog:
                wait = self._look()
        except Exception as error:  # noqa: BLE001 (one turn of the loop: it is logged, the next tries again)
            wait = self._note(error)
        else:
            if not self.is_ready:
                self.notifier.ready(self._status())
            self.is_ready = True
        self.notifier.alive(self._status())
        try:
            self.session.work(wait)
        except Exception as error:  # noqa: BLE001 (what runs goes on, whatever is wrong with one ending)
            time.sleep(self._note(error))

    def _status(self) -> str:
        """Say in a line how it goes; what an error says may be anything, and stands in the log."""
        if self.failures:
            return f"{self.failures} looks in a row failed; the log says why"
        running = sum(len(executor.running()) for executor in self.session.executors.values())
        return f"looks at the clock; {running} running here, {self.session.free()} more could"

    def _look(self) -> float:
        """Do what is due; return for how many seconds nothing is."""
        started = time.monotonic()
        if started >= self.beat_at:
            # Another deployment may have adopted this database since: then nothing is recorded or begun.
            ledger.permit()
            self._write_what_is_gone()
        done = self.session.dispatcher.turn()
        if self.failures:
            about = {"event": "ledger.answers"}
            log.warning("the ledger answers again after %d failed turn(s)", self.failures, extra=about)
            # All rules at once: what was refused meanwhile is told now, and so is what fell due.
            self.failures, self.beat_at, self.rules_at = 0, 0.0, 0.0
        self._beat()
        if done.agenda.must_deliver:
            self.alert_sender.start()
        return _seconds_until_due(done, self.session, time.monotonic() - started)

    def _write_what_is_gone(self) -> None:
        """Declare again what has lost its row: somebody emptied the database, or put an empty one in its place."""
        gone = watch.absent() - self.unwritten
        if not gone:
            return
        self.say(f"Not in the database any more, declared again: {', '.join(sorted(gone))}.")
        for problem in api.sync(kind="serve").problems:
            log.error(problem, extra={"event": "declaration.refused"})
        # What cannot be written is printed once, not at every heartbeat.
        self.unwritten = watch.absent()

    def _note(self, error: Exception) -> float:
        """Log what went wrong; return for how long to wait."""
        self.failures += 1
        self.last_error = " ".join(str(error).split())
        pause: float = min(0.1 * 2 ** min(self.failures, 10), LONGEST_PAUSE_SECONDS)
        known = isinstance(error, LedgerUnavailable | NotAdopted)
        about = {"event": "turn.failed", "failures": self.failures}
        log.warning("a turn failed; the next in %.1f s: %s", pause, error, exc_info=not known, extra=about)
        if self.failures == REPORTED_FAILURES:
            self.beat_at = 0.0
        with suppress(Exception):  # whatever it is, the next turn logs it
            # Where only some writes are refused, the heartbeat's row can still say what is wrong.
            if not isinstance(error, NotAdopted | ClockInDoubt):
                self._beat()
        return pause

    def _beat(self) -> None:
        troubles = list(self._troubles())
        # What is new is written at once: `crons health` between two beats must not say that all is well.
        news = {kind for kind, _ in troubles} | self.session.dispatcher.lacking
        if time.monotonic() < self.beat_at and news <= self.reported:
            return
        self.reported = news
        self.beat_at = time.monotonic() + heartbeat.EVERY.total_seconds()
        now = ledger.database_now()
        heartbeat.beat(
            self.session.instance,
            now,
            skew_seconds=(timezone.now() - now).total_seconds(),
            troubles=troubles,
            lacks=self.session.dispatcher.lacking,
        )
        if time.monotonic() >= self.rules_at:
            self.rules_at = time.monotonic() + RULES_SECONDS
            self.session.dispatcher.inspect_rules(now, "")

    def _troubles(self) -> Iterator[tuple[str, str]]:
        if self.failures >= REPORTED_FAILURES:
            yield "database", f"{self.failures} looks in a row failed: {self.last_error}"
        for executor in self.session.executors.values():
            if executor.trouble:
                yield "host", executor.trouble

    def _is_broken(self) -> bool:
        broken = any(getattr(executor, "broken", False) for executor in self.session.executors.values())
        if broken:
            log.error("the fork server is gone; this scheduler starts anew", extra={"event": "scheduler.anew"})
        return broken

    def _code_changed(self) -> bool:
        if not self.reload:
            return False
        changed = [path for path, mtime in _modified() if self.mtimes.setdefault(path, mtime) != mtime]
        if changed:
            self.say(f"{changed[0]} changed.")
        return bool(changed)


def start_anew() -> None:
    """Replace this process by a fresh one with the same command line."""
    flush_at_exit(waits=False)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _seconds_until_due(done: Pass, session: Session, spent: float) -> float:
    if done.agenda.must_record:
        # The agenda is from before: another turn at once, or a little later where others have locked the entries.
        return 0.0 if done.runs or done.written_off or done.parked else CONTENDED_SECONDS
    if done.begun and session.free():
        return 0.0  # there may be more to begin than one turn takes
    at = done.agenda.next_at()
    if at is None:
        return LONGEST_LOOK_SECONDS
    return min(LONGEST_LOOK_SECONDS, max(0.0, (at - done.agenda.now) / timedelta(seconds=1) - spent))


def _modified() -> Iterator[tuple[Path, float]]:
    for path in iter_all_python_module_files():
        try:
            yield path, path.stat().st_mtime
        except OSError:
            continue


def _greeting(session: Session, synced: sync.Synced, zones: list[str]) -> str:
    parts = [f"crons serve: pid {session.instance.pid}, at most {session.free()} jobs at once."]
    for deed in ("created", "changed", "renamed", "undeclared"):
        names = getattr(synced, deed)
        if names:
            parts.append(f"{deed}: {', '.join(names)}.")
    if zones:
        parts.append(f"new time zone data: {', '.join(zones)}.")
    return " ".join(parts)
