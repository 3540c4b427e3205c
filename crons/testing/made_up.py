"""An attempt as the ledger would begin it, with nothing behind it: no row is read or written for it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from crons import ledger
from crons.conf import conf
from crons.executors import Begun
from crons.jobs import Declaration, Job
from crons.schedules import FAR_PAST
from crons.verdicts import Kind

_NUMBERS = itertools.count(1)


def made_up(entry: Declaration, job: Job, args: Mapping[str, Any], until: datetime) -> Begun:
    """Make an attempt as the ledger would begin it at *until*, with nothing behind it."""
    since = entry.schedule.latest(until - timedelta.resolution, ZoneInfo(entry.schedule.zone or conf.time_zone))
    number = next(_NUMBERS)
    return Begun(
        attempt=number,
        run=number,
        entry=entry.name,
        job=job.name,
        key=ledger.slot_key(entry.name, until),
        number=1,
        kind=Kind.SLOT,
        trigger="test",
        since=until if since <= FAR_PAST else since,
        until=until,
        slot_at=until,
        timeout=job.policy.timeout,
        lease=conf.lease,
        args=args,
    )
