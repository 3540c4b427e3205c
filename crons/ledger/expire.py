"""Expiring: an attempt that nobody watches over any more is lost, once nothing of it can be running.

On this machine its processes are asked for, elsewhere its lease decides.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q

from crons.attempts import Finished
from crons.conf import conf
from crons.hosts import orphans
from crons.hosts.instances import boot_id, has_ended, is_gone, is_stopped
from crons.ledger.finish import close, write_closed
from crons.ledger.record import BATCH
from crons.ledger.transactions import lock_free, verb, writing
from crons.models import Attempt
from crons.schedules import FAR_FUTURE
from crons.side_output import get_log
from crons.verdicts import Ending, Outcome

log = get_log("crons")
SEEN = ("pk", "instance", "pid", "lease_until")
VANISHED = "the process that ran it (pid {pid} on {host}) vanished: the job may or may not have run to its end"
SILENT = (
    "its processes have ended, and the process that should have written down how (pid {pid} on {host}) says nothing "
    "(stopped?): the job may or may not have run to its end"
)
HELD = "nobody watches over it any more, and what it has started runs on and cannot be killed: {}"


@verb
def expire(
    now: datetime,
    gone: Callable[[str, str], bool] = is_gone,
    *,
    mine: str = "",
    patience: timedelta = timedelta.max,
) -> list[int]:
    """Declare lost every attempt that has surely ended unseen: at once on this machine, by its lease elsewhere.

    Programs of such an attempt that still run are killed; one that cannot be holds the attempt open, which says so.
    Args: *gone* says of (instance, boot id) whether all its processes have surely ended; *mine* is the instance that
    asks, whose attempts are its own matter; *patience* is how long after the end of its lease an attempt whose own
    processes have ended is left to the process that began it, and lives.
    Returns: the ids of the attempts declared lost.
    """
    here = boot_id()
    # Has a lease, said so that SQLite uses the index also once it has statistics.
    running = Attempt.objects.using(conf.database).filter(lease_until__lte=FAR_FUTURE)
    seen = list(running.filter(boot_id=here).exclude(instance=mine).values_list(*SEEN, named=True))
    dead = {name for name in {each.instance for each in seen} if gone(name, here)}
    # A living process of this machine is not declared lost for its late renewal alone: a job that holds SQLite's only
    # write lock for longer than the lease keeps everybody from renewing.
    silent = {each.pk for each in seen if each.instance not in dead and _is_silent(each, now, here, patience)}
    over = {each.pk for each in seen if each.instance in dead} | silent
    held = _end_orphans({(each.instance, each.pk) for each in seen if each.pk in over})
    lost = running.filter(Q(pk__in=over.difference(held)) | Q(~Q(boot_id=here), lease_until__lt=now))
    if not lost.exists():
        return []
    with writing() as using:
        # Renewed meanwhile: it lives.
        found = lost.exclude(pk__in=silent, lease_until__gte=now).select_related("run__entry").order_by("pk")
        attempts = list(lock_free(found, using, "self", "run")[:BATCH])
        for attempt in attempts:
            told = (SILENT if attempt.pk in silent else VANISHED).format(pid=attempt.pid, host=attempt.host)
            close(attempt, Finished(attempt.pk, Ending(Outcome.LOST, told)), now)
        write_closed(attempts, attempts, using)
    return [attempt.pk for attempt in attempts]


def _is_silent(attempt: Any, now: datetime, here: str, patience: timedelta) -> bool:
    """Say whether its processes have ended, and the one that should have said so does not come to it.

    That one may be about to write it down, where a lock or a database that was away has kept it, unless it is stopped.
    """
    if attempt.lease_until >= now or not has_ended(attempt.instance, attempt.pk, here):
        return False
    return now - attempt.lease_until > patience or is_stopped(attempt.pid)


def _end_orphans(over: Collection[tuple[str, int]]) -> set[int]:
    """Kill what these attempts have left; return those of which something lives on, having them say so."""
    left = defaultdict(list)
    for orphan in orphans.end(over) if over else ():
        left[orphan.attempt].append(str(orphan))
    for attempt, programs in left.items():
        told = HELD.format(", ".join(programs))
        with writing() as using:
            mine = Attempt.objects.using(using).filter(pk=attempt, outcome="").exclude(error=told)
            if mine.update(error=told):
                log.warning("attempt %d: %s", attempt, told)
    return set(left)
