"""Running one entry by its name: what `crons run NAME` does, and a project's own command that is a way into a job."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from crons import api
from crons.declarations import arguments
from crons.exceptions import Refused
from crons.executors import Executor
from crons.jobs import registry
from crons.side_output import Echo, is_terminal
from crons.triggers.entry import EntryTrigger
from crons.triggers.session import Session
from crons.triggers.within import do_the_work


@dataclass(frozen=True)
class Ran:
    """The exit code, and the number of the run where there is one."""

    code: int
    run: int | None = None


def run_entry(
    name: str,
    say: Callable[[str], None],
    *,
    by: str,
    scheduled: bool | None = None,
    args: Mapping[str, Any] | None = None,
    wait: bool = False,
    foreground: bool = False,
    echo: Echo | None = None,
) -> Ran:
    """Run the slot of *name* that is due, or one run more, unless somebody has it; see it through.

    Within an attempt its work is done instead: that one is the run.
    Args: *scheduled*: whether the slot is meant; None: where neither stdin nor stdout is a terminal, and if one is
    near. *args* are given to the job for this run only. *wait*: where somebody has the run, follow it to its end.
    *foreground*: in this very process. *echo* shows what the job writes; without it that is recorded only.
    Returns: 0 when it succeeded or somebody else has it, 1 when it failed or was refused.
    Raises: CronsError.
    """
    if args and scheduled:
        raise Refused("arguments are for manual runs: a slot runs with those that its entry was declared with.")
    if os.environ.get("CRONS_ATTEMPT"):
        if args:
            raise Refused("arguments start a run; this process works for one that was started with its own.")
        return Ran(do_the_work(name))
    if args:
        arguments.check(api.entry(name), args)  # before processes are started for it
    is_guess = scheduled is None
    if is_guess:
        scheduled = not (args or is_terminal(sys.stdin) or is_terminal(sys.stdout))
    executors = _inline() if foreground else None
    # Inline, the job writes to the terminal itself.
    with Session("run", "crontab" if scheduled else "manual", executors, echo=None if foreground else echo) as session:
        trigger = EntryTrigger(session, say, wait=wait, show=echo.show if echo else _show_nothing)
        code = trigger.scheduled(name, guess=is_guess) if scheduled else trigger.manual(name, by=by, args=args)
    return Ran(code, trigger.run.pk if trigger.run else None)


def _inline() -> dict[str, Executor]:
    from crons.executors.inline import InlineExecutor  # a crontab line should not pay for it

    return {alias: InlineExecutor(alias=alias) for alias in registry.executors()}


def _show_nothing(stream: str, text: str) -> None: ...
