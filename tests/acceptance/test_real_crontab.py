"""`crons apply` with Debian's own crontab and cron: the line fires, and undo gives back what was there."""

from __future__ import annotations

import os
import select
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from crons.doctor import bare
from tests.acceptance import namespaces
from tests.acceptance.installation import Installation

SCRIPT = Path(__file__).with_name("real_crontab.sh")
PATIENCE_SECONDS = 300
LOOK_SECONDS = 0.25
# Bytes of no encoding, a carriage return, a setting for all lines below it, and no newline at the end.
FOREIGN = b"# caf\xe9 \x01\r\nPATH=/nowhere\nSHELL=/bin/false\n1 1 1 1 * /bin/true 100\\%\n\n# the end"
HEARTBEATS = (
    "SELECT verdict FROM crons_run r JOIN crons_entry e ON e.id = r.entry_id WHERE e.name = 'log_crm_heartbeat'"
)
SET_BACK = """
    UPDATE crons_entry SET accounted_until = strftime('%Y-%m-%d %H:%M:%f', 'now', '-1 hour'), wake_at = NULL
    WHERE name = 'log_crm_heartbeat'
"""


@pytest.mark.needs("cron")
@pytest.mark.slow(45)
def test_the_applied_line_fires_and_undo_gives_the_crontab_back(tmp_path: Path) -> None:
    """Quoting, %, the bare environment and the foreign SHELL= are cron's to judge, not ours."""
    namespaces.need(namespaces.OWN_MACHINE, "cron, which changes to each crontab's user")
    installed = Installation.make(tmp_path / "shop's 100% crm")
    with (installed.place / "crm" / "settings.py").open("a") as settings:
        settings.write('CRONS["STATE_DIR"] = VAR_DIR / "state"\n')
    (tmp_path / "foreign").write_bytes(FOREIGN)

    process = subprocess.Popen(
        [*namespaces.OWN_MACHINE, str(SCRIPT), str(tmp_path), str(installed.place)],
        stdin=subprocess.PIPE,
        stdout=(tmp_path / "told").open("w"),
        stderr=subprocess.STDOUT,
    )
    try:
        _wait(process, lambda: (tmp_path / "ready").exists(), tmp_path)
        with closing(sqlite3.connect(installed.database, timeout=30)) as connection, connection:
            connection.execute(SET_BACK)
        # Only now: a slot that cron's first minute has recorded must not be made due again.
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
        _wait(process, lambda: [row for row in installed.rows(HEARTBEATS) if row[0]] != [], tmp_path)
        _wait(process, (tmp_path / "told-by-cron").exists, tmp_path)
        process.communicate(b"undo\n", PATIENCE_SECONDS)
    finally:
        process.kill()
        process.wait()

    assert process.returncode == 0, (tmp_path / "told").read_text()
    assert installed.rows(HEARTBEATS) == [("succeeded",)]
    where, *variables = (tmp_path / "told-by-cron").read_text().splitlines()
    assert dict(line.split("=", 1) for line in variables) == {**bare.environment(), "PWD": where}
    assert where == bare.environment()["HOME"]
    doctor = (tmp_path / "doctor").read_text().splitlines()
    assert [line for line in doctor if not line.startswith("ok ")] == ["Nothing is wrong."]
    assert "ok    cron daemon: runs" in doctor
    assert "ok    crontab: our lines are installed (tick)" in doctor
    block, middle, foreign = (tmp_path / "installed").read_bytes().partition(b"# end crons ")
    assert block.startswith(b"# begin crons ")
    assert block.count(b"\n") == 3
    assert (middle, foreign.partition(b"\n")[2]) == (b"# end crons ", FOREIGN)
    assert "The crontab is as it should be (tick)." in (tmp_path / "in-step").read_text()
    assert (tmp_path / "undone").read_bytes() == FOREIGN
    events = installed.rows("SELECT verb, subject FROM crons_auditevent ORDER BY id")
    assert events == [("apply", "crontab"), ("undo", "crontab")]


def _wait(process: subprocess.Popen[bytes], is_done: Callable[[], bool], folder: Path) -> None:
    """Look now and then, for cron tells nobody; at once when the machine ends."""
    ended = select.poll()
    ended.register(os.pidfd_open(process.pid), select.POLLIN)
    until = time.monotonic() + PATIENCE_SECONDS
    while not is_done():
        assert process.poll() is None, (folder / "told").read_text()
        assert time.monotonic() < until, (folder / "told").read_text()
        ended.poll(LOOK_SECONDS * 1000)
