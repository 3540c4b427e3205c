"""What would keep jobs from running, each with what was found, what was expected, and what to do.

A file per part: the start in cron's own environment, this machine's cron, clocks, and what the ledger knows.
Looks only; a part that cannot be looked at is a finding itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from django.db import DatabaseError

from crons.doctor import bare, clocks, installed, missing, rows, start
from crons.doctor.findings import BAD, GOOD, WARN, Finding
from crons.exceptions import CronsError, UnknownJob
from crons.jobs import not_declared
from crons.side_output import get_log
from crons.targets import declared, state
from crons.targets.installation import Installation

log = get_log("crons")
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


def run(name: str) -> tuple[bare.Ended, list[Finding]]:
    """Run an entry once besides its schedule, started as cron would start it; say how it ended, and what it lacked."""
    installation = Installation.find(state.folder() / "log")
    command = installation.shell(str(installation.manage_py), "crons", "run", name, "--manual")
    ended = bare.run(command, timeout_seconds=None)
    if not ended.exit_code:
        return ended, [Finding(f"run of {name}", GOOD, "it succeeded in cron's environment")]
    lacked = list(missing.look(ended.output, installation))
    do = f"All that it wrote: manage.py crons log {name}. Does it work from this shell? manage.py crons run {name}"
    found = f"it ended with exit code {ended.exit_code} in cron's environment"
    return ended, [*lacked, Finding(f"run of {name}", BAD, found, "0", "Mend what is named above." if lacked else do)]


def _examined(name: str | None) -> Iterator[Finding]:
    for what, look in PARTS:
        try:
            yield from look(name)
        except (CronsError, DatabaseError) as error:
            yield Finding(what, BAD, " ".join(str(error).split()), "an answer", "Mend that first, then ask again.")
        except Exception as error:
            log.warning("the part %s of the doctor failed", what, exc_info=True)
            found = f"looking at it failed: {type(error).__name__}: {' '.join(str(error).split())}"
            yield Finding(what, BAD, found, "an answer", "The log has the traceback; please report it.")
