"""Checks of the settings, and of what a deployment needs."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.db import connections

from crons.attempts import KILL_AT, RENEW_AT
from crons.checks.asking import leaves_zones, of_declarations
from crons.checks.base import TAG, known_good
from crons.conf import NO_ZONES, conf
from crons.exceptions import CronsError
from crons.hosts import in_tests
from crons.jobs import make_policy, registry
from crons.schedules import nearest_zone

# What its locks, clocks and batches are tried on.
VENDORS = ("sqlite", "postgresql")
# A backup or a job may keep SQLite's one write lock that long, whatever others put up with.
LOCKED = timedelta(seconds=30)
FORGETFUL = re.compile(r"synchronous\s*=\s*(off|0)\b", re.IGNORECASE)


@register(TAG)
@known_good
def check_settings() -> Iterator[CheckMessage]:
    """Check settings.CRONS and the settings of Django that it needs."""
    problems = conf.problems()
    if not problems:
        try:
            make_policy("CRONS['DEFAULTS']", {})
        except CronsError as error:
            problems.append(str(error))
    for text in problems:
        yield Error(
            text, hint="CRONS in the settings is one dict; a key that is left out has its default.", id="crons.E001"
        )
    if not settings.USE_TZ:
        yield Error(
            NO_ZONES[0],
            hint=NO_ZONES[1],
            id="crons.E003",
        )


@register(TAG)
@known_good
def check_vendor() -> Iterator[CheckMessage]:
    """Check that the ledger's statements are written for its database."""
    vendor = connections[conf.database].vendor
    if vendor not in VENDORS:
        yield Error(
            f"DATABASES[{conf.database!r}] is {connections[conf.database].display_name}: crons keeps its rows in "
            "SQLite or PostgreSQL only.",
            hint="Add a database of one of these to DATABASES, and name it: CRONS = {'DATABASE': 'crons'}. "
            "The jobs themselves may use any.",
            id="crons.E005",
        )


@register(TAG)
@of_declarations
def check_zones() -> Iterator[CheckMessage]:
    """Check that this machine knows every zone that is used."""
    used = {conf.time_zone: "CRONS['TIME_ZONE']" if conf.time_zone != settings.TIME_ZONE else "TIME_ZONE"}
    for entry in registry.entries.values():
        # A scheduler says so in its heartbeat, and goes on with all others.
        if entry.schedule.zone and not leaves_zones():
            used.setdefault(entry.schedule.zone, f"{entry.name} ({entry.source_ref})")
    for zone, user in used.items():
        try:
            ZoneInfo(zone)
        except (ValueError, OSError, KeyError):
            yield Error(
                f"{user} names the zone {zone!r}, which is not in this machine's time zone data.",
                hint=f"{nearest_zone(zone)} Use a name such as 'Europe/Berlin'; where the system has no zones, install "
                "tzdata.".strip(),
                id="crons.E004",
            )


@register(TAG)
@known_good
def check_silence() -> Iterator[CheckMessage]:
    """Check that nobody has switched off what notices a connection that went silent."""
    connection = connections[conf.database]
    given = connection.settings_dict.get("OPTIONS", {}) if connection.vendor == "postgresql" else {}
    off = [name for name in ("keepalives", "tcp_user_timeout") if str(given.get(name, "")).strip() == "0"]
    if off:
        yield Warning(
            f"DATABASES[{conf.database!r}]['OPTIONS'] switches {' and '.join(off)} off: a scheduler whose connection "
            "goes silent waits for it until its lease is over.",
            hint="Leave them out: crons sets both on its own connections, to a third of the lease.",
            id="crons.W063",
        )


@register(TAG)
@known_good
def check_lease() -> Iterator[CheckMessage]:
    """Check that leases bear what the settings let a lock on SQLite last: anybody's write keeps all others out."""
    database: dict[str, Any] = settings.DATABASES[conf.database]
    if not database["ENGINE"].endswith("sqlite3"):
        return
    patience = timedelta(seconds=float(database.get("OPTIONS", {}).get("timeout", 5.0)))
    bears, wait = conf.lease * (KILL_AT - RENEW_AT), max(patience, LOCKED)
    if bears < wait:
        needed = math.ceil(wait / (KILL_AT - RENEW_AT) / timedelta(seconds=1))
        shorter = f", or the timeout of {_seconds(patience)} s shorter" if patience > LOCKED else ""
        yield Warning(
            f"A lease of {_seconds(conf.lease)} s bears a database that is locked for {_seconds(bears)} s, and "
            f"DATABASES[{conf.database!r}] lets one be locked for {_seconds(wait)} s: "
            "healthy jobs would be killed as lost.",
            hint=f"Make CRONS['LEASE'] {needed} s or longer{shorter}.",
            id="crons.W060",
        )


def _seconds(length: timedelta) -> str:
    return f"{length / timedelta(seconds=1):g}"


@register(TAG, deploy=True)
def check_suite(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Check that nobody has left the mark of a test suite in the environment."""
    if os.environ.get(in_tests.VARIABLE, "0") == "0":
        return []
    return [
        Warning(
            f"{in_tests.VARIABLE} is set, so this process counts as part of a test suite: "
            "serve, tick and run begin nothing.",
            hint="Take it out of the environment, of unit files and env files; the pytest plugin sets it by itself.",
            id="crons.W043",
        )
    ]


@register(TAG, deploy=True)
@known_good
def check_deployment() -> Iterator[CheckMessage]:
    """Check that failures reach somebody and that commits last."""
    if not conf.alerts.routes and not settings.ADMINS:
        yield Warning(
            "Nobody is told when a job fails: alerts go to ADMINS, and ADMINS is empty.",
            hint="Fill ADMINS, or name other channels in CRONS['ALERTS']; [{'TO': []}] as its ROUTES tells nobody.",
            id="crons.W040",
        )
    database: dict[str, Any] = settings.DATABASES[conf.database]
    if not database["ENGINE"].endswith("sqlite3"):
        return
    if FORGETFUL.search(str(database.get("OPTIONS", {}).get("init_command", ""))):
        yield Warning(
            f"DATABASES[{conf.database!r}] sets synchronous=OFF: after a power failure a slot may run twice.",
            hint="Use synchronous=FULL for the database of the ledger.",
            id="crons.W041",
        )
    name = str(database["NAME"])
    if ":memory:" in name or "mode=memory" in name:
        yield Warning(
            f"DATABASES[{conf.database!r}] is kept in memory: each process has a ledger of its own, gone when it ends.",
            hint="Name a file, or use a database server.",
            id="crons.W042",
        )
