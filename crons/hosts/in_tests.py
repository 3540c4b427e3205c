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
    said = os.environ.get(VARIABLE, "")
    return said != "0" if said else _has_test_environment()


def refuse_schedulers() -> None:
    """Raise Disabled where this process belongs to a test suite."""
    if is_suite():
        set_by = f"{VARIABLE} is set" if os.environ.get(VARIABLE) else "Django's test environment is set up"
        raise Disabled(f"{set_by}: {REFUSAL}")


def mark() -> None:
    """Tell this process and every subprocess that it belongs to a suite; what is said already stays."""
    os.environ.setdefault(VARIABLE, "1")


def mark_by_test_database(**kwargs: Any) -> None:
    """Hand on, when tables are made, that a Django test runner makes them: its subprocesses cannot see it."""
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
    # Django keeps here what setup_test_environment() replaced, and only from there to teardown_test_environment().
    module = sys.modules.get("django.test.utils")
    return hasattr(getattr(module, "_TestState", None), "saved_data")
