"""The job's own process: forked from a supervisor, it becomes the attempt, calls the job, says how it ended.

What costs here is memory first touched after the fork, page by page: a no-op job spends most of its time on it.
"""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import replace
from typing import NoReturn

from django.db import connections

from crons.executors import Ending, Outcome, capture
from crons.executors.process import kernel, wire
from crons.executors.process.exiting import Exit
from crons.executors.process.resting import explain
from crons.executors.process.shared_report import SharedReport
from crons.executors.runner import environment_of, run_attempt, shortened

_DEFAULT_SIGNALS = ("SIGTERM", "SIGHUP", "SIGQUIT", "SIGCHLD")


def become_job(
    data: wire.Message,
    supervisor: int,
    descriptors: dict[str, int],
    report: SharedReport,
    log: capture.LogPipe,
    leaving: Exit,
) -> NoReturn:
    """Run the attempt described by *data* in this process, which ends with it."""
    me = os.getpid()
    os.setpgid(0, 0)
    kernel.die_with_parent(supervisor)
    _reset_signals()
    capture.redirect(descriptors, log)
    begun = wire.begun_from_json(data)
    os.environ.update(environment_of(begun))
    leaving.watch_threads()
    report.note_call()
    ending = run_attempt(begun)
    if ending.unstarted is not None:
        report.note_refusal(explain(ending.unstarted))
        os._exit(0)
    if ending.error and os.getpid() == me:
        report.note_failure(ending.error)
    ending = _with_failures(ending, leaving.run())
    kernel.flush_streams_of_c()
    if os.getpid() != me:
        # The job forked, and this is the copy coming back: the original says how the attempt ended.
        capture.flush()
        os._exit(ending.exit_code or 0)
    _close_connections()
    capture.flush()
    report.note_ending(ending.outcome, ending.error, ending.exit_code, final=ending.final)
    # All that the interpreter does at its end is done, but for what takes long and saves nothing.
    os._exit(0)


def _with_failures(ending: Ending, failures: str) -> Ending:
    """Return *ending* with what failed after the job's return, which is the attempt's failure."""
    if not failures:
        return ending
    error = f"{ending.error.rstrip()}\n\n{failures}" if ending.error else failures
    return replace(ending, outcome=Outcome.FAILED, error=shortened(error), exit_code=ending.exit_code or None)


def _close_connections() -> None:
    for connection in connections.all(initialized_only=True):
        # Whatever state the job left it in: the process ends, and the connection with it.
        with contextlib.suppress(Exception):
            connection.close()


def _reset_signals() -> None:
    signal.set_wakeup_fd(-1)
    for name in _DEFAULT_SIGNALS:
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
