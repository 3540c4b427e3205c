"""Ports of loopback for servers of tests that can be given a number only."""

import random
import socket

from tests import run

# Below those that the kernel gives to whoever connects or asks for any: none of them is taken between the
# look and the server's start, nor while a server is down on purpose, and nobody who waits for it meets himself.
_FIRST, _LAST = 20_000, 32_000


def free() -> int:
    """Return a port that nobody listens on, and that no other test of this run gets."""
    while True:
        port = random.randint(_FIRST, _LAST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                (run.directory() / f"port-{port}").touch(exist_ok=False)
            except OSError:
                continue
        return port
