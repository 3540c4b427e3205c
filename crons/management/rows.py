"""Rows of the ledger as verbs print them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Model

from crons.conf import conf
from crons.management.moments import length
from crons.management.output import Cell
from crons.models import Attempt, Run
from crons.verdicts import BAD_VERDICTS, State, Verdict

BAD = {*BAD_VERDICTS, Verdict.MISSED}


def as_json(row: Model) -> dict[str, Any]:
    """Return a row's fields by their names; an entry by its name, another row by its id."""
    values = {field.name: getattr(row, field.attname) for field in row._meta.concrete_fields}
    if values.get("entry") is not None:
        values["entry"] = row.entry.name  # type: ignore[attr-defined] # the rows that have one: Run, Range, Incident
    return values


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


def arguments(args: Mapping[str, Any]) -> str:
    """Write arguments as --arg takes them."""
    return ", ".join(f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in args.items())


def words(name: str) -> str:
    """Write timed_out as people do."""
    return name.replace("_", " ")


def last_attempts(runs: Iterable[Run]) -> dict[int, Attempt]:
    """Return the current attempt of each run that has one, by the run's id.

    Cost: one query.
    """
    ids = [run.current_attempt for run in runs if run.current_attempt is not None]
    return {attempt.run_id: attempt for attempt in Attempt.objects.using(conf.database).filter(pk__in=ids)}


def took(attempt: Attempt | None, now: datetime) -> str:
    """Write how long an attempt took, or takes so far."""
    if attempt is None:
        return ""
    if attempt.ended_at is None:
        return f"{length(now - attempt.begun_at)} so far"
    return length(attempt.ended_at - attempt.begun_at)


def took_seconds(attempt: Attempt | None) -> float | None:
    """Return how long an attempt took; None while it goes on."""
    if attempt is None or attempt.ended_at is None:
        return None
    span: timedelta = attempt.ended_at - attempt.begun_at
    return span.total_seconds()
