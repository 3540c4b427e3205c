"""The session that a worker's process keeps from one message to the next: its fork server costs more than most jobs."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from crons.exceptions import CronsError
from crons.executors.process.executor import ProcessExecutor
from crons.hosts import host
from crons.triggers.session import STOPPING, Session

# With REMAP_SIGTERM=SIGQUIT, Celery stops its workers and their children by that.
HEEDED = (*STOPPING, signal.SIGQUIT)
_sessions: dict[str, Session] = {}


@contextmanager
def worker_session(kind: str, make: Callable[[], Session]) -> Iterator[Session]:
    """Give this worker process's session of that kind, which listens inside; a process that is to end drains it.

    It is made once per process, and anew where its fork server is gone.
    Raises: CronsError in a thread.
    """
    if not is_main_thread():
        raise CronsError(f"{in_thread_text()}. Nothing was done; another look at the clock does it.")
    session = _session_of_this_process(kind, make)
    # Ctrl-C reaches the whole group: a pool whose children ignore it lets what they do end first.
    heeded = [each for each in HEEDED if signal.getsignal(each) is not signal.SIG_IGN]
    try:
        with session.listening(heeded):
            yield session
            if session.stopping is not None:
                session.drain()
    except BaseException:
        # Whatever it was: no job may go on running that this process does not watch.
        _sessions.pop(kind).close()
        raise
    if session.stopping is not None:
        # The signal again, now that nothing runs: the worker's own handling of it has only been put off.
        _sessions.pop(kind).close()
        os.kill(os.getpid(), session.stopping)


def of_executor(alias: str) -> Session:
    """Make the session of a worker that runs one message at a time for the executor *alias*."""
    return Session("worker", alias, {alias: ProcessExecutor(alias=alias, max_running=1)})


def is_main_thread() -> bool:
    """Say whether this is the thread that signals reach, and that processes are forked from."""
    return threading.current_thread() is threading.main_thread()


def in_thread_text() -> str:
    """Say why a job cannot be started from another thread, and what to do."""
    return (
        f"a worker on {host()} takes messages in a thread, where a job cannot be given a process of its own: start it "
        "with a process for each message, celery worker with --pool=prefork, db_worker with --no-reload"
    )


def _session_of_this_process(kind: str, make: Callable[[], Session]) -> Session:
    session = _sessions.get(kind)
    if session is not None and session.instance.pid == os.getpid():
        if not any(getattr(each, "broken", False) for each in session.executors.values()):
            return session
        # Removed first: closed a second time, it would close files that have its descriptors' numbers by then.
        _sessions.pop(kind).close()
    session = make()
    session.open()
    _sessions[kind] = session
    return session
