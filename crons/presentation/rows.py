"""Rows in the words of people: one way to say them, for terminals and for pages."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Model

from crons.exceptions import CronsError
from crons.jobs import OURS, Policy
from crons.models import Attempt, Entry, Heartbeat, Pause, Run
from crons.presentation.moments import length, local
from crons.redaction import for_people
from crons.schedules import FAR_FUTURE, parse
from crons.verdicts import BAD_VERDICTS, State, Verdict

# What nobody wanted, and what becomes red.
UNWANTED = {*BAD_VERDICTS, Verdict.MISSED}
# Columns that hold what a declaration or a person gave: secrets may be in them.
ANYTHING = ("args", "before", "after")


@dataclass(frozen=True)
class Cell:
    """A text in a table; *tone* (good, bad, warn, quiet) colours it and adds nothing to what it says."""

    text: str
    tone: str = ""


def describe_verdict(word: str, reason: str = "", detail: str = "", *, late_seconds: int | None = None) -> Cell:
    """Say how something ended, and by how much it was begun late; readable without its colour."""
    tone = "good" if word == Verdict.SUCCEEDED else "bad" if word in UNWANTED else "warn"
    text = words(word) + (f" ({words(reason)})" if reason else "") + _late(late_seconds)
    tone = "warn" if tone == "good" and late_seconds else tone
    return Cell(f"{text}: {detail}" if detail else text, tone)


def describe_run(run: Run) -> Cell:
    """Say how a run ended, or, of one that is not over, its state."""
    if run.state == State.DONE:
        return describe_verdict(run.verdict, run.reason, run.detail, late_seconds=run.late_seconds)
    state = run.state + _late(run.late_seconds)
    return Cell(f"{state}: {run.detail}" if run.detail else state)


def came_second(run: Run) -> tuple[tuple[tuple[str, datetime], ...], int]:
    """Return which triggers came to a run's slot second, and when, and how many more did; a garbled one is left out."""
    kept, told = run.came_second or {}, []
    first = kept.get("first")
    for each in first if isinstance(first, list) else ():
        with suppress(KeyError, TypeError, ValueError, OverflowError):
            at = datetime.fromisoformat(each["at"])
            if at.tzinfo is not None:
                told.append((str(each["who"]), at))
    count = kept.get("count")
    return tuple(told), max(count - len(told), 0) if told and type(count) is int else 0


def describe_second(run: Run) -> str:
    """Say which triggers came to a run's slot second, and when; empty where none did."""
    told, more = came_second(run)
    said = ", ".join(f"{who} at {local(at, run.entry.zone)}" for who, at in told)
    return f"{said}, and {more} more" if more else said


def _late(seconds: int | None) -> str:
    return f", {length(timedelta(seconds=seconds))} late" if seconds else ""


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


def describe_usual(p50: timedelta, p95: timedelta) -> str:
    """Say how long an entry's runs usually take: `9 min, 95 of 100 at most 12 min`."""
    usually, most = length(p50), length(p95)
    return usually if usually == most else f"{usually}, 95 of 100 at most {most}"


def describe_schedule(entry: Entry) -> str:
    """Say a schedule in plain English, with its own text."""
    try:
        explained = parse(entry.schedule).explain()
    except CronsError as error:
        return f"{entry.schedule}: {error}"
    return f"{explained} ({entry.schedule})" if entry.schedule and explained != entry.schedule else explained


def describe_state(entry: Entry) -> Cell:
    """Say that an entry is active, or why nothing of it runs: it is retired, parked or paused."""
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


def describe_scheduler(beat: Heartbeat) -> str:
    """Name a scheduler: "serve on web1 (pid 7)"."""
    return f"{beat.kind} on {beat.host} (pid {beat.pid})"


def describe_scope(pause: Pause) -> str:
    """Say what is paused: one entry, all with a tag, or everything."""
    if pause.entry is not None:
        return pause.entry.name
    return f"all tagged {pause.tag!r}" if pause.tag else "everything"


def _scope(scope: str) -> str:
    if scope.startswith("tag:"):
        return f" (all tagged {scope.removeprefix('tag:')!r})"
    return " (everything is)" if scope else ""


def describe_policy(policy: Policy) -> list[tuple[str, str]]:
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
    sentences = [
        ("catch up", overdue[policy.catch_up]),
        ("overlap", overlap[policy.overlap]),
        ("timeout", _timeout(policy.timeout)),
        ("retry", _retry(policy)),
        ("lost", _lost(policy)),
        ("executor", f"Attempts run in the executor {policy.executor!r}."),
    ]
    if policy.deadline is not None:
        sentences.insert(1, ("deadline", f"A slot is not begun later than {length(policy.deadline)} after its moment."))
    if policy.window is not None:
        outside = "a slot or a retry outside of it waits until it opens, what somebody asks for does not"
        sentences.insert(1, ("window", f"A run is begun only from {policy.window} of its zone: {outside}."))
    if policy.group:
        sentences.append(("group", f"It shares the limit of the group {policy.group!r}."))
    sentences += [(label, f"An incident is opened by {told}.") for label, told in _opening(policy)]
    if policy.tell_after > 1:
        sentences.append(
            ("tell after", f"A failure is shown at once, and told of from the {policy.tell_after}. in a row on.")
        )
    if not policy.unsteady[0]:
        sentences.append(("unsteady", "However many of its newest runs fail, that is said of each only."))
    return sentences


def describe_watched(policy: Policy) -> str:
    """Say what of a job opens an incident, by its declaration: `an attempt longer than 10 min, no success for 2 d`."""
    told = [said for _, said in _opening(policy)]
    if policy.tell_after > 1:
        told.append(_in_a_row(policy))
    return ", ".join(told)


def _opening(policy: Policy) -> Iterator[tuple[str, str]]:
    """Yield what opens an incident by the declaration alone, each with the policy that says so."""
    if policy.expected is not None:
        yield "expected", f"an attempt longer than {length(policy.expected)}"
    if policy.max_silence is not None:
        yield "max silence", f"no success for {length(policy.max_silence)}"
    if policy.max_idle:
        runs = "a run that examines" if policy.max_idle == 1 else f"{policy.max_idle} runs in a row that examine"
        yield "max idle", f"{runs} nothing"
    if policy.unsteady != OURS.unsteady and policy.unsteady[0]:
        yield "unsteady", "{} failures in {} runs".format(*policy.unsteady)


def _in_a_row(policy: Policy) -> str:
    return f"{policy.tell_after} failures in a row"


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


def as_json(row: Model) -> dict[str, Any]:
    """Return a row's fields by their names; an entry by its name, another row by its id; no secrets of arguments."""
    values = {field.name: getattr(row, field.attname) for field in row._meta.concrete_fields}
    values |= {name: for_people(values[name]) for name in ANYTHING if values.get(name)}
    if values.get("entry") is not None:
        values["entry"] = row.entry.name  # type: ignore[attr-defined] # the rows that have one: Run, Range, Incident
    return values


def next_slot_at(entry: Entry) -> datetime | None:
    """Return the next slot as planning last saw it; None where there is none or nothing has planned yet."""
    return None if entry.wake_at is None or entry.wake_at >= FAR_FUTURE else entry.wake_at


def describe_given(run: Run) -> str:
    """Write all that the job of a run is called with, but for secrets; empty where that is nothing."""
    return str(for_people({**run.entry.args, **(run.args or {})}) or "")


def describe_arguments(args: Mapping[str, Any]) -> str:
    """Write arguments as --arg takes them, but for secrets."""
    shown = for_people(args).items()
    return ", ".join(f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in shown)


def last_attempts(runs: Iterable[Run]) -> dict[int, Attempt]:
    """Return the current attempt of each run that has one, with what its job said of its work, by the run's id.

    Cost: one query.
    """
    ids = [run.current_attempt for run in runs if run.current_attempt is not None]
    found = Attempt.objects.select_related("work").filter(pk__in=ids)
    return {attempt.run_id: attempt for attempt in found}


def took_seconds(attempt: Attempt | None) -> float | None:
    """Return how long an attempt took; None while it goes on."""
    if attempt is None or attempt.ended_at is None:
        return None
    span: timedelta = attempt.ended_at - attempt.begun_at
    return span.total_seconds()
