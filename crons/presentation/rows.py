"""Rows in the words of people: one way to say them, for terminals and for pages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from crons.exceptions import CronsError
from crons.jobs import Policy
from crons.models import Attempt, Entry, Pause, Run
from crons.presentation.moments import length, local
from crons.schedules import parse
from crons.verdicts import BAD_VERDICTS, State, Verdict

BAD = {*BAD_VERDICTS, Verdict.MISSED}


@dataclass(frozen=True)
class Cell:
    """A text in a table; *tone* (good, bad, warn, quiet) colours it and adds nothing to what it says."""

    text: str
    tone: str = ""


def verdict(word: str, reason: str = "", detail: str = "") -> Cell:
    """Say how something ended; readable without its colour."""
    tone = "good" if word == Verdict.SUCCEEDED else "bad" if word in BAD else "warn"
    told = words(word) + (f" ({words(reason)})" if reason else "")
    return Cell(f"{told}: {detail}" if detail else told, tone)


def standing(run: Run) -> Cell:
    """Say how a run ended, or where it stands."""
    if run.state == State.DONE:
        return verdict(run.verdict, run.reason, run.detail)
    return Cell(f"{run.state}: {run.detail}" if run.detail else run.state)


def words(name: str) -> str:
    """Write timed_out as people do."""
    return name.replace("_", " ")


def took(attempt: Attempt | None, now: datetime) -> str:
    """Write how long an attempt took, or takes so far."""
    if attempt is None:
        return ""
    if attempt.ended_at is None:
        return f"{length(now - attempt.begun_at)} so far"
    return length(attempt.ended_at - attempt.begun_at)


def explained(entry: Entry) -> str:
    """Say a schedule in plain English, with its own text."""
    try:
        said = parse(entry.schedule).explain()
    except CronsError as error:
        return f"{entry.schedule}: {error}"
    return f"{said} ({entry.schedule})" if entry.schedule and said != entry.schedule else said


def state(entry: Entry) -> Cell:
    """Say what holds an entry, or that nothing does."""
    if entry.retired_at is not None:
        return Cell(f"retired {local(entry.retired_at, entry.zone)}", "quiet")
    if entry.parked_reason:
        return Cell(f"parked: {entry.parked_reason}", "bad")
    if entry.paused_at is not None:
        until = f" until {local(entry.paused_until, entry.zone)}" if entry.paused_until else ""
        by = f" by {entry.paused_by}" if entry.paused_by else ""
        reason = f": {entry.pause_reason}" if entry.pause_reason else ""
        return Cell(f"paused{_scope(entry.pause_scope)}{until}{by}{reason}", "warn")
    return Cell("active")


def paused_what(pause: Pause) -> str:
    """Say what a pause holds."""
    if pause.entry is not None:
        return pause.entry.name
    return f"all tagged {pause.tag!r}" if pause.tag else "everything"


def _scope(scope: str) -> str:
    if scope.startswith("tag:"):
        return f" (all tagged {scope.removeprefix('tag:')!r})"
    return " (everything is)" if scope else ""


def rules(policy: Policy) -> list[tuple[str, str]]:
    """Say a policy in sentences, each under a word for what it is about."""
    cap = f" ({policy.cap} at most)" if policy.catch_up == "all" else ""
    overdue = {
        "none": "Overdue slots are not run any more; each is recorded as missed.",
        "latest": "Of overdue slots the newest is run; the others are recorded as missed.",
        "all": f"Overdue slots are run one after the other, oldest first{cap}.",
    }
    overlap = {
        "skip": "A slot is skipped while an earlier run is still going.",
        "allow": "A slot is run also while an earlier run is still going.",
    }
    told = [
        ("catch up", overdue[policy.catch_up]),
        ("overlap", overlap[policy.overlap]),
        ("timeout", _timeout(policy.timeout)),
        ("retry", _retry(policy)),
        ("lost", _lost(policy)),
        ("executor", f"Attempts run in the executor {policy.executor!r}."),
    ]
    if policy.deadline is not None:
        told.insert(1, ("deadline", f"A slot is not begun later than {length(policy.deadline)} after its moment."))
    if policy.group:
        told.append(("group", f"It shares the limit of the group {policy.group!r}."))
    return told


def _timeout(timeout: timedelta | None) -> str:
    return "It may run for ever." if timeout is None else f"An attempt is killed after {length(timeout)}."


def _retry(policy: Policy) -> str:
    if not policy.retry.times:
        return "A failure is not tried again."
    waits = f"after {length(policy.retry.wait)}"
    if policy.retry.backoff > 1 and policy.retry.times > 1:
        waits += f", then each time {policy.retry.backoff:g} times as long, at most {length(policy.retry.longest)}"
    return f"A failure is tried again up to {policy.retry.times} time(s): {waits}."


def _lost(policy: Policy) -> str:
    if policy.idempotent:
        return "It is idempotent: what was lost or timed out is tried again."
    return "It is not idempotent: what was lost or timed out is not tried again by itself."
