"""A way to PostgreSQL that is cut at a chosen moment: in the middle of a transaction, before or after its commit."""

from __future__ import annotations

import select
import socket
import threading
from contextlib import suppress
from pathlib import Path

from tests.acceptance.ways import Listener


class Way(Listener):
    """Listens on a socket in *folder* and passes everything on to the server whose socket lies in *server*.

    Of the first connection on which *mark* was sent, and then COMMIT, nothing comes back: with *before*, the COMMIT
    does not reach the server; without, it does, and its answer is lost. *was_cut* tells when.
    """

    def __init__(self, folder: Path, server: Path, *, mark: bytes, before: bool) -> None:
        self.folder = folder
        self.was_cut = threading.Event()
        self._mark = mark
        self._before = before
        self._lock = threading.Lock()
        super().__init__(folder, server)

    def serve(self, client: socket.socket) -> None:
        marked = False
        with client, socket.socket(socket.AF_UNIX) as server, suppress(OSError):
            server.connect(self._server)
            while True:
                for end in select.select([client, server], [], [])[0]:
                    data = end.recv(65536)
                    if not data:
                        return
                    if end is client:
                        marked = marked or self._mark in data
                        if marked and b"COMMIT" in data and self._is_first():
                            if not self._before:
                                server.sendall(data)
                                server.recv(65536)  # the commit has happened
                            self.was_cut.set()
                            return
                        if b"COMMIT" in data or b"ROLLBACK" in data:
                            marked = False
                    (server if end is client else client).sendall(data)

    def _is_first(self) -> bool:
        with self._lock:
            return not self.was_cut.is_set()
