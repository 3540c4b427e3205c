"""Rules about schedulers, their hosts and clocks, and a database that takes no writes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from django.db import connections

from crons import ledger
from crons.conf import conf
from crons.exceptions import ClockInDoubt
from crons.presentation import describe_scheduler
from crons.watch.look import AHEAD, Look, Problem

# Less than one batch of output, and SQLite needs as much again for its journal.
LEAST_FREE_BYTES = 1 << 20


def hosts(look: Look) -> Iterator[Problem]:
    """What living schedulers say keeps them from their work, and the zones that their machines have no data of."""
    for beat in look.schedulers:
        who = describe_scheduler(beat)
        for each in beat.troubles or []:
            match each:
                case [str(kind), str(text)]:
                    yield Problem(kind, f"{who}: {text}", about=who)
        for zone in beat.lacks or []:
            text = f"{who} has no time zone data of {zone!r}, and leaves its entries to other hosts"
            yield Problem(
                "zone", text, next_step="Install tzdata there, and start it again", about=f"{beat.host}: {zone}"
            )


def clocks(look: Look) -> Iterator[Problem]:
    """The hosts of schedulers whose clocks are far from the database's, and a clock that is not believed."""
    for beat in look.schedulers:
        if abs(beat.clock_skew_seconds) > AHEAD.total_seconds():
            text = f"the clock of {beat.host} is {beat.clock_skew_seconds:+.0f} s from the database's"
            after = "Have both keep time, for example with systemd-timesyncd"
            yield Problem("clock", text, next_step=after, about=beat.host)
    moments = [beat.beat_at for beat in look.heartbeats]
    moments += [at for each in look.entries[:1] if (at := getattr(each, "newest_run_at", None)) is not None]
    try:
        due = min((each.wake_at for each in look.entries if each.wake_at is not None), default=None)
        ledger.require_near(max(moments, default=None), due, look.now)
    except ClockInDoubt as doubt:
        yield Problem("clock", str(doubt), about="this deployment")


def scheduler(look: Look) -> Iterator[Problem]:
    """The schedulers that were killed or say nothing any more."""
    for beat in look.heartbeats:
        if beat in look.schedulers:
            continue
        who = describe_scheduler(beat)
        text = f"{who} was killed" if beat in look.killed else f"{who} is silent"
        after = "Start it again there: manage.py crons serve"
        yield Problem("scheduler", text, since=beat.beat_at, next_step=after, about=who)


def writes(look: Look) -> Iterator[Problem]:
    """A database that takes no writes, so that nothing can be recorded: read-only, or without room. No statement."""
    connection = connections[conf.database]
    why = ""
    if connection.vendor == "sqlite":
        why = _why_not_sqlite(str(connection.settings_dict["NAME"]))
    elif look.is_read_only:
        why = "it is read-only: a standby, or default_transaction_read_only"
    if why:
        after = "Until that is mended nothing is recorded or begun; what falls due is made up for as catch_up says"
        yield Problem("database", f"the database takes no writes: {why}", next_step=after, about="the database")


def _why_not_sqlite(name: str) -> str:
    if name.startswith("file:") or name == ":memory:":
        return "it is opened read-only" if "mode=ro" in name or "immutable=1" in name else ""
    path = Path(name)
    try:
        disk = os.statvfs(path.parent)
    except OSError as error:
        return f"its directory cannot be looked at: {error}"
    if disk.f_flag & os.ST_RDONLY:
        return f"{path.parent} is mounted read-only"
    free = disk.f_bavail * disk.f_frsize
    if free < LEAST_FREE_BYTES:
        return f"the disk of {path.parent} is full, {free >> 10} KiB are free"
    if path.exists() and not os.access(path, os.W_OK):
        return f"this user may not write to {path}"
    if not os.access(path.parent, os.W_OK):
        return f"this user may not make SQLite's journal in {path.parent}"
    return ""
