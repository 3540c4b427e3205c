"""A connection that goes silent without a reset: nobody waits for it for ever."""

from __future__ import annotations

import signal
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.acceptance.conftest import PATIENCE_SECONDS, Site
from tests.acceptance.silence import Silence


@pytest.mark.postgres
def test_serve_ends_when_told_though_its_database_is_silent(site: Site, tmp_path: Path) -> None:
    """It hung in poll() and ignored SIGTERM for a minute, or for as long as the kernel keeps the connection."""
    parts = urlsplit(site.env["DATABASE_URL"])
    folder = Path(site.folder)
    way = Silence(folder, Path(dict(parse_qsl(parts.query))["host"]))
    server = site.start("serve", DATABASE_URL=parts._replace(query=f"host={folder}").geturl())
    site.wait_for_row("SELECT 1 FROM crons_heartbeat", server)

    way.begin()
    assert way.swallowed.wait(PATIENCE_SECONDS)
    server.send_signal(signal.SIGTERM)
    told = server.communicate(timeout=PATIENCE_SECONDS)[0]
    way.close()

    assert server.returncode == 0, told
    assert "its connection is ended" in told
    assert site.sql("SELECT 1 FROM crons_heartbeat") == []  # it went as it should, over a new connection
