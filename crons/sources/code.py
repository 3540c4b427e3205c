"""Declarations made in code: @job, command(…), shell(…), entry(…)."""

from __future__ import annotations

from crons.jobs import registry
from crons.sources.base import Reading, Source


class CodeSource(Source):
    """The registry, filled when the apps' `cron` modules were imported."""

    name = "code"

    def read(self) -> Reading:
        """Return the registry's entries, except those that CRONJOBS put there."""
        return Reading(tuple(each for each in registry.entries.values() if each.source == self.name))
