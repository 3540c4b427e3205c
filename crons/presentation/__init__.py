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

__all__ = [
    "UNWANTED",
    "Cell",
    "as_json",
    "describe_arguments",
    "describe_policy",
    "describe_run",
    "describe_schedule",
    "describe_scope",
    "describe_state",
    "describe_verdict",
    "distance",
    "iso",
    "last_attempts",
    "length",
    "local",
    "readable",
    "readable_json",
    "readable_line",
    "readable_page",
    "took",
    "took_seconds",
    "utc",
    "words",
]
