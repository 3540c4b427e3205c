"""Around a fork: close what two processes must not share, and end the forked one's copies of what stays open.

A connection that two processes write to gives each the other's answers. close_all() does not end a pool's
connections: it hands them back to the pool, which goes on in every forked process.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from logging.handlers import SocketHandler, SysLogHandler
from pathlib import Path
from typing import Any

from django.core.cache import caches
from django.db import connections

from crons.exceptions import CronsError
from crons.side_output import get_log

log = get_log("crons.executors")


def close_shared() -> None:
    """Close this thread's database connections, every pool of them, and what caches and log handlers keep open."""
    connections.close_all()
    for connection in _with_open_pool():
        connection.close_pool()
    caches.close_all()
    for reference in list(logging._handlerList):  # type: ignore[attr-defined] # what logging.shutdown() goes through
        _disconnect(reference())


def _disconnect(handler: Any) -> None:
    """Have a log handler of Python's connect anew at its next record: ended under its hands, it loses one."""
    name = "sock" if isinstance(handler, SocketHandler) else "socket" if isinstance(handler, SysLogHandler) else ""
    connection = getattr(handler, name, None)
    if isinstance(connection, socket.socket) and connection.type == socket.SOCK_STREAM:
        with handler.lock:
            connection.close()
            setattr(handler, name, None)


def end_copies() -> None:
    """Have each connection that this process was forked with be at its end here; its parent's goes on.

    What uses one connects anew, or fails: it never takes another's answer.
    """
    ended, other = socket.socketpair()
    other.close()
    for number in [number for number, _ in _connected()]:
        os.dup2(ended.fileno(), number, inheritable=False)
    ended.close()


def refuse_shared() -> None:
    """Make sure that a fork shares no database connection, and log what else there is.

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
        about = {"event": "fork.threads"}
        log.warning("Forking a process with threads (%s): a lock they hold stays locked there.", names, extra=about)
    peers = ", ".join(sorted({peer for _, peer in _connected()}))
    if peers:
        log.info("Forking a process that is connected to %s: in jobs these connections are at their end.", peers)


def _with_open_pool() -> Iterator[Any]:
    for alias in connections:
        # Pools are kept by the class, for all threads: this one may have used none of them.
        if connections.settings[alias].get("OPTIONS", {}).get("pool"):
            connection = connections[alias]
            pool = getattr(connection, "_connection_pools", {}).get(alias)
            if pool is not None and not getattr(pool, "closed", False):
                yield connection


def _connected() -> Iterator[tuple[int, str]]:
    """Yield descriptor and peer of each connection, but for standard streams: a service manager's may be sockets."""
    standard = {_target(str(number)) for number in range(3)}
    for link in list(Path("/proc/self/fd").glob("*")):
        with suppress(OSError, ValueError):
            number, target = int(link.name), _target(link.name)
            if target.startswith("socket:") and target not in standard:
                with closing(socket.socket(fileno=os.dup(number))) as copy:
                    peer = copy.getpeername() if copy.type == socket.SOCK_STREAM else None
                if isinstance(peer, tuple):
                    yield number, f"{peer[0]}:{peer[1]}"
                elif peer:
                    yield number, os.fsdecode(peer)


def _target(descriptor: str) -> str:
    with suppress(OSError):
        return os.readlink(f"/proc/self/fd/{descriptor}")
    return ""
