"""A way to PostgreSQL that gives each transaction a session of its own, as PgBouncer does in transaction mode.

It goes further: the session is closed when the transaction ends, so whatever a session would remember (settings,
prepared statements, advisory locks, LISTEN, temporary tables, held cursors) is gone at the next statement.
"""

from __future__ import annotations

import select
import socket
import struct
from contextlib import suppress
from pathlib import Path

from tests.acceptance.ways import Listener

IDLE = b"I"


class Pooler(Listener):
    """Listens on a socket in *folder*; the server's lies in *server*. *sessions* counts those that it opened."""

    def __init__(self, folder: Path, server: Path) -> None:
        self.sessions = 0
        super().__init__(folder, server)

    def serve(self, client: socket.socket) -> None:
        with client, suppress(OSError, EOFError):
            startup = _startup_of(client)
            server = self._session(startup, client)
            try:
                while True:
                    if client in select.select([client] if server is None else [client, server], [], [])[0]:
                        data = client.recv(65536)
                        if not data or data[:1] == b"X":
                            return
                        if server is None:
                            server = self._session(startup)
                        server.sendall(data)
                    elif server is not None:
                        kind, message = _message_of(server)
                        client.sendall(message)
                        if kind == b"Z" and message[-1:] == IDLE:
                            server.close()
                            server = None
            finally:
                if server is not None:
                    server.close()

    def _session(self, startup: bytes, client: socket.socket | None = None) -> socket.socket:
        """Open a session; *client* hears of the first one only."""
        server = socket.socket(socket.AF_UNIX)
        server.connect(self._server)
        self.sessions += 1
        server.sendall(startup)
        while True:
            kind, message = _message_of(server)
            if client is not None:
                client.sendall(message)
            if kind == b"Z":
                return server


def _startup_of(client: socket.socket) -> bytes:
    while True:
        head = _exactly(client, 4)
        rest = _exactly(client, struct.unpack("!I", head)[0] - 4)
        if struct.unpack("!I", rest[:4])[0] not in (80877103, 80877104):  # TLS, GSSAPI
            return head + rest
        client.sendall(b"N")


def _message_of(server: socket.socket) -> tuple[bytes, bytes]:
    head = _exactly(server, 5)
    return head[:1], head + _exactly(server, struct.unpack("!I", head[1:])[0] - 4)


def _exactly(end: socket.socket, count: int) -> bytes:
    read = b""
    while len(read) < count:
        more = end.recv(count - len(read))
        if not more:
            raise EOFError
        read += more
    return read
