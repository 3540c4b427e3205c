"""Ending a job's process as the interpreter ends one: threads, executors, atexit, files.

Its modules are not torn down: that takes 50 ms for each attempt, and a fork some 4. So what a global holds is not
destroyed, its `__del__` is not called; a file that it holds is flushed, or closed where it writes an end of its own or
is to be deleted.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import logging
import os
import select
import sys
import threading
import traceback
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from logging.handlers import QueueListener
from typing import Any

from crons.executors.log_queues import LogQueues, listeners_among
from crons.executors.process import kernel

# The C base of all files: asking io.IOBase, an abstract class, takes ten times as long for each object.
_FILE: type = io.IOBase.__mro__[1]
_BUFFERED = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom, io.BufferedRWPair)
# No files, yet their destructors write a directory of members or an index, or delete a file.
_WITH_AN_END = frozenset({"zipfile", "shelve", "dbm", "tempfile"})
# Programs that processes are forked from. What these do at their end is theirs: Celery deletes its pid file and may
# start itself anew, a script in __main__ may do anything.
_PROGRAMS = frozenset({"__main__", "celery", "billiard", "kombu", "pytest", "_pytest", "xdist", "execnet"})
_IN_ATEXIT = "Exception ignored in atexit callback"
# For multiprocessing's tracker to unlink what is left: it ends when all have let go of its pipe.
_TRACKER_SECONDS = 2.0


@dataclass(frozen=True)
class Inherited:
    """What a forked process finds here, and could not find itself once gc.freeze() has hidden it."""

    files: list[tuple[weakref.ref[Any], tuple[int, int] | None]]
    listeners: list[QueueListener]


def flush_before_fork() -> Inherited:
    """Flush what this process's files and log handlers hold, which every forked process would write again.

    Returns: these files, and what else a forked process sees to.
    """
    objects = _all_objects()
    files = _open_files(objects)
    for file in files:
        with contextlib.suppress(Exception):
            file.flush()
    for reference in list(logging._handlerList):  # type: ignore[attr-defined] # what logging.shutdown() goes through
        with contextlib.suppress(Exception):
            reference().flush()
    kernel.flush_streams_of_c()
    return Inherited([(weakref.ref(file), _identity_of(file)) for file in files], listeners_among(objects))


class Exit:
    """How the processes forked from this one end; made once, in the fork server, and inherited by all of them."""

    def __init__(self, inherited: Inherited) -> None:
        self._inherited = inherited.files
        self._queues = LogQueues(inherited.listeners)
        self._failures: list[str] = []
        self._trackers = {_tracker_pid()}
        _leave_to_the_host()

    def watch_threads(self) -> None:
        """From now on, remember the exceptions that nobody catches in a thread, and have log queues emptied by one."""
        self._pid, before = os.getpid(), threading.excepthook

        def note(given: Any) -> None:
            if given.exc_type is not SystemExit and not getattr(given.thread, "daemon", False):
                self._note(f"Nobody caught this in the thread {given.thread and given.thread.name!r}:", given.exc_value)
            before(given)

        threading.excepthook = note
        self._queues.start()

    def run(self) -> str:
        """Do what the interpreter does at its end, but for the modules; return what failed there, or nothing."""
        # The steps of Py_FinalizeEx, in its order; multiprocessing ends its processes by the same functions.
        self._attempt("Waiting for threads failed:", threading._shutdown)  # type: ignore[attr-defined]
        self._call_atexit()
        self._attempt("A log queue could not be written:", self._queues.stop)
        gc.collect()  # what only refers to itself is destroyed; that takes as long as the job has made objects
        self._flush()
        if os.getpid() == self._pid and _tracker_pid() not in self._trackers:
            self._attempt("What processes shared could not be unlinked:", _end_tracker)
        return "\n".join(self._failures)

    def _call_atexit(self) -> None:
        before = sys.unraisablehook

        def note(given: Any) -> None:
            said_well = isinstance(given.exc_value, SystemExit) and given.exc_value.code in (None, 0)
            if str(given.err_msg).startswith(_IN_ATEXIT) and not said_well:
                self._note("An atexit callback failed:", given.exc_value)
            before(given)

        sys.unraisablehook = note
        self._attempt("The atexit callbacks failed:", atexit._run_exitfuncs)
        sys.unraisablehook = before

    def _flush(self) -> None:
        for file in _open_files(gc.get_objects()):
            self._attempt(f"{file!r} was left open and could not be written:", partial(_write_out, file))
        for reference, identity in self._inherited:
            file = reference()
            # A job may have closed its descriptor, and have a file of its own under that number by now.
            if file is not None and identity is not None and _identity_of(file) == identity:
                self._attempt(f"{file!r} could not be written:", file.flush)

    def _attempt(self, what: str, act: Callable[[], object]) -> None:
        try:
            act()
        except BaseException as error:  # noqa: BLE001 (everything is recorded in a job's process)
            self._note(what, error)

    def _note(self, what: str, error: BaseException | None) -> None:
        trace = "".join(traceback.format_exception(error)) if error is not None else "an unknown error\n"
        self._failures.append(f"{what}\n{trace}")


def _identity_of(file: Any) -> tuple[int, int] | None:
    try:
        status = os.fstat(file.fileno())
    except (AttributeError, OSError, ValueError):
        return None  # no file of the system's, or closed
    return status.st_dev, status.st_ino


def _all_objects() -> list[Any]:
    """List all objects, those that gc.freeze() hides as well: `crons` freezes at its start what is imported by then."""
    is_frozen = gc.get_freeze_count() > 0
    gc.unfreeze()
    found = gc.get_objects()
    if is_frozen:
        gc.freeze()
    return found


def _open_files(objects: list[Any]) -> list[Any]:
    """List those that are open and may hold what is not written yet, what writes to others of them first.

    Cost: some 20 ms for all of Django; little in a job's process, where what was there before the fork is frozen.
    """
    streams = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    standard = {id(each) for stream in streams for each in (stream, getattr(stream, "buffer", None))}
    found = (each for each in objects if id(each) not in standard and _may_hold_something(each))
    return sorted(found, key=_layer)


def _may_hold_something(thing: Any) -> bool:
    # By type, never by isinstance: that asks a lazy object for its class, and so evaluates it.
    kind = type(thing)
    if not issubclass(kind, _FILE):
        return hasattr(kind, "__del__") and str(kind.__module__).partition(".")[0] in _WITH_AN_END
    if issubclass(kind, io.RawIOBase) or (_is_plain(thing) and not issubclass(kind, _BUFFERED)):
        return False
    try:
        return not thing.closed and bool(thing.writable())
    except Exception:  # noqa: BLE001 (anybody's class, in whatever state)
        return False


def _is_plain(file: Any) -> bool:
    return type(file).__module__ == "_io"


def _write_out(file: Any) -> None:
    if getattr(file, "closed", False):
        return  # by one that wrote to it
    # As their destructors would: compressed files and archives have an end to write, temporary files to be deleted.
    if _is_plain(file):
        file.flush()
    else:
        getattr(file, "cleanup", file.close)()


def _layer(file: Any) -> int:
    """Rank files so that each comes before those that it may write to."""
    if isinstance(file, io.TextIOWrapper):
        return 0
    if issubclass(type(file), _FILE):
        return 4 if _is_plain(file) else 1
    return 2 if type(file).__module__ == "shelve" else 3


def _tracker_pid() -> int | None:
    """Return the process that multiprocessing keeps to unlink shared memory and semaphores, where there is one."""
    module = sys.modules.get("multiprocessing.resource_tracker")
    return None if module is None else module._resource_tracker._pid  # there is no other way


def _end_tracker() -> None:
    """Let the tracker unlink what is left: with all else that the job has started it would be killed before it did."""
    tracker = sys.modules["multiprocessing.resource_tracker"]._resource_tracker
    os.close(tracker._fd)
    process = os.pidfd_open(tracker._pid)
    ending = select.poll()
    ending.register(process, select.POLLIN)
    ending.poll(_TRACKER_SECONDS * 1000)


def _leave_to_the_host() -> None:
    """Keep forked processes from ending what is the host's: its children, its temporary folders, the host itself."""
    # The registry compares what it is asked to drop with each callback in turn: nothing else lists them.
    atexit.unregister(_OfPrograms())  # type: ignore[arg-type] # it is only compared
    for finalizer in list(weakref.finalize._registry):  # type: ignore[attr-defined] # there is no other list
        finalizer.atexit = False
    if "multiprocessing.process" in sys.modules:
        processes = sys.modules["multiprocessing.process"]
        processes._children.clear()  # as multiprocessing does in its own children
        # A pool of workers marks its children as daemons, which multiprocessing lets start no process: a job is none.
        processes._current_process._config.pop("daemon", None)


class _OfPrograms:
    """Equal to each callback that a program has registered for itself."""

    def __eq__(self, callback: object) -> bool:
        function = getattr(callback, "func", callback)  # of a functools.partial
        return str(getattr(function, "__module__", "")).partition(".")[0] in _PROGRAMS

    __hash__ = None  # type: ignore[assignment] # compared only
