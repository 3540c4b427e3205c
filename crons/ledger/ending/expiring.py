"""Expiring: an attempt without a process that supervises it is lost, once nothing of it can be running.

On this machine its processes are checked; of another machine only the end of the lease says so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import NamedTuple

from crons.attempts import Finished
from crons.conf import conf
from crons.hosts import orphans
from crons.hosts.instances import boot_id, has_ended, is_gone, is_stopped
from crons.ledger import queries
from crons.ledger.ending.finishing import close, write_closed
from crons.ledger.transactions import BATCH, verb, writing
from crons.models import Attempt
from crons.side_output import get_log
from crons.verdicts import Ending, Outcome

log = get_log("crons")
VANISHED = "the process that ran it (pid {pid} on {host}) vanished: the job may or may not have run to its end"
SILENT = (
    "its processes have ended, and the process that should have written down how (pid {pid} on {host}) says nothing "
    "(stopped?): the job may or may not have run to its end"
)
UNKILLABLE = "no process supervises it any more, and what it has started runs on and cannot be killed: {}"


@verb
def expire(
    now: datetime,
    gone: Callable[[str, str], bool] = is_gone,
    *,
    mine: str = "",
    patience: timedelta = timedelta.max,
) -> list[int]:
    """Declare lost every attempt that has surely ended unseen: at once on this machine, by its lease elsewhere.

    Programs of such an attempt that still run are killed; while one cannot be, the attempt stays open and says so.
    Args: *gone* says of (instance, boot id) whether all its processes have surely ended; *mine* is the calling
    instance, which checks its own attempts itself; *patience* is how long after the end of its lease an attempt whose
    own processes have ended is left to the process that began it, where that one lives.
    Returns: the ids of the attempts declared lost.
    """
    here = boot_id()
    seen = [_Lease(*each) for each in queries.leases_here(here, mine, conf.database)]
    dead = {name for name in {each.instance for each in seen} if gone(name, here)}
    # A living process of this machine is not declared lost for its late renewal alone: a job that holds SQLite's only
    # write lock for longer than the lease keeps everybody from renewing.
    silent = {each.attempt for each in seen if each.instance not in dead and _is_silent(each, now, here, patience)}
    over = {each.attempt for each in seen if each.instance in dead} | silent
    over -= _end_orphans({(each.instance, each.attempt) for each in seen if each.attempt in over})
    if not queries.lost(over, silent, here, now, 1, conf.database):
        return []
    with writing() as using:
        ids = queries.lost(over, silent, here, now, BATCH, using, lock=True)
        found = Attempt.objects.using(using).filter(pk__in=ids).select_related("run__entry")
        attempts = list(found.order_by("pk"))
        for attempt in attempts:
            error = (SILENT if attempt.pk in silent else VANISHED).format(pid=attempt.pid, host=attempt.host)
            close(attempt, Finished(attempt.pk, Ending(Outcome.LOST, error)), now)
        write_closed(attempts, attempts, using)
    return [attempt.pk for attempt in attempts]


class _Lease(NamedTuple):
    attempt: int
    instance: str
    pid: int
    until: datetime | None


def _is_silent(lease: _Lease, now: datetime, here: str, patience: timedelta) -> bool:
    """Say whether the attempt's processes have ended, while the process that began it does not record how.

    That process may still be waiting for a lock or for the database, so it has *patience*; one that is stopped
    (SIGSTOP) gets none.
    """
    if lease.until is None or lease.until >= now or not has_ended(lease.instance, lease.attempt, here):
        return False
    return now - lease.until > patience or is_stopped(lease.pid)


def _end_orphans(over: Collection[tuple[str, int]]) -> set[int]:
    """Kill processes that these attempts left behind; return, and mark, the attempts of which one survives."""
    left = defaultdict(list)
    for orphan in orphans.end(over) if over else ():
        left[orphan.attempt].append(str(orphan))
    for attempt, programs in left.items():
        error = UNKILLABLE.format(", ".join(programs))
        with writing() as using:
            mine = Attempt.objects.using(using).filter(pk=attempt, outcome="").exclude(error=error)
            if mine.update(error=error):
                log.warning("attempt %d: %s", attempt, error, extra={"event": "processes.left", "attempt": attempt})
    return set(left)
