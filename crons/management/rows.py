"""Rows of the ledger as verbs print them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from django.db.models import Model

from crons.conf import conf
from crons.models import Attempt, Run
from crons.presentation.rows import BAD, standing, took, verdict, words
from crons.redaction import for_people

# Columns that hold what a declaration or a person gave: secrets may be in them.
ANYTHING = ("args", "before", "after")

__all__ = ["BAD", "as_json", "last_attempts", "standing", "took", "took_seconds", "verdict", "words"]


def as_json(row: Model) -> dict[str, Any]:
    """Return a row's fields by their names; an entry by its name, another row by its id; no secrets of arguments."""
    values = {field.name: getattr(row, field.attname) for field in row._meta.concrete_fields}
    values |= {name: for_people(values[name]) for name in ANYTHING if values.get(name)}
    if values.get("entry") is not None:
        values["entry"] = row.entry.name  # type: ignore[attr-defined] # the rows that have one: Run, Range, Incident
    return values


def arguments(args: Mapping[str, Any]) -> str:
    """Write arguments as --arg takes them, but for secrets."""
    shown = for_people(args).items()
    return ", ".join(f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in shown)


def last_attempts(runs: Iterable[Run]) -> dict[int, Attempt]:
    """Return the current attempt of each run that has one, by the run's id.

    Cost: one query.
    """
    ids = [run.current_attempt for run in runs if run.current_attempt is not None]
    return {attempt.run_id: attempt for attempt in Attempt.objects.using(conf.database).filter(pk__in=ids)}


def took_seconds(attempt: Attempt | None) -> float | None:
    """Return how long an attempt took; None while it goes on."""
    if attempt is None or attempt.ended_at is None:
        return None
    span: timedelta = attempt.ended_at - attempt.begun_at
    return span.total_seconds()
