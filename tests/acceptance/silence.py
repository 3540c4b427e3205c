"""A way to PostgreSQL that goes silent: what is sent through it is swallowed, nothing comes back, nobody hangs up."""

from __future__ import annotations

import select
import socket
import threading
from contextlib import suppress
from pathlib import Path

from tests.acceptance.ways import Listener


class Silence(Listener):
    """Listens on a socket in *folder* and passes everything on to the server whose socket lies in *server*.

    After `begin()` the connections that there are swallow all, and *swallowed* tells when the first of them has;
    new ones are passed on.
    """

    def __init__(self, folder: Path, server: Path) -> None:
        self.swallowed = threading.Event()
        self._generation = 0
        super().__init__(folder, server)

    def begin(self) -> None:
        """Let the connections that there are go silent."""
        self._generation += 1

    def serve(self, client: socket.socket) -> None:
        generation = self._generation
        with client, socket.socket(socket.AF_UNIX) as server, suppress(OSError):
            server.connect(self._server)
            while True:
                for end in select.select([client, server], [], [])[0]:
                    data = end.recv(65536)
                    if not data:
                        return
                    if generation == self._generation:
                        (server if end is client else client).sendall(data)
                    else:  # a question, or the answer to one that was on its way
                        self.swallowed.set()
