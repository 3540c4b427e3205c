"""How an answer says moments, lengths, and who did what."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from crons.exceptions import CronsError
from crons.presentation import distance, iso, length, local
from crons.schedules import parse
from crons.why.facts import AttemptFacts, Deed, Facts, Nearby, PauseFacts, RunFacts, Scheduler

_RECORDED = re.compile(r"\b(\d{4}-[01]\d-[0-3]\d [0-2]\d:[0-5]\d:[0-5]\d) UTC\b")


@dataclass
class Story:
    """An answer as it is put together. *ending* completes the headline."""

    facts: Facts
    status: str = ""
    reason: str = ""
    ending: str = ""
    because: list[str] = field(default_factory=list)
    next_steps: list[str] = field(default_factory=list)

    def tell(self, *sentences: str) -> None:
        """Add *sentences*, those that are empty left out."""
        self.because.extend(_RECORDED.sub(self._read, each) for each in sentences if each)

    def do(self, *steps: str) -> None:
        """Add what to do."""
        self.next_steps.extend(each for each in steps if each)

    def end(self, status: str, ending: str, reason: str = "") -> None:
        """Say how it ended, in a word for programs and in the headline."""
        self.status, self.ending, self.reason = status, ending, reason

    @property
    def zone(self) -> str:
        """The zone in which moments are said: that of the entry, or of the schedule that was in force."""
        return self.facts.schedule_zone

    def full(self, at: datetime) -> str:
        """Write a moment with its date and its offset."""
        return local(at, self.zone)

    def at(self, at: datetime) -> str:
        """Write a moment, without the date and the offset where both are those of the slot."""
        here, there = (each.astimezone(self._tz()) for each in (at, self.facts.asked.at))
        if (here.date(), here.utcoffset()) == (there.date(), there.utcoffset()):
            return f"{here:%H:%M:%S}"
        return self.full(at)

    def away(self, at: datetime) -> str:
        """Write how far off a moment is."""
        return distance(at, self.facts.now)

    def opening(self, at: datetime) -> datetime:
        """Return when the job may begin from *at* on: then, or when its window opens."""
        window = self.facts.entry.window
        try:
            return at if window is None else window.opening(at, ZoneInfo(self.facts.entry.zone))
        except (ValueError, OSError, KeyError):  # this machine has no data of the zone
            return at

    def _read(self, written: re.Match[str]) -> str:
        """Write a moment of a recorded text, which is in UTC, as all others."""
        try:
            return self.at(datetime.fromisoformat(f"{written[1]}+00:00"))
        except ValueError:
            return written[0]

    def _tz(self) -> tzinfo:
        try:
            return ZoneInfo(self.zone)
        except (ValueError, OSError, KeyError):
            return UTC


def crons(verb: str) -> str:
    """Write a command line."""
    return f"manage.py crons {verb}"


def because_of(reason: str) -> str:
    """Write a reason that somebody gave, with the colon before it."""
    return f": {reason}" if reason else ""


def slot_of(run: RunFacts, story: Story) -> str:
    """Name a run by its number and its slot."""
    if run.slot_at is None:
        return f"run {run.id} (by hand, {story.at(run.planned_at)})"
    return f"run {run.id} (slot {story.at(run.slot_at)})"


def run_after_all(story: Story) -> str:
    """Say how a slot that has no run is run after all."""
    at, name = story.facts.asked.at, story.facts.entry.name
    first, last = (iso(each) for each in (at, at + timedelta(seconds=1)))
    return f"to run it after all: {crons(f'backfill {name} --since {first} --until {last}')}"


def attempt_said(attempt: AttemptFacts, story: Story) -> str:
    """Say when and where an attempt ran, and how it ended."""
    began = f"Attempt {attempt.number} began at {story.at(attempt.begun_at)} on {attempt.host}"
    if attempt.ended_at is None:
        return f"{began} and has run for {length(story.facts.now - attempt.begun_at)} so far."
    took = length(attempt.ended_at - attempt.begun_at)
    outcome = attempt.outcome.replace("_", " ")
    error = because_of(attempt.error) if attempt.outcome != "succeeded" else ""
    return f"{began} and ended at {story.at(attempt.ended_at)}, after {took}: {outcome}{error}."


def scheduler_said(scheduler: Scheduler) -> str:
    """Name a scheduler."""
    release = f", release {scheduler.release}" if scheduler.release else ""
    return f"{scheduler.kind} on {scheduler.host} (pid {scheduler.pid}{release})"


def listed(names: Iterable[str], most: int = 4) -> str:
    """Write a few names in a row."""
    every = list(names)
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more


def paused_what(pause: PauseFacts) -> str:
    """Say what a pause holds."""
    if pause.scope.startswith("tag:"):
        return f"all entries tagged {pause.scope.removeprefix('tag:')!r}"
    return "everything" if pause.scope else "it"


def resume_line(pause: PauseFacts, name: str) -> str:
    """Write the command line that ends a pause."""
    if pause.scope.startswith("tag:"):
        return crons(f"resume --tag {pause.scope.removeprefix('tag:')}")
    return crons("resume --all" if pause.scope else f"resume {name}")


def deployed_by(deed: Deed) -> str:
    """Say who changed a declaration, on which host, by which release."""
    host, release = deed.after.get("host"), deed.after.get("release")
    return deed.by + (f" on {host}" if host else "") + (f", release {release}" if release else "")


def schedule_said(story: Story) -> str:
    """Say what the schedule was at that moment, and since when or until when."""
    facts = story.facts
    if facts.schedule is None:
        return f"Its schedule cannot be read: {facts.entry.schedule!r}."
    text, said = facts.schedule.text, facts.schedule.explain()
    schedule = f"{said} ({text})" if text and text != said else said
    if facts.changed is not None:
        new = facts.changed.after.get("schedule")
        zone = facts.changed.after.get("zone")
        moved = f" in {zone}" if zone and zone != story.zone else ""
        return (
            f"The schedule was then: {schedule}, in {story.zone}. {deployed_by(facts.changed)} changed it at "
            f"{story.at(facts.changed.at)} to {_explained(str(new))}{moved}{because_of(facts.changed.reason)}."
        )
    if facts.set_by is not None:
        old = _explained(str(facts.set_by.before.get("schedule")))
        since = f"since {story.at(facts.set_by.at)}, by {deployed_by(facts.set_by)}{because_of(facts.set_by.reason)}"
        return f"The schedule: {schedule}, in {story.zone}, {since}. Before: {old}."
    return f"The schedule: {schedule}, in {story.zone}."


def _explained(text: str) -> str:
    try:
        said = parse(text).explain()
    except CronsError:
        return text
    return f"{said} ({text})" if text and text != said else said


def is_due(text: str, zone: str, at: datetime) -> bool:
    """Whether *at* is a slot of the schedule *text*; no text, or one that cannot be read, has none."""
    try:
        schedule, tz = parse(text), ZoneInfo(zone)
    except (CronsError, ValueError, OSError, KeyError):
        return False
    return bool(text) and schedule.next_after(at - timedelta.resolution, tz) == at


def nearby_said(what: str, near: Nearby | None, story: Story) -> str:
    if near is None:
        return ""
    status = near.status.replace("_", " ") or ("to come" if near.at > story.facts.now else "not recorded")
    reason = f" ({near.reason.replace('_', ' ')})" if near.reason else ""
    return f"{what}: {story.at(near.at)}, {status}{reason}."
