"""What would keep jobs from running, each with what was found, what was expected, and what to do.

A file per part: the start in cron's own environment, this machine's cron, clocks, and what the ledger knows.
Looks only; a part that cannot be looked at is a finding itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from django.db import DatabaseError

from crons.doctor import bare, clocks, installed, rows, start
from crons.doctor.findings import BAD, GOOD, WARN, Finding
from crons.exceptions import CronsError, UnknownJob
from crons.jobs import not_declared
from crons.targets import declared, state
from crons.targets.installation import Installation

PARTS: tuple[tuple[str, Callable[[str | None], Iterator[Finding]]], ...] = (
    ("start", start.look),
    ("files", start.look_at_files),
    ("cron", installed.look),
    ("clocks", clocks.look),
    ("ledger", rows.look),
)

__all__ = ["BAD", "GOOD", "WARN", "Finding", "examine", "run"]


def examine(name: str | None = None) -> Iterator[Finding]:
    """Yield what was found, all of it; with *name* only what that entry needs.

    Raises: UnknownJob.
    Cost: one start of the project; the statements do not grow with the entries.
    """
    names = {each.name for each in declared()}
    if name is not None and name not in names:
        # Also where its row is there: a line can run only what the code declares.
        raise UnknownJob(not_declared(name, names))
    return _examined(name)


def run(name: str) -> bare.Ended:
    """Run an entry once besides its schedule, started as cron would start it."""
    installation = Installation.find(state.folder() / "log")
    command = installation.shell(str(installation.manage_py), "crons", "run", name, "--manual")
    return bare.run(command, timeout_seconds=None)


def _examined(name: str | None) -> Iterator[Finding]:
    for what, look in PARTS:
        try:
            yield from look(name)
        except (CronsError, DatabaseError) as error:
            yield Finding(what, BAD, " ".join(str(error).split()), "an answer", "Mend that first, then ask again.")
