"""What the checks share: their tag, a wrapper for settings that cannot be read, and messages of sources."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from django.core.checks import CheckMessage, Error, Warning

from crons.conf import conf
from crons.exceptions import InvalidSetting
from crons.executors import Sender
from crons.sources.base import Problem

TAG = "crons"
Check = Callable[..., Iterator[CheckMessage]]


def known_good(check: Check) -> Callable[..., list[CheckMessage]]:
    """Skip the check where a setting that it reads is invalid: crons.E001 reports that one."""

    def checked(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
        try:
            return list(check())
        except InvalidSetting:
            return []

    # Not functools.wraps: Django would look at the arguments of *check*, and refuse one without **kwargs.
    checked.__name__, checked.__doc__, checked.__module__ = check.__name__, check.__doc__, check.__module__
    return checked


def message(problem: Problem) -> CheckMessage:
    """Turn what a source found wrong into a message of Django's checks."""
    kind = Error if problem.id.startswith("E") else Warning
    return kind(problem.text, hint=problem.hint, id=f"crons.{problem.id}")


def sends(alias: str, kind: type[Sender] = Sender) -> bool:
    """Say whether the executor *alias* is of *kind*: one that sends messages to workers elsewhere."""
    try:
        return issubclass(conf.executor_class(alias), kind)
    except (InvalidSetting, TypeError):
        return False  # crons.E002 reports it
