"""Whether this process belongs to a test suite, where no scheduler may fire unless a test asks for it.

Decided by facts that only a suite sets, never by a guess from names, arguments or loaded modules:
the variable CRONS_IN_TESTS, which the pytest plugin sets and every subprocess inherits, or Django's
own test environment (setup_test_environment) in this very process. Imports no Django, for pytest's sake.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from crons.exceptions import Disabled

VARIABLE = "CRONS_IN_TESTS"
REFUSAL = (
    "this process belongs to a test suite, so serve, tick and run begin nothing. In a test that wants them: "
    "the fixture crons_schedulers, or `with crons.testing.schedulers():`."
)


def is_suite() -> bool:
    """Say whether this process belongs to a test suite in which schedulers are off."""
    mark = os.environ.get(VARIABLE, "")
    return mark != "0" if mark else _has_test_environment()


def refuse_schedulers() -> None:
    """Raise Disabled where this process belongs to a test suite."""
    if is_suite():
        set_by = f"{VARIABLE} is set" if os.environ.get(VARIABLE) else "Django's test environment is set up"
        raise Disabled(f"{set_by}: {REFUSAL}")


def mark() -> None:
    """Mark this process and every subprocess as part of a suite; a mark that is set already stays."""
    os.environ.setdefault(VARIABLE, "1")


def mark_by_test_database(**kwargs: Any) -> None:
    """Mark the process when a test runner makes its tables: subprocesses inherit the mark, not Django's state."""
    if _has_test_environment():
        mark()


@contextmanager
def schedulers() -> Iterator[None]:
    """Let serve, tick and run work inside, in this process and in those that it starts."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = "0"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = before


def _has_test_environment() -> bool:
    # Set by setup_test_environment(), deleted by teardown_test_environment().
    module = sys.modules.get("django.test.utils")
    return hasattr(getattr(module, "_TestState", None), "saved_data")
