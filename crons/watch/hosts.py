"""What keeps hosts from their work: what schedulers say of themselves, and a database that takes no writes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from django.db import connections

from crons.conf import conf

if TYPE_CHECKING:
    from crons.watch.problems import Look, Problem

# Less than one batch of output, and SQLite needs as much again for its journal.
LEAST_FREE_BYTES = 1 << 20


def hosts(look: Look) -> Iterator[Problem]:
    """What living schedulers say keeps them from their work, and the zones that their machines have no data of."""
    from crons.watch.problems import Problem

    for beat in look.schedulers:
        who = f"{beat.kind} on {beat.host} (pid {beat.pid})"
        for each in beat.troubles or []:
            match each:
                case [str(kind), str(text)]:
                    yield Problem(kind, f"{who}: {text}", since=None)
        for zone in beat.lacks or []:
            text = f"{who} has no time zone data of {zone!r}, and leaves its entries to other hosts"
            yield Problem("zone", text, next_step="Install tzdata there, and start it again")


def writes(look: Look) -> Iterator[Problem]:
    """A database that takes no writes, so that nothing can be recorded: read-only, or without room. No statement."""
    from crons.watch.problems import Problem

    connection = connections[conf.database]
    why = ""
    if connection.vendor == "sqlite":
        why = _why_not_sqlite(str(connection.settings_dict["NAME"]))
    elif look.is_read_only:
        why = "it is read-only: a standby, or default_transaction_read_only"
    if why:
        after = "Until that is mended nothing is recorded or begun; what falls due is made up for as catch_up says"
        yield Problem("database", f"the database takes no writes: {why}", next_step=after)


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
