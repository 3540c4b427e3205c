"""How rows, moments and recorded text are said to people: one way, for terminals, pages and messages."""

from crons.presentation.moments import distance, iso, length, local, utc
from crons.presentation.rows import (
    UNWANTED,
    Cell,
    as_json,
    describe_arguments,
    describe_policy,
    describe_run,
    describe_schedule,
    describe_scope,
    describe_state,
    describe_verdict,
    last_attempts,
    took,
    took_seconds,
    words,
)
from crons.presentation.text import readable, readable_json, readable_line, readable_page
from crons.presentation.work import counts_of, describe_progress, describe_work, progress_of, work_as_json, work_of

__all__ = [
    "UNWANTED",
    "Cell",
    "as_json",
    "counts_of",
    "describe_arguments",
    "describe_policy",
    "describe_progress",
    "describe_run",
    "describe_schedule",
    "describe_scope",
    "describe_state",
    "describe_verdict",
    "describe_work",
    "distance",
    "iso",
    "last_attempts",
    "length",
    "local",
    "progress_of",
    "readable",
    "readable_json",
    "readable_line",
    "readable_page",
    "took",
    "took_seconds",
    "utc",
    "words",
    "work_as_json",
    "work_of",
]
