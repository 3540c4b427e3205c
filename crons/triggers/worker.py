"""What a worker does with a message: begin the run that it names, if that is still to be done, and see it through.

The worker is one more trigger. It forks the attempt under a supervisor of its own, renews the lease, and writes down
output and ending itself, so that all of that is the same code as on a scheduler's own machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from functools import partial

from crons import ledger
from crons.conf import conf
from crons.hosts import host
from crons.jobs import registry
from crons.ledger import deployment
from crons.models import Run
from crons.side_output import get_log
from crons.triggers.worker_session import in_thread_text, is_main_thread, of_executor, worker_session
from crons.verdicts import State

log = get_log("crons")
# Until a worker with newer code may be there.
UNKNOWN_JOB_PAUSE = timedelta(seconds=30)
# While the message travelled, its group filled up or its entry was paused: that happens once or twice, not each time.
AT_ONCE_TIMES = 3
REFUSED_PAUSE = timedelta(seconds=30)
# Long enough for somebody to read in the log what is wrong with this worker.
THREAD_PAUSE = timedelta(minutes=1)


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
    ledger.permit()
    if sent_by != deployment.here().identity:
        return Arrived(Fate.FOREIGN, f"run {run_id} belongs to another deployment ({sent_by[:40]})")
    if executor not in conf.executors:
        # Whoever may write to the broker may write any name; each would have a fork server made for it.
        return Arrived(
            Fate.OVER, f"run {run_id} names the executor {executor[:40]!r}, which is not one of this project"
        )
    if not is_main_thread():
        return _in_a_thread(run_id)
    with worker_session(executor, partial(of_executor, executor)) as session:
        begun = session.dispatcher.begin(ledger.database_now(), only_run=run_id, arrived=True)
        session.supervise()
    if not begun:
        return _not_begun(run_id)
    return Arrived(Fate.BEGUN, f"run {run_id} of {begun[0].entry}, attempt {begun[0].attempt}")


def _in_a_thread(run_id: int) -> Arrived:
    """Leave the run to another worker: a process is forked from one without other threads, and by its main one."""
    detail = in_thread_text()
    log.error("run %d: %s", run_id, detail, extra={"event": "run.put_back", "run": run_id})
    ledger.requeue([run_id], ledger.database_now() + THREAD_PAUSE, detail)
    return Arrived(Fate.LATER, f"run {run_id}: {detail}")


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
        log.warning("%s: %s", name, detail, extra={"event": "run.put_back", "run": run_id})
        ledger.requeue([run_id], now + UNKNOWN_JOB_PAUSE, detail)
        return Arrived(Fate.LATER, f"{name}: {detail}")
    # Paused, its group full, or a run of its entry going: the sender waits until that is over. A sender with other
    # settings or older code does not see it, and would send the message again at once, for ever: hence the pause.
    again_at = now if run.sends <= AT_ONCE_TIMES else now + REFUSED_PAUSE
    ledger.requeue([run_id], again_at, f"a worker on {host()} was there, and it could not be begun then")
    return Arrived(Fate.LATER, f"{name} cannot be begun now; it is sent again when it can")
