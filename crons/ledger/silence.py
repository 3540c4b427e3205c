"""Connections that go silent without a reset: a firewall that forgets them, a host that lost its power.

libpq waits for an answer as long as the kernel does, which is a quarter of an hour for what was sent and for ever for
what is awaited. Nothing of the project's settings is touched: what OPTIONS says stands.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

from django.db import connections
from django.db.backends.signals import connection_created

from crons.conf import conf
from crons.side_output import get_log

log = get_log("crons")
# Of libpq's options those that decide this, and the socket's own names for them.
KEEPALIVES = ("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count")
# A process that is to stop waits for one answer no longer than this.
STOPPING_SECONDS = 5.0
LOOK_SECONDS = 0.5


def keep_alive() -> None:
    """Have the kernel notice silent connections of the ledger's, in this process and those that it forks."""
    connection_created.connect(_set_options, dispatch_uid="crons.silence")


def _set_options(connection: Any, **kwargs: Any) -> None:
    if connection.vendor != "postgresql" or connection.alias != conf.database:
        return
    given = connection.settings_dict.get("OPTIONS", {})
    with suppress(OSError, AttributeError), _socket_of(connection) as end:
        if end.family not in (socket.AF_INET, socket.AF_INET6):
            return
        seconds = max(1, conf.lease // timedelta(seconds=3))
        if not any(name in given for name in KEEPALIVES):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, seconds)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, seconds // 3))
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        if "tcp_user_timeout" not in given:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, seconds * 1000)


def _socket_of(connection: Any) -> socket.socket:
    # A duplicate descriptor: closing it leaves libpq's open.
    return socket.socket(fileno=os.dup(connection.connection.fileno()))


class Watchdog:
    """Ends the ledger's connection where the block that it watches takes longer than a lease: then that block fails.

    The kernel does not notice a server that lives and does not answer, or a proxy that keeps the connection open. Once
    *is_stopping* the block has STOPPING_SECONDS. Costs a thread, and two assignments a block.
    """

    def __init__(self, is_stopping: Callable[[], bool]) -> None:
        self._is_stopping = is_stopping
        self._since: float | None = None
        self._connection: Any = None
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    def __enter__(self) -> None:
        if self._thread is None and connections[conf.database].vendor == "postgresql":
            self._thread = threading.Thread(target=self._watch, name="crons-watchdog", daemon=True)
            self._thread.start()
        self._connection = connections[conf.database]
        self._since = time.monotonic()

    def __exit__(self, *error: object) -> None:
        self._since = None

    def close(self) -> None:
        """Watch no more."""
        self._closed.set()

    def _watch(self) -> None:
        while not self._closed.wait(LOOK_SECONDS):
            since = self._since
            limit = conf.lease.total_seconds()
            if since is not None and self._is_stopping():
                limit = min(limit, STOPPING_SECONDS)
            if since is not None and time.monotonic() - since > limit:
                self._cut(time.monotonic() - since)

    def _cut(self, seconds: float) -> None:
        with suppress(Exception), _socket_of(self._connection) as end:
            end.shutdown(socket.SHUT_RDWR)
            about = {"event": "database.cut"}
            log.warning("the database did not answer for %.0f s: its connection is ended", seconds, extra=about)
        # Cut once a block: the next attempt in it gets a new connection, and as much time again.
        self._since = None if self._since is None else time.monotonic()
