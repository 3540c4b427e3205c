"""The jobs that crons brings along. Not in a `cron` module: that name is the function of `from crons import cron`."""

from __future__ import annotations

import sys
from datetime import timedelta

from crons import ledger
from crons.conf import conf
from crons.jobs import job
from crons.schedules import cron

PRUNE = "crons.prune"
# In a night with too much to delete, the rest is left for the next; the timeout is for a database that hangs.
BUDGET, TIMEOUT = timedelta(hours=1), timedelta(hours=2)


def declare() -> None:
    """Declare them; where CRONS["KEEP"] keeps all for ever, there is nothing to prune.

    Raises: InvalidSetting.
    """
    if any(conf.keep.values()):
        job(
            cron("17 3 * * *"),
            name=PRUNE,
            idempotent=True,
            timeout=TIMEOUT,
            description="Delete rows of crons that are older than CRONS['KEEP'] says.",
            tags=("crons",),
        )(prune)


def prune() -> None:
    """Prune for at most an hour."""
    done = ledger.prune(ledger.database_now(), by=PRUNE, budget=BUDGET)
    left = "" if done.finished else f"; {BUDGET} were not enough: the rest goes at the next slot"
    sys.stdout.write(f"deleted: {done.described()}{left}\n")
