"""The trigger of one entry: `crons run NAME`, from a crontab line, a script, or a person at a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from crons import api, ledger
from crons.declarations import arguments
from crons.exceptions import LedgerUnavailable, UnknownJob
from crons.jobs import registry, unknown_here
from crons.models import Entry, Run
from crons.presentation import WaitsFor, describe_wait, local, utc, waits_for_window
from crons.triggers.following import POLL_SECONDS, Follower, current_attempt
from crons.triggers.session import LONGEST_AHEAD, LONGEST_LOOK_SECONDS, Session
from crons.verdicts import Kind, Outcome, State, Verdict

# A bare crontab line may fire a little early or late; further away it is a person's wish.
NEAR = timedelta(seconds=60)
# It waits for a retry that is so near, so that its exit code is the verdict; not for one in an hour.
RETRY_PATIENCE = timedelta(minutes=5)
OPEN = (State.DUE, State.SENT, State.WAITING)


@dataclass
class EntryTrigger:
    """One `crons run NAME`. *say* writes to stderr: stdout belongs to the job's output.

    With *wait*, a run that somebody else has is followed to its end; *show* gets what it writes, by its stream.
    """

    session: Session
    say: Callable[[str], None]
    wait: bool = False
    patience: timedelta = RETRY_PATIENCE
    run: Run | None = None
    show: Callable[[str, str], None] = field(default=lambda stream, text: None)
    _follower: Follower | None = None

    def scheduled(self, name: str, *, guess: bool = False) -> int:
        """Run the slot that is due now, unless somebody has it; return the exit code.

        With *guess*, a start that is near no slot is a manual run.
        """
        ledger.permit()
        entry = _known(name)
        now = self._at_slot(entry)
        slot_at = _slot_near(entry, now)
        if guess and slot_at is None:
            return self.manual(name, by="no terminal, near no slot")
        by = "no terminal, taken for its slot" if guess else ""
        recorded = ledger.record_entry(name, now, self.session.dispatcher.trigger, by=by)
        self.session.dispatcher.inspect_rules(now, "run")
        account = ledger.account_of(entry)
        newest = account.schedule.latest(now, account.tz)
        run = api.history().filter(entry=entry, slot_at=newest).first()
        if run is None:
            return self._no_run(entry, newest)
        if (entry.name, newest) not in recorded.runs:
            self._note_second(run, now)
        # With catch_up="all" older slots wait their turn; where lines like this one are the only trigger,
        # nobody else would ever begin them.
        waiting = api.history().filter(entry=entry, state=State.DUE)
        for older in waiting.filter(slot_at__lt=newest).order_by("slot_at"):
            self._see_through(older)
        code = self._see_through(run)
        if self.patience:  # beat has none, and a tick besides
            self._take_up(entry)
            self.run = run
        return code

    def manual(self, name: str, *, by: str, args: Mapping[str, Any] | None = None) -> int:
        """Run the entry once, now, besides its schedule, with *args* that were checked; return the exit code."""
        ledger.permit()
        entry = _known(name)
        if why := unknown_here(entry.job, entry.source_ref):
            raise UnknownJob(f"{name} cannot be run here: {why}")
        arguments.check_complete(entry, args or {})
        run = ledger.request(name, ledger.database_now(), self.session.dispatcher.trigger, by=by, args=args or None)
        return self._see_through(run)

    def _note_second(self, run: Run, now: datetime) -> None:
        """Keep that somebody else was first; where that cannot be written, the run is seen to all the same."""
        try:
            ledger.note_second(run.pk, now, self.session.dispatcher.trigger)
        except LedgerUnavailable as error:
            self.say(f"run {run.pk} of {run.entry.name} does not keep that this came second: {error}")

    def _see_through(self, run: Run) -> int:
        self.run = run
        while True:
            begun = self.session.dispatcher.begin(ledger.database_now(), only_run=run.pk)
            if begun:
                self._supervise()
            _read_anew(run)
            if run.state == State.DONE:
                return self._verdict(run, mine=bool(begun) or run.kind == Kind.MANUAL)
            if self.session.stopping is not None:
                return 1
            if run.state in (State.SENT, State.RUNNING):
                code = self._elsewhere(run) if run.state == State.SENT else self._somebody_has_it(run)
                if code is not None:
                    return code
            elif self._is_before_window(run):
                # What a crontab line fires outside of the window is as it should be, but not over.
                return 1 if self.wait else 0
            elif not self._worth_waiting(run):
                return 1

    def _take_up(self, entry: Entry) -> None:
        """Begin, or send again, what else of the entry is due: a retry whose pause was long, a message that is lost.

        This command may be the entry's only trigger.
        """
        tried: list[int] = []
        while self.session.stopping is None:
            now = ledger.database_now()
            open_runs = api.history().filter(entry=entry, state__in=OPEN)
            left = open_runs.filter(wake_at__lte=now).exclude(pk__in=tried).order_by("wake_at", "pk").first()
            if left is None:
                break
            tried.append(left.pk)
            if self.session.dispatcher.begin(now, only_run=left.pk):
                self._supervise()
        self.session.dispatcher.publishers.finish()

    def _supervise(self) -> None:
        self.session.supervise()
        self.session.drain()
        self.session.report()

    def _is_before_window(self, run: Run) -> bool:
        window, now = ledger.policy_or_default(run.entry).window, ledger.database_now()
        last = current_attempt(run) if run.state == State.WAITING else None
        if last is not None and last.outcome == Outcome.CONTINUED and run.wake_at is not None and run.wake_at > now:
            opens = f"goes on when it opens, at {local(run.wake_at, run.entry.zone)}"
            self.say(f"run {run.pk} of {run.entry.name} stopped at its window's end, and {opens}.")
            return True
        if not waits_for_window(run.state, run.sends, run.wake_at, window, now):
            return False
        why = describe_wait(run, WaitsFor.WINDOW, None, 0)
        self.say(f"run {run.pk} of {run.entry.name} waits {why}: a serve or a tick begins it then.")
        return True

    def _worth_waiting(self, run: Run) -> bool:
        who, now = f"run {run.pk} of {run.entry.name}", ledger.database_now()
        if run.wake_at is None or run.wake_at <= now:
            if self.wait:
                self.session.work(POLL_SECONDS)
                return True
            why = unknown_here(run.entry.job, run.entry.source_ref)
            self.say(f"{who} is recorded" + (f", and left to others: {why}" if why else " and waits for its turn."))
            return False
        if run.wake_at - now > self.patience:
            self.say(f"{who}: {run.detail}; it is tried again at {utc(run.wake_at)}.")
            return False
        self.say(f"{who}: {run.detail}; again at {run.wake_at:%H:%M:%S} UTC.")
        while run.wake_at > now and self.session.stopping is None:
            self.session.work(min(LONGEST_LOOK_SECONDS, (run.wake_at - now).total_seconds()))
            now = ledger.database_now()
        return True

    def _verdict(self, run: Run, *, mine: bool) -> int:
        if run.verdict == Verdict.SUCCEEDED:
            if not mine:
                self.say(f"run {run.pk} of {run.entry.name} has succeeded already.")
            return 0
        ending = run.verdict.replace("_", " ") + (f" ({run.reason})" if run.reason else "")
        self.say(f"run {run.pk} of {run.entry.name}: {ending}" + (f": {run.detail}" if run.detail else ""))
        return 0 if run.verdict in (Verdict.SKIPPED, Verdict.SUPERSEDED) and run.kind != Kind.MANUAL else 1

    def _elsewhere(self, run: Run) -> int | None:
        """Wait until the message of a run that others begin is on its way, and for the run's end with --wait."""
        self.session.dispatcher.publishers.finish()
        _read_anew(run)
        executor = run.entry.policy.get("executor")
        if run.state in (State.DUE, State.WAITING):
            self.say(f"run {run.pk} of {run.entry.name} {run.detail}; a scheduler sends it again.")
            return 1
        if not self.wait:
            self.say(
                f"run {run.pk} of {run.entry.name} was sent to {executor}. See: manage.py crons log {run.pk} --follow"
            )
            return 0
        return self._follow(run)

    def _somebody_has_it(self, run: Run) -> int | None:
        attempt = current_attempt(run)
        who = f"{run.trigger} on {attempt.host}, attempt {attempt.pk}" if attempt else run.trigger
        if not self.wait:
            self.say(f"run {run.pk} of {run.entry.name} is being run already ({who}).")
            return 0
        return self._follow(run)

    def _follow(self, run: Run) -> int | None:
        """Show what *run* writes until it is over; None once nobody runs it any more, so that it is looked at again."""
        if self._follower is None or self._follower.run.pk != run.pk:
            self._follower = Follower(run, self.say, lambda chunk: self.show(chunk.stream, chunk.text))
        follower = self._follower
        # A run without a process is for this command to begin: where its line is the only trigger, nobody else looks.
        if follower.follow(lambda: self.session.stopping is None and not follower.has_no_process):
            return 1 if follower.was_deleted else self._verdict(follower.run, mine=True)
        return 1 if self.session.stopping is not None else None

    def _no_run(self, entry: Entry, slot_at: datetime) -> int:
        off = api.ranges().filter(entry=entry, first_at__lte=slot_at, last_at__gte=slot_at).first()
        if entry.retired_at is not None:
            self.say(f"{entry.name} is retired since {utc(entry.retired_at)}: nobody declares it.")
        elif off is not None:
            self.say(f"the slot {utc(slot_at)} of {entry.name} is {off.verdict} ({off.reason}).")
        else:
            self.say(f"no slot of {entry.name} has fallen due since {utc(entry.first_seen_at)}.")
        return 0

    def _at_slot(self, entry: Entry) -> datetime:
        """Return the database's time; where cron fired a little before a slot, only once that has come."""
        now = ledger.database_now()
        account = ledger.account_of(entry)
        due = account.schedule.latest(now, account.tz) > account.accounted_until
        ahead = account.schedule.next_after(now, account.tz) - now
        if due or ahead > LONGEST_AHEAD:
            return now
        time.sleep(ahead.total_seconds())
        return ledger.database_now()


def _known(name: str) -> Entry:
    try:
        return api.entry(name)
    except UnknownJob:
        if name in registry.entries:
            raise UnknownJob(f"{name!r} is declared but not in the database yet. Run: manage.py crons sync") from None
        raise


def _read_anew(run: Run) -> None:
    # With its entry: read later, that would be asked of whatever a router reads from.
    run.refresh_from_db(from_queryset=api.history())


def _slot_near(entry: Entry, now: datetime) -> datetime | None:
    account = ledger.account_of(entry)
    newest = account.schedule.latest(now, account.tz)
    return newest if now - newest <= NEAR else None
