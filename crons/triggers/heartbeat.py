"""Signs of life: a row per running scheduler, so that silence can be seen."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from crons.conf import conf
from crons.hosts import Instance, is_gone
from crons.jobs import registry
from crons.ledger import verb
from crons.models import Heartbeat

EVERY = timedelta(seconds=10)
# Three beats may be missed before a scheduler is called silent.
PATIENCE = 3 * EVERY
LONGEST_TROUBLE = 500
FORGET_AFTER = timedelta(days=1)


@verb
def beat(
    instance: Instance,
    now: datetime,
    *,
    skew_seconds: float = 0.0,
    draining: bool = False,
    troubles: Collection[tuple[str, str]] = (),
    lacks: Collection[str] = (),
) -> None:
    """Write down that *instance* lives, and what its code declares.

    Args: *skew_seconds* is how far its clock is ahead of the database's; *troubles* is what keeps it from its work,
    each a kind of problem and a text; *lacks* are the zones that its machine has no data of.
    """
    row = {
        "beat_at": now,
        "expected_by": now + PATIENCE,
        "clock_skew_seconds": round(skew_seconds, 3),
        "draining": draining,
        "troubles": [[kind, text[:LONGEST_TROUBLE]] for kind, text in troubles],
        "lacks": sorted(lacks),
    }
    rows = Heartbeat.objects.using(conf.database)
    if rows.filter(instance=instance.name).update(**row):
        return
    about = {"kind": instance.kind, "host": instance.host, "pid": instance.pid, "boot_id": instance.boot_id}
    about["declares"] = sorted(registry.entries)
    rows.create(instance=instance.name, release=conf.release, started_at=now, **about, **row)
    # A scheduler that was killed leaves its row as a silent one; after a day it says nothing any more.
    rows.filter(expected_by__lt=now - FORGET_AFTER).delete()
    # One that took another's place on this host ends the other's silence.
    theirs = rows.filter(kind=instance.kind, host=instance.host).exclude(instance=instance.name)
    silent = [row.pk for row in theirs if row.expected_by < now or is_gone(row.instance, row.boot_id)]
    rows.filter(pk__in=silent).delete()


@verb
def stop(instance: Instance) -> None:
    """Take the row away: this one went as it should."""
    Heartbeat.objects.using(conf.database).filter(instance=instance.name).delete()
