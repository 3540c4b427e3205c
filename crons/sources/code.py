"""Declarations made in code: @job, command(…), shell(…), entry(…)."""

from __future__ import annotations

import re
import traceback
from contextlib import nullcontext
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from crons.exceptions import InvalidSetting
from crons.jobs import registry
from crons.redaction import of_project
from crons.side_output import get_log
from crons.sources.base import Problem, Reading, Source
from crons.sources.importing import FAILURES, describe_failure, importing, without_writes

FIX = (
    "Mend it: until then none of its jobs is begun, and crons serve, sync and apply refuse. What a script does when it "
    'is started belongs below `if __name__ == "__main__":`. A module that is none of crons\' business: rename it, or '
    "name those that are in CRONS['MODULES'] and set CRONS['DISCOVER'] to False."
)
IMPORTS_CRONS = re.compile(rb"^[ \t]*(?:from|import)[ \t]+crons\b", re.MULTILINE)

log = get_log("crons")


class CodeSource(Source):
    """The registry, filled when the apps' `cron` modules were imported."""

    name = "code"

    def read(self) -> Reading:
        """Return the registry's entries, except those that other sources put there; `cron` modules that fail."""
        declared = tuple(each for each in registry.entries.values() if each.source == self.name)
        return Reading(declared, problems=tuple(broken_modules().values()))


def load(module: str) -> None:
    """Import a module of declarations; where it fails, none of its jobs is known here, and why is logged and kept.

    Not raised: one app's mistake would take down the others' jobs, the site, and every command that could mend it.
    """
    registry.broken.pop(module, None)
    try:
        # A script that is called cron by chance must not do its work because crons looks for jobs.
        with importing(module), nullcontext() if names_crons(module) else without_writes():
            import_module(module)
    except FAILURES as error:
        file = _file_of(module)
        why, through = _without_secrets(error), error.__traceback__
        # From the module's own frame on: those before are of Django and of Python's import.
        while through is not None and through.tb_frame.f_code.co_filename != file:
            through = through.tb_next
        lines = [frame.lineno for frame in traceback.extract_tb(through) if frame.filename == file]
        registry.broken[module] = f"{why} ({file}, line {lines[-1]})" if lines else why
        about, whole = {"event": "declarations.broken"}, (type(error), error, through)
        log.exception("%s declares no jobs: it cannot be imported", module, exc_info=whole, extra=about)


def broken_modules() -> dict[str, Problem]:
    """Return what is wrong with each module of declarations that could not be imported."""
    return {
        module: Problem("E015", f"{module} cannot be imported: {why}.", FIX, is_broken=True)
        for module, why in registry.broken.items()
    }


def names_crons(module: str) -> bool:
    """Say whether the text of *module* imports crons; if not, it may be a script that happens to be called cron."""
    try:
        return IMPORTS_CRONS.search(Path(_file_of(module)).read_bytes()) is not None
    except OSError:
        return True  # named in CRONS["MODULES"], and not there: that is no script of somebody's


def _file_of(module: str) -> str:
    try:
        return getattr(find_spec(module), "origin", None) or ""
    except (ImportError, ValueError):
        return ""


def _without_secrets(error: BaseException) -> str:
    """Say what *error* says, in one line: checks, pages and monitoring show it to more people than read the log."""
    try:
        return of_project().hide(describe_failure(error))
    except InvalidSetting:  # a check has it; which texts CRONS["REDACT"] hides is not known until it is mended
        return type(error).__name__
