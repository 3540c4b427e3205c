"""Before a fork: close what two processes must not share, and name what stays open.

A connection that two processes write to gives each the other's answers. close_all() does not end a pool's
connections: it hands them back to the pool, which goes on in every forked process.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from django.core.cache import caches
from django.db import connections

from crons.exceptions import CronsError
from crons.side_output import get_log

log = get_log("crons.executors")
_STANDARD_STREAMS = 3


def close_shared() -> None:
    """Close this thread's database connections, every pool of them, and what caches keep open."""
    connections.close_all()
    for connection in _with_open_pool():
        connection.close_pool()
    caches.close_all()


def refuse_shared() -> None:
    """Make sure that a fork shares no database connection, and log what else it will share.

    Raises: CronsError where a connection or a pool is open.
    """
    opened = sorted(each.alias for each in connections.all(initialized_only=True) if each.connection)
    if opened:
        raise CronsError(
            f"prepare() came after a database connection was opened ({', '.join(opened)}): forked jobs would "
            "share it. Prepare first, or close it with django.db.connections.close_all()."
        )
    pools = sorted(each.alias for each in _with_open_pool())
    if pools:
        raise CronsError(
            f"prepare() came while a pool of database connections was open ({', '.join(pools)}): forked jobs would "
            f"share them. Prepare first, or close it with django.db.connections[{pools[0]!r}].close_pool()."
        )
    if threading.active_count() > 1:
        names = ", ".join(sorted(each.name for each in threading.enumerate()))
        log.warning("Forking a process with threads (%s): a lock they hold stays locked there.", names)
    peers = ", ".join(sorted(set(_connected_to())))
    if peers:
        log.warning("Forking a process that is connected to %s: jobs must not use that connection.", peers)


def _with_open_pool() -> Iterator[Any]:
    for alias in connections:
        # Pools are kept by the class, for all threads: this one may have used none of them.
        if connections.settings[alias].get("OPTIONS", {}).get("pool"):
            connection = connections[alias]
            pool = getattr(connection, "_connection_pools", {}).get(alias)
            if pool is not None and not getattr(pool, "closed", False):
                yield connection


def _connected_to() -> Iterator[str]:
    """Name the peers of this process's connections; its standard streams may be sockets of a service manager."""
    for link in Path("/proc/self/fd").glob("*"):
        with suppress(OSError, ValueError):
            if int(link.name) >= _STANDARD_STREAMS and os.readlink(link).startswith("socket:"):
                with closing(socket.socket(fileno=os.dup(int(link.name)))) as copy:
                    peer = copy.getpeername() if copy.type == socket.SOCK_STREAM else None
                if isinstance(peer, tuple):
                    yield f"{peer[0]}:{peer[1]}"
                elif peer:
                    yield os.fsdecode(peer)
