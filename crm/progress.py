"""Progress for a person who waits at a terminal; elsewhere nothing is written."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def shown(what: str) -> Iterator[Callable[[int, int | None], None]]:
    """Give a function to call with (done, of all; None where that is not known); its bar is gone afterwards."""
    if not (sys.stderr and sys.stderr.isatty()):
        yield lambda done, of=None: None
        return
    from rich.console import Console  # not for cron: it takes longer to import than a job may run
    from rich.progress import Progress

    with Progress(console=Console(file=sys.stderr), transient=True) as progress:
        bar = progress.add_task(what, total=None)
        yield lambda done, of=None: progress.update(bar, completed=done, total=of)
