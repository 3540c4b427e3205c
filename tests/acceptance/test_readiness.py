"""What a real `crons serve` tells whoever started it, at its start and at its end."""

from __future__ import annotations

import signal
import socket

from tests.acceptance.conftest import PATIENCE_SECONDS, Site


def test_serve_says_when_it_is_ready_and_when_it_stops(site: Site) -> None:
    """Who starts what needs it must wait for its first look, not for its process."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(site.folder / "notify"))
        listener.settimeout(PATIENCE_SECONDS)
        serve = site.start("serve", NOTIFY_SOCKET=str(site.folder / "notify"), WATCHDOG_USEC="4000000")

        told = [listener.recv(4096).decode()]
        while "WATCHDOG=1" not in told[-1]:
            told.append(listener.recv(4096).decode())
        rows = site.sql("SELECT kind FROM crons_heartbeat")
        serve.send_signal(signal.SIGTERM)
        while "STOPPING=1" not in told[-1]:
            told.append(listener.recv(4096).decode())

    assert told[0].startswith("READY=1\nSTATUS=looks at the clock; 0 running here, ")
    assert rows == [("serve",)]
    assert serve.wait(PATIENCE_SECONDS) == 0
