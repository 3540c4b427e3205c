"""Run a management command of the test project in a process that kills itself at a named point.

python -m tests.acceptance.crash POINT manage-arguments…
The product knows nothing of this: the points are put around its functions from outside.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any


def die(*args: Any, **kwargs: Any) -> None:
    """End this process as kill -9 does; what it has forked goes on or not, as the product sees to."""
    os.kill(os.getpid(), signal.SIGKILL)


def before(module: str, name: str) -> Callable[[], None]:
    """Die when *name* is about to be called."""

    def arm() -> None:
        place = import_module(module)
        assert hasattr(place, name), f"{module} has no {name} any more: move the crash point"
        setattr(place, name, die)

    return arm


def after(module: str, name: str) -> Callable[[], None]:
    """Die when *name* has returned something worth having."""

    def arm() -> None:
        place = import_module(module)
        real = getattr(place, name)

        def call_and_die(*args: Any, **kwargs: Any) -> Any:
            result = real(*args, **kwargs)
            if result:
                die()
            return result

        setattr(place, name, call_and_die)

    return arm


POINTS: dict[str, Callable[[], None]] = {
    "before record commits": before("crons.ledger.rows", "insert_alike"),
    "recorded, not begun": before("crons.ledger", "begin"),
    "before begin commits": before("crons.ledger.handover", "_begun"),
    "begun, not started": after("crons.ledger", "begin"),
    "marked as sent, not sent": after("crons.ledger", "send"),
    "done, finish not committed": before("crons.ledger.ending.finishing", "write_closed"),
    "finish committed": after("crons.ledger", "finish"),
}


if __name__ == "__main__":
    import django

    django.setup()
    POINTS[sys.argv[1]]()
    from django.core.management import execute_from_command_line

    execute_from_command_line(["manage.py", *sys.argv[2:]])
