"""What the page of one run asks: how it ended and how late, each try against the history of its entry, who did what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.http import Http404

from crons import ledger
from crons.conf import conf
from crons.models import Attempt, AuditEvent, Run
from crons.presentation import UNWANTED, describe_run, length, local, readable, readable_line, waits_for_window, words
from crons.verdicts import MEANINGS, Kind, Outcome, State, Verdict, named_error
from crons.watch.usual import ENOUGH, NEWEST, Amount, Percentiles
from crons.web import rights

# A run with more tries than these shows the last ones.
ATTEMPTS = 20
EVENTS = 20
# How high the chart of durations is.
CHART = 60


@dataclass(frozen=True)
class Before:
    """What an earlier run's last attempt took: time, seconds of processor, bytes of memory at most."""

    took: timedelta
    cpu: float | None
    memory: int | None
    is_good: bool


@dataclass(frozen=True)
class Measured:
    """Something that was measured of a try: what it was, what is usual, and whether it is far beyond."""

    label: str
    text: str
    usual: str = ""
    beyond: str = ""


@dataclass(frozen=True)
class Try:
    """One attempt, as the page shows it."""

    attempt: Attempt
    measured: list[Measured]
    error_line: str = ""


@dataclass(frozen=True)
class Bar:
    """An earlier run in the chart of how long each took; *height* of CHART."""

    run_id: int
    height: int
    told: str
    tone: str
    is_this: bool
    x: int

    @property
    def top(self) -> int:
        """Where it begins, from above."""
        return CHART + 2 - self.height


@dataclass(frozen=True)
class Seen:
    """One run, as its page shows it. *last* is its newest attempt, *failed* the newest that left an error."""

    run: Run
    as_of: datetime
    tries: list[Try]
    events: list[AuditEvent]
    sentences: list[str]
    bars: list[Bar] = field(default_factory=list)
    left_out: int = 0

    @property
    def last(self) -> Attempt | None:
        """The newest attempt."""
        return self.tries[0].attempt if self.tries else None

    @property
    def failed(self) -> Attempt | None:
        """The newest attempt that left an error."""
        return next((each.attempt for each in self.tries if each.attempt.error), None)

    @property
    def is_over(self) -> bool:
        """Whether nothing of it goes on or waits."""
        return self.run.state == State.DONE

    @property
    def tone(self) -> str:
        """The colour of how it ended or stands."""
        if not self.is_over:
            return "warn" if self.run.tries and self.run.state == State.WAITING else "quiet"
        return "good" if self.run.verdict == Verdict.SUCCEEDED else "bad" if self.run.verdict in UNWANTED else "warn"

    @property
    def awaits_attempt(self) -> bool:
        """Whether its next attempt has yet to begin: only then is there new output to be shown in another place."""
        return not self.is_over and (self.last is None or bool(self.last.outcome))

    @property
    def can_retry(self) -> bool:
        """Whether another try may be asked for."""
        return self.is_over and self.run.verdict != Verdict.SUCCEEDED and self.run.entry.retired_at is None


def run_of(number: str, user: Any) -> Run:
    """Return the run whose number stands in an address, where *user* may see it.

    Raises: Http404 where that is none, or there is none.
    """
    # The largest number of a row has 19 digits.
    if not (number.isascii() and number.isdecimal() and len(number) < 19):
        raise Http404(f"{readable_line(number)[:40]!r} is no number of a run.")
    rows = rights.visible(user, Run.objects.using(conf.database).select_related("entry"), "crons.view_run")
    found = rows.filter(pk=int(number)).first()
    if found is None:
        raise Http404(f"There is no run {int(number)}: it never was, or it is older than CRONS['KEEP'] and was pruned.")
    return found


def attempt_of(run: Run, number: str) -> Attempt:
    """Return one attempt of *run* by its number among them; of an empty one the newest.

    Raises: Http404 where there is none.
    """
    rows = Attempt.objects.using(conf.database).filter(run=run).order_by("-number")
    if number:
        is_number = number.isascii() and number.isdecimal() and len(number) < 10
        rows = rows.filter(number=int(number)) if is_number else rows.none()
    found = rows.first()
    if found is None:
        raise Http404(f"Run {run.pk} has no attempt {readable_line(number)[:40]}.".replace(" .", "."))
    return found


def look(run: Run) -> Seen:
    """Read what the page of *run* shows beside its output.

    Cost: five statements, each along an index, and bounded.
    """
    now = ledger.database_now()
    rows = run.attempts.using(conf.database).select_related("work").order_by("-number")
    attempts = list(rows[:ATTEMPTS])
    before = _before(run)
    good = [each for each in before.values() if each.is_good]
    events = AuditEvent.objects.using(conf.database).filter(subject_type="run", subject=str(run.pk))
    return Seen(
        run=run,
        as_of=now,
        tries=[_try(each, good, now) for each in attempts],
        events=list(events.order_by("-pk")[:EVENTS]),
        sentences=_sentences(run, attempts, now),
        bars=_bars(run, before, attempts, now),
        left_out=max(run.tries - len(attempts), 0),
    )


def _before(run: Run) -> dict[int, Before]:
    """Return what the last attempts of the runs planned before this one took, by their runs, the oldest first."""
    runs = Run.objects.using(conf.database).filter(entry=run.entry_id, planned_at__lte=run.planned_at)
    newest = runs.exclude(pk=run.pk).order_by("-planned_at", "-pk").values_list("current_attempt", flat=True)
    chosen = [each for each in newest[:NEWEST] if each is not None]
    ended = Attempt.objects.using(conf.database).filter(pk__in=chosen, ended_at__isnull=False)
    columns = ("run_id", "outcome", "begun_at", "ended_at", "cpu_seconds", "peak_memory_bytes")
    return {
        run_id: Before(max(ended_at - begun_at, timedelta()), cpu, memory, outcome == Verdict.SUCCEEDED)
        for run_id, outcome, begun_at, ended_at, cpu, memory in ended.order_by("begun_at", "pk").values_list(*columns)
    }


def _try(attempt: Attempt, good: Sequence[Before], now: datetime) -> Try:
    took, so_far = (attempt.ended_at or now) - attempt.begun_at, "" if attempt.ended_at else " so far"
    measured = [_measured("took", took, [each.took for each in good], length, so_far)]
    if (cpu := attempt.cpu_seconds) is not None:
        usual = [each.cpu for each in good if each.cpu is not None]
        measured.append(_measured("processor", cpu, usual, lambda value: f"{value:.2f} s"))
    if (memory := attempt.peak_memory_bytes) is not None:
        usual = [each.memory for each in good if each.memory is not None]
        measured.append(_measured("memory at most", memory, usual, _megabytes))
    return Try(attempt, measured, readable_line(named_error(attempt.error))[:300] if attempt.error else "")


def _measured(
    label: str, value: Amount, before: Sequence[Amount], say: Callable[[Amount], str], suffix: str = ""
) -> Measured:
    """Hold *value* against what earlier tries that succeeded took, where they are enough to call that usual."""
    if len(before) < ENOUGH:
        return Measured(label, say(value) + suffix)
    usual = Percentiles.of(before)
    told = f"usually {say(usual.p50)}, 95 of 100 up to {say(usual.p95)}"
    beyond = f"{value / usual.p50:.1f} times the usual" if usual.is_beyond(value) and usual.p50 else ""
    return Measured(label, say(value) + suffix, told, beyond)


def _megabytes(value: float) -> str:
    return f"{value / 1_000_000:.1f} MB"


def _sentences(run: Run, attempts: list[Attempt], now: datetime) -> list[str]:
    """Say what became of a run: what it was for, how late it began, how often it was tried, how it ended."""
    zone, told = run.entry.zone, []
    window = ledger.policy_or_default(run.entry).window
    first = next((each for each in attempts if each.number == 1), None)
    by = f" by {readable_line(run.requested_by)}" if run.requested_by else ""
    if run.slot_at:
        what = f"The slot of {local(run.slot_at, zone)} was recorded by {words(run.trigger)}"
        what += f" after all, asked for{by}" if run.kind == Kind.BACKFILL else ""
    else:
        what = f"It was asked for{by or ' by somebody'} through {words(run.trigger)} at {local(run.planned_at, zone)}"
    told.append(f"{what}.")
    if first is not None:
        lag = first.begun_at - run.planned_at
        late = " That is late: more than the grace allows." if lag > conf.grace else ""
        if window is not None and run.slot_at and run.late_seconds is None:
            late = f" It is begun only from {window}." if late else ""
        told.append(f"It was begun {length(lag)} {'after its moment' if run.slot_at else 'later'}.{late}")
    if run.state == State.RUNNING and attempts and attempts[0].ended_at is None:
        told.append(f"It has been running for {length(now - attempts[0].begun_at)}.")
    if run.tries > 1:
        told.append(f"It was tried {run.tries} times.")
    if run.state == State.WAITING and run.wake_at:
        goes_on = bool(attempts) and attempts[0].outcome == Outcome.CONTINUED
        what = "It stopped at its window's end, and goes on" if goes_on else "It waits for its next try"
        told.append(f"{what}: {length(run.wake_at - now)} from now." if run.wake_at > now
                    else "It waits for its turn.")  # fmt: skip
    if run.wake_at and waits_for_window(run.state, run.sends, run.wake_at, window, now):
        opens = f"{length(run.wake_at - now)} from now, at {local(run.wake_at, zone)}"
        told.append(f"It is begun only from {window}, and waits until that opens: {opens}.")
    elif run.state == State.DUE:
        told.append("It waits to be begun.")
    if run.state == State.SENT:
        told.append(f"It was sent to be begun elsewhere ({run.sends} time(s)), and waits for a worker.")
    if (meaning := MEANINGS.get(run.reason or run.verdict)) and run.state == State.DONE:
        told.append(meaning)
    return told


def headline(run: Run) -> str:
    """Say how a run ended, or where it stands, with what is known of why."""
    return readable(describe_run(run).text)


def _bars(run: Run, before: dict[int, Before], attempts: list[Attempt], now: datetime) -> list[Bar]:
    """Draw how long the runs before this one took, the oldest first, and this one at the end."""
    if len(before) < ENOUGH or not attempts:
        return []
    last = attempts[0]
    took = [(run_id, each.took, each.is_good) for run_id, each in before.items()]
    this = (last.ended_at or now) - last.begun_at
    took.append((run.pk, this, last.outcome in ("", Verdict.SUCCEEDED)))
    longest = max(each for _, each, _ in took) or timedelta(seconds=1)
    return [
        Bar(
            run_id=run_id,
            height=max(round(each * CHART / longest), 1),
            told=f"run {run_id}: {length(each)}",
            tone="good" if is_good else "bad",
            is_this=run_id == run.pk,
            x=place * 10,
        )
        for place, (run_id, each, is_good) in enumerate(took)
    ]
