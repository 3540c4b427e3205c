"""Entries in zones that this machine has no data of: left to hosts that have it, and parked only where none has."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from crons.exceptions import CronsError, ZoneMissingHere
from crons.hosts.instances import host
from crons.models import Entry, Heartbeat

if TYPE_CHECKING:
    from crons.ledger.record import Recorded

# What may be the name of a zone that another release of the data has.
ZONE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+\-]*(/[A-Za-z0-9_+\-]+)*")


def zone_of(name: str) -> ZoneInfo:
    """Return the zone called *name*.

    Raises: ZoneMissingHere if it may be one that another machine has; CronsError if it is none.
    """
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:
        text = f"the zone {name!r} is not in this machine's time zone data: {error}"
        raise (ZoneMissingHere if ZONE_NAME.fullmatch(name) else CronsError)(text) from error


def leave(done: Recorded, now: datetime, using: str) -> None:
    """Park what *done* leaves and no living scheduler of another host reads; for use inside a transaction.

    It stays due: whoever has the zone plans it, and so ends that.
    """
    others = Heartbeat.objects.using(using).filter(expected_by__gte=now).exclude(host=host())
    lacks = [set(each or []) for each in others.values_list("lacks", flat=True)]
    for name, zone in done.left.items():
        if any(zone not in each for each in lacks):
            continue
        reason = (
            f"the zone {zone!r} is not in the time zone data of {host()}, nor of another host whose scheduler runs: "
            "install tzdata, and start again"
        )
        Entry.objects.using(using).filter(name=name).update(parked_reason=reason)
        done.parked.append(name)
