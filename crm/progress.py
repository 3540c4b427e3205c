"""Progress: in the record of the attempt, for who looks at a page, and for a person who waits at a terminal.

A job runs in a process of its own, whose output is kept. So the bar is drawn on the terminal itself, which the
command that a person typed names in the environment: nothing of it is kept, and no other job's output has it.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from crons import Context

TERMINAL = "CRM_PROGRESS_TERMINAL"
_NARROW = 80
_SHOW_CURSOR = b"\x1b[?25h"


@contextmanager
def lent() -> Iterator[None]:
    """Have what is started inside draw on this process's terminal, if it has one."""
    path = _own_terminal()
    if path is None:
        yield
        return
    os.environ[TERMINAL] = path
    try:
        yield
    finally:
        del os.environ[TERMINAL]
        # A job that was killed while it drew has left the cursor hidden.
        with suppress(OSError):
            os.write(sys.stderr.fileno(), _SHOW_CURSOR)


@contextmanager
def shown(what: str, context: Context | None = None) -> Iterator[Callable[[int, int | None], None]]:
    """Give a function to call with (done, of all; None where that is not known); its bar is gone afterwards.

    With *context*, that of an attempt, its record says it too.
    """
    with _drawn(what) as draw:

        def on_progress(done: int, of: int | None) -> None:
            if context:
                context.progress(done, of, what)
            draw(done, of)

        yield on_progress


@contextmanager
def _drawn(what: str) -> Iterator[Callable[[int, int | None], None]]:
    terminal = _open_terminal()
    if terminal is None:
        yield _draw_nothing
        return
    from rich import progress as bars  # not for cron: it takes longer to import than a job may run
    from rich.console import Console

    columns = bars.TextColumn("{task.description}"), bars.BarColumn(), bars.MofNCompleteColumn()
    with os.fdopen(terminal, "w") as file:
        console = Console(file=file, width=os.get_terminal_size(terminal).columns or _NARROW)
        with bars.Progress(
            *columns, bars.TimeElapsedColumn(), console=console, transient=True,
            redirect_stdout=False, redirect_stderr=False,
        ) as progress:  # fmt: skip
            bar = progress.add_task(what, total=None)

            def draw(done: int, of: int | None) -> None:
                progress.update(bar, completed=done, total=of)

            yield draw


def _draw_nothing(done: int, of: int | None) -> None: ...


def _own_terminal() -> str | None:
    try:
        return os.ttyname(sys.stderr.fileno()) if sys.stderr.isatty() else None
    except (AttributeError, OSError, ValueError):  # no stderr, or one without a file, as in tests
        return None


def _open_terminal() -> int | None:
    path = os.environ.get(TERMINAL) or _own_terminal()
    if path is None:
        return None
    try:
        terminal = os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:  # closed meanwhile: nobody is watching any more
        return None
    if os.isatty(terminal):
        os.set_blocking(terminal, True)
        return terminal
    os.close(terminal)
    return None
