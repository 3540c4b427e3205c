"""Which checks run when: those of declarations need modules of the project, which may do anything when imported."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django.core.checks import CheckMessage
from django.core.management.commands import check as check_command

from crons.checks.base import Check, known_good
from crons.jobs import registry
from crons.sources.importing import limited, without_writes

# A module that takes longer to import has most likely a loop in it, which a check must name instead of joining.
IMPORT_SECONDS = 10.0
_must_be_whole: ContextVar[bool] = ContextVar("must_be_whole", default=False)
_leaves_zones: ContextVar[bool] = ContextVar("leaves_zones", default=False)


@contextmanager
def declarations_must_be_whole(*, leaving_zones: bool = False) -> Iterator[None]:
    """Have checks inside refuse what other commands are only warned of: serve, sync and apply go by declarations.

    Args: *leaving_zones* says that entries in zones which this machine lacks are left to other hosts.
    """
    token, zones = _must_be_whole.set(True), _leaves_zones.set(leaving_zones)
    try:
        yield
    finally:
        _must_be_whole.reset(token)
        _leaves_zones.reset(zones)


def must_be_whole() -> bool:
    """Say whether a module of declarations that fails stops the command that is checked."""
    return _must_be_whole.get()


def leaves_zones() -> bool:
    """Say whether the command that is checked leaves entries in zones that this machine lacks to other hosts."""
    return _leaves_zones.get()


def is_asked_for() -> bool:
    """Say whether checks are what was asked for: `manage.py check`, or those that Django's test runner makes."""
    runner = getattr(sys.modules.get("django.test.runner"), "DiscoverRunner", None)
    asking = {check_command.Command.handle.__code__, getattr(getattr(runner, "run_checks", None), "__code__", None)}
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code in asking:
            return True
    return False


def of_declarations(check: Check) -> Callable[..., list[CheckMessage]]:
    """Let a check of declarations run only where they are loaded, and load them where checks are asked for.

    Django runs checks before most commands. Those of the project must not import its modules.
    """
    good = known_good(check)

    def checked(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
        if is_asked_for():
            with carefully():
                registry.load()
                return good()
        return good() if registry.is_loaded else []

    # Not functools.wraps: Django would look at the arguments of *check*, and refuse one without **kwargs.
    checked.__name__, checked.__doc__, checked.__module__ = check.__name__, check.__doc__, check.__module__
    return checked


@contextmanager
def carefully() -> Iterator[None]:
    """Import the project's modules inside for so long only, and without letting them write to its databases."""
    with without_writes(), limited(IMPORT_SECONDS):
        yield
