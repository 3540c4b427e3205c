"""How modules of the project are imported: they may do anything, and what they do must not take others down."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any, NoReturn

from django.db import connections

from crons.exceptions import DeclarationError
from crons.jobs import registry
from crons.side_output import get_log

log = get_log("crons")
_end = os._exit  # the real one: while something is imported, os._exit is another
SLOW_SECONDS = 10.0
# A loop with a bare `except` swallows the interruption: after so many the process cannot be brought back.
MOST_INTERRUPTIONS = 3

_limit_seconds: ContextVar[float | None] = ContextVar("limit_seconds", default=None)
# A module that took too long is not imported again: each reading of the sources would take that long.
_slow: dict[str, str] = {}


class TookTooLong(BaseException):
    """An import was interrupted. No Exception: the module may catch all of those."""


class EndsProcess(BaseException):
    """A module called os._exit while it was imported. No Exception: real ones are not caught either."""


# What a module of the project may end its import with; Ctrl-C is not among them.
FAILURES = (Exception, SystemExit, TookTooLong, EndsProcess)
READING = ("SELECT", "WITH", "SHOW", "PRAGMA", "EXPLAIN", "SET", "SAVEPOINT", "RELEASE", "ROLLBACK", "BEGIN")


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Interrupt imports inside that take longer than *seconds*, where the platform and the thread allow it."""
    token = _limit_seconds.set(seconds)
    try:
        yield
    finally:
        _limit_seconds.reset(token)


@contextmanager
def importing(module: str) -> Iterator[None]:
    """Import *module* inside; where it fails, nothing of it stays declared: its functions are half made.

    What it imported before stays: it is whole, and nobody imports it again.
    Raises: one of FAILURES, whatever the module raises; TookTooLong where imports are limited.
    """
    known = {id(each) for each in (*registry.jobs.values(), *registry.entries.values())}
    if module in _slow:
        raise TookTooLong(_slow[module])
    seconds = _limit_seconds.get()
    try:
        with _exits_refused(), _logged_when_slow(module) if seconds is None else _interrupted(module, seconds):
            yield
    except BaseException as error:
        if isinstance(error, TookTooLong):
            _slow[module] = str(error)
        _forget(module, known)
        raise


@contextmanager
def without_writes() -> Iterator[None]:
    """Refuse statements inside that may write to a database of the project."""
    with ExitStack() as stack:
        for connection in connections.all():
            stack.enter_context(connection.execute_wrapper(_refuse_to_write))
        yield


def describe_failure(error: BaseException) -> str:
    """Say in one line how an import failed."""
    if isinstance(error, TookTooLong | EndsProcess):
        return str(error)
    if isinstance(error, SystemExit):
        return f"it calls sys.exit({'' if error.code is None else repr(error.code)}) when it is imported"
    return " ".join(f"{type(error).__name__}: {error}".split())


def _refuse_to_write(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
    word = sql.lstrip(" (\n\t").partition(" ")[0].upper()
    if word not in READING:
        raise DeclarationError(f"it writes to the database when it is imported ({word} …)")
    return execute(sql, params, many, context)


def _forget(module: str, known: set[int]) -> None:
    """Take from the registry what a module declared that is not there now, unless it was known before."""
    bodies = {job.name: job.body for job in registry.jobs.values()}
    for entry in list(registry.entries.values()):
        home = _home(entry.source_ref, bodies.get(entry.job))
        if home not in sys.modules and (id(entry) not in known or home == module):
            del registry.entries[entry.name]
    for job in list(registry.jobs.values()):
        home = _home(job.source_ref, job.body)
        if home not in sys.modules and (id(job) not in known or home == module):
            del registry.jobs[job.name]


def _home(source_ref: str, body: Any) -> str:
    """Name the module that declares it; a function's reference does not say where its module's name ends."""
    module, sign, _ = source_ref.partition(":")
    return module if sign else str(getattr(body, "__module__", ""))


@contextmanager
def _exits_refused() -> Iterator[None]:
    """Have os._exit, called by what is imported inside, fail the import: `crons run` ended with 0, and ran nothing."""
    end, here, by = os._exit, os.getpid(), threading.get_ident()

    def refuse(status: int) -> NoReturn:
        # A child that the module forks ends as it says, and what other threads do is no import's.
        if (os.getpid(), threading.get_ident()) != (here, by):
            end(status)
        raise EndsProcess(f"it calls os._exit({status!r}) when it is imported")

    os._exit = refuse
    try:
        yield
    finally:
        os._exit = end


@contextmanager
def _logged_when_slow(module: str) -> Iterator[None]:
    """Say which module is being imported when that takes long: a loop that never ends would hang without a word."""
    text = "%s has been imported for %d s; nothing is begun before that ends. What takes long belongs into a job."
    said = (text, module, SLOW_SECONDS)
    timer = threading.Timer(SLOW_SECONDS, log.warning, said, {"extra": {"event": "import.slow", "module_name": module}})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()  # a process with threads cannot be forked cleanly


@contextmanager
def _interrupted(module: str, seconds: float) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield  # a signal's handler runs in the main thread only
        return
    count, is_over, began = 0, False, _seconds_of_its_own()

    def interrupt(number: int, frame: object) -> None:
        nonlocal count
        if is_over:
            return
        missing = seconds - (_seconds_of_its_own() - began)
        if count == 0 and missing > seconds / 10:  # a busy machine is no fault of the module
            signal.setitimer(signal.ITIMER_REAL, missing, min(seconds, 1.0))
            return
        count += 1
        if count > MOST_INTERRUPTIONS:
            _end_process(module)
        raise TookTooLong(f"its import took longer than {seconds:g} s and was stopped")

    handler = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds, min(seconds, 1.0))
    try:
        yield
    finally:
        is_over = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)


def _seconds_of_its_own() -> float:
    """Tell a clock that stands while this thread could run and has no processor, where the system tells that.

    It goes on while the thread computes, sleeps, or waits for anything else.
    """
    now = time.monotonic()
    try:
        with open("/proc/thread-self/schedstat", "rb") as file:
            return now - int(file.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return now


def _end_process(module: str) -> NoReturn:
    text = (
        f"{module} does not end being imported, and catches what should interrupt it: this process ends here. "
        f"Move what {module} does at import into a function, or rename the module.\n"
    )
    os.write(2, text.encode())
    _end(1)
