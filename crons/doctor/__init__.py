"""What would keep jobs from running, each with what was found, what was expected, and what to do.

A file per part: the start in cron's own environment, this machine's cron, clocks, and what the ledger knows.
Looks only; a part that cannot be looked at is a finding itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from django.db import DatabaseError

from crons.doctor import clocks, installed, rows, start
from crons.doctor.findings import BAD, GOOD, WARN, Finding
from crons.doctor.missing import run
from crons.exceptions import CronsError, UnknownJob
from crons.jobs import not_declared
from crons.side_output import get_log
from crons.targets import declared

log = get_log("crons")
PARTS: tuple[tuple[str, Callable[[str | None], Iterator[Finding]]], ...] = (
    ("start", start.examine),
    ("files", start.examine_files),
    ("cron", installed.examine),
    ("clocks", clocks.examine),
    ("ledger", rows.examine),
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


def _examined(name: str | None) -> Iterator[Finding]:
    for what, part in PARTS:
        try:
            yield from part(name)
        except (CronsError, DatabaseError) as error:
            yield Finding(what, BAD, " ".join(str(error).split()), "an answer", "Mend that first, then ask again.")
        except Exception as error:
            log.warning(
                "the part %s of the doctor failed", what, exc_info=True, extra={"event": "doctor.failed", "part": what}
            )
            found = f"looking at it failed: {type(error).__name__}: {' '.join(str(error).split())}"
            yield Finding(what, BAD, found, "an answer", "The log has the traceback; please report it.")
