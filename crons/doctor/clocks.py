"""Whether this machine, its cron and the database agree on what time it is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import connections
from django.utils import timezone

from crons import ledger
from crons.conf import conf
from crons.doctor.findings import BAD, GOOD, WARN, Finding
from crons.schedules import zones
from crons.targets import crond

SKEW_WARNS, SKEW_HURTS = timedelta(seconds=1), timedelta(seconds=5)


def examine(name: str | None) -> Iterator[Finding]:
    """Yield how far clocks and zones differ from those that schedules are read by."""
    skew = _ahead_of_database()
    level = BAD if abs(skew) > SKEW_HURTS else WARN if abs(skew) > SKEW_WARNS else GOOD
    found = f"this machine is {skew.total_seconds():+.1f} s from the database"
    if level == GOOD:
        yield Finding("clock", GOOD, found)
    else:
        yield Finding(
            "clock", level, found, "at most 1 s", "Have both keep time: systemctl enable --now systemd-timesyncd"
        )
    machine, where = crond.zone()
    now = timezone.now()
    wanted = conf.time_zone
    told = {"cron": (machine, where)}
    if wanted != settings.TIME_ZONE:
        told["TIME_ZONE"] = (ZoneInfo(settings.TIME_ZONE), settings.TIME_ZONE)
    server = _zone_of_server()
    if server and zones.is_zone(server):
        told["the database server"] = (ZoneInfo(server), server)
    for who, (zone, said) in told.items():
        if any(zones.offset_at(at, zone) != zones.offset_at(at, ZoneInfo(wanted)) for at in _through_the_year(now)):
            yield Finding(
                f"zone of {who}",
                WARN,
                said,
                f"{wanted}, in which schedules are read",
                "Lines written by hand, and SQL, go by theirs; what crons writes and plans does not mind.",
            )


def _ahead_of_database() -> timedelta:
    """Say how far this machine's clock is ahead at least: while an answer takes long, nobody knows more."""
    ledger.database_now()  # connects, which is the longest
    before = timezone.now()
    there = ledger.database_now()
    after = timezone.now()
    return max(before - there, min(after - there, timedelta(0)))


def _zone_of_server() -> str:
    connection = connections[conf.database]
    if connection.vendor != "postgresql":
        return ""
    with connection.cursor() as cursor:
        # Not SHOW: Django has set this connection's own.
        cursor.execute("SELECT reset_val FROM pg_settings WHERE name = 'TimeZone'")
        return str(cursor.fetchone()[0])


def _through_the_year(now: datetime) -> list[datetime]:
    return [now + timedelta(days=days) for days in range(0, 366, 7)]
