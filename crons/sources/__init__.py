"""Where declarations are read from: code, crontab files, and what extensions read."""

from functools import cache

from crons.extensions import extensions
from crons.sources.base import NewPause, Source
from crons.sources.code import CodeSource
from crons.sources.crontab_files import CrontabFilesSource

__all__ = ["NewPause", "sources"]


@cache
def sources() -> list[Source]:
    """Return all of them: one list for all that read it, which crons.testing.sandbox empties of what is not code."""
    of_others = (source for each in extensions() for source in each.sources())
    return [CodeSource(), *of_others, CrontabFilesSource()]
