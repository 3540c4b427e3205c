"""What a worker does with a message: begin the run that it names, if that is still to be done, and see it through.

The worker is one more door to the ledger. It forks the attempt under a guard of its own, renews the lease, and
writes down output and ending itself, so that all of that is the same code as on a scheduler's own machine.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from crons import ledger
from crons.conf import conf
from crons.exceptions import CronsError
from crons.executors import Executor
from crons.executors.process.executor import ProcessExecutor
from crons.hosts.instances import host
from crons.jobs import registry
from crons.ledger import deployment
from crons.models import Run
from crons.side_output import get_log
from crons.triggers.session import LONGEST_LOOK_SECONDS, STOPPING, Session
from crons.verdicts import State

log = get_log("crons")
# For a worker with newer code to be there.
UNKNOWN_JOB_PAUSE = timedelta(seconds=30)
# A place was taken, or a pause came, on the message's way: that happens once or twice, and not each time.
AT_ONCE_TIMES = 3
REFUSED_PAUSE = timedelta(seconds=30)
# For somebody to read what is wrong with this worker.
THREAD_PAUSE = timedelta(minutes=1)
# With REMAP_SIGTERM=SIGQUIT, Celery stops its workers and their children by that.
HEEDED = (*STOPPING, signal.SIGQUIT)
# The fork server is made once per worker process: it costs more than most jobs.
_sessions: dict[str, Session] = {}


class Fate(StrEnum):
    """What became of a message."""

    BEGUN = "begun"
    FOREIGN = "foreign"
    OVER = "over"
    LATER = "later"


@dataclass(frozen=True)
class Arrived:
    """What became of a message, and in words."""

    fate: Fate
    text: str


def take(run_id: int, sent_by: str, *, executor: str) -> Arrived:
    """Begin run *run_id* and run it to its end, unless that is done, being done, or not to be done now.

    Args: *sent_by* is the identity of the deployment that sent the message: its numbers mean nothing elsewhere.
    Raises: NotAdopted, Disabled, LedgerUnavailable: the message is sent again.
    """
    deployment.permit()
    if sent_by != deployment.here().identity:
        return Arrived(Fate.FOREIGN, f"run {run_id} belongs to another deployment ({sent_by[:40]})")
    if executor not in conf.executors:
        # Whoever may write to the broker may write any name; each would have a fork server made for it.
        return Arrived(
            Fate.OVER, f"run {run_id} names the executor {executor[:40]!r}, which is not one of this project"
        )
    if not _is_main_thread():
        return _in_a_thread(run_id)
    with at_work(executor, lambda: Session("worker", executor, _here(executor))) as session:
        begun = session.dispatcher.begin(ledger.database_now(), only_run=run_id, arrived=True)
        while session.dispatcher.running() and session.stopping is None:
            session.guarded(lambda: session.work(LONGEST_LOOK_SECONDS))
    if not begun:
        return _not_begun(run_id)
    return Arrived(Fate.BEGUN, f"run {run_id} of {begun[0].entry}, attempt {begun[0].attempt}")


@contextmanager
def at_work(kind: str, make: Callable[[], Session]) -> Iterator[Session]:
    """Give this worker process's session of that kind, which listens inside; a process that is to end drains it.

    It is made once per process, and anew where its fork server is gone.
    Raises: CronsError in a thread.
    """
    if not _is_main_thread():
        raise CronsError(f"{_in_thread_text()}. Nothing was done; another look at the clock does it.")
    session = _session_of_this_process(kind, make)
    # Ctrl-C reaches the whole group: a pool whose children ignore it lets what they do end first.
    heeded = [each for each in HEEDED if signal.getsignal(each) is not signal.SIG_IGN]
    try:
        with session.listening(heeded):
            yield session
            if session.stopping is not None:
                session.drain()
    except BaseException:
        # Whatever it is, nothing may go on running that this process does not watch.
        _sessions.pop(kind).close()
        raise
    if session.stopping is not None:
        # Who asked this process to end asks it again, now that nothing is in the way.
        _sessions.pop(kind).close()
        os.kill(os.getpid(), session.stopping)


def _session_of_this_process(kind: str, make: Callable[[], Session]) -> Session:
    session = _sessions.get(kind)
    if session is not None and session.instance.pid == os.getpid():
        if not any(getattr(each, "broken", False) for each in session.executors.values()):
            return session
        # Forgotten first: closed once more, it would close what has its descriptors' numbers by then.
        _sessions.pop(kind).close()
    session = make()
    session.open()
    _sessions[kind] = session
    return session


def _here(executor: str) -> dict[str, Executor]:
    return {executor: ProcessExecutor(alias=executor, max_running=1)}


def _in_a_thread(run_id: int) -> Arrived:
    """Leave the run to another worker: a process is forked from one without other threads, and by its main one."""
    detail = _in_thread_text()
    log.error("run %d: %s", run_id, detail)
    ledger.take_back([run_id], ledger.database_now() + THREAD_PAUSE, detail)
    return Arrived(Fate.LATER, f"run {run_id}: {detail}")


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _in_thread_text() -> str:
    return (
        f"a worker on {host()} takes messages in a thread, where a job cannot be given a process of its own: start it "
        "with a process for each message, celery worker with --pool=prefork, db_worker with --no-reload"
    )


def _not_begun(run_id: int) -> Arrived:
    run = Run.objects.using(conf.database).select_related("entry").filter(pk=run_id).first()
    if run is None:
        return Arrived(Fate.OVER, f"run {run_id} does not exist any more")
    name = f"run {run_id} of {run.entry.name}"
    if run.state != State.SENT:
        return Arrived(Fate.OVER, f"{name} is {run.verdict or run.state} already")
    now = ledger.database_now()
    if run.entry.job not in registry.jobs:
        detail = f"a worker on {host()} does not know the job {run.entry.job!r}: is its code older?"
        log.warning("%s: %s", name, detail)
        ledger.take_back([run_id], now + UNKNOWN_JOB_PAUSE, detail)
        return Arrived(Fate.LATER, f"{name}: {detail}")
    # Paused, its group full, or a run of its entry going: who sends sees that, and sends it when it is over. Where
    # who sends has other settings or other code, and does not see it, the message would go round for ever.
    again_at = now if run.sends <= AT_ONCE_TIMES else now + REFUSED_PAUSE
    ledger.take_back([run_id], again_at, f"a worker on {host()} was there, and it could not be begun then")
    return Arrived(Fate.LATER, f"{name} cannot be begun now; it is sent again when it can")
