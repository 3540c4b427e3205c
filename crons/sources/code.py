"""Declarations made in code: @job, command(…), shell(…), entry(…)."""

from __future__ import annotations

import traceback
from importlib import import_module
from importlib.util import find_spec

from crons.exceptions import InvalidSetting
from crons.jobs import registry
from crons.redaction import of_project
from crons.side_output import get_log
from crons.sources.base import Problem, Reading, Source, declaring

log = get_log("crons")


class CodeSource(Source):
    """The registry, filled when the apps' `cron` modules were imported."""

    name = "code"

    def read(self) -> Reading:
        """Return the registry's entries, except those that other sources put there; `cron` modules that fail."""
        declared = tuple(each for each in registry.entries.values() if each.source == self.name)
        return Reading(declared, problems=tuple(_problem(*each) for each in registry.broken.items()))


def load(module: str) -> None:
    """Import a `cron` module; where it fails, none of its jobs is known to this process, and why is logged and kept.

    Not raised: one app's mistake would take down the others' jobs, the site, and every command that could mend it.
    """
    registry.broken.pop(module, None)
    try:
        with declaring():
            import_module(module)
    except Exception as error:  # somebody's module ran
        file = getattr(find_spec(module), "origin", None)
        told, through = _without_secrets(error), error.__traceback__
        # Without the frames of Django and of Python's import, which come before and say nothing.
        while through is not None and through.tb_frame.f_code.co_filename != file:
            through = through.tb_next
        lines = [frame.lineno for frame in traceback.extract_tb(through) if frame.filename == file]
        registry.broken[module] = f"{told} ({file}, line {lines[-1]})" if lines else told
        log.exception("%s declares no jobs: it cannot be imported", module, exc_info=(type(error), error, through))


def _without_secrets(error: Exception) -> str:
    """Say what *error* says, in one line: checks, pages and monitoring show it to more people than read the log."""
    kind = type(error).__name__
    try:
        return of_project().hide(" ".join(f"{kind}: {error}".split()))
    except InvalidSetting:  # a check has it; which texts CRONS["REDACT"] hides is not known until it is mended
        return kind


def _problem(module: str, told: str) -> Problem:
    return Problem(
        "E015",
        f"{module} cannot be imported: {told}.",
        "Mend it: until then none of its jobs is begun, and crons serve and sync refuse. Where only a table is "
        "missing: manage.py migrate --skip-checks.",
    )
