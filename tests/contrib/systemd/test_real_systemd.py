"""`crons apply --to systemd` with a real systemd: the scheduler runs jobs behind its walls, and comes back."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from tests.acceptance import namespaces
from tests.acceptance.installation import Installation

SCRIPT = Path(__file__).with_name("real_systemd.sh")
PATIENCE_SECONDS = 400
NO_CONTROL_GROUP = 77
SET_BACK = """
    UPDATE crons_entry SET accounted_until = strftime('%Y-%m-%d %H:%M:%f', 'now', '-1 hour'), wake_at = NULL
    WHERE name = 'log_crm_heartbeat'
"""


@pytest.mark.sqlite
@pytest.mark.needs("systemd")
@pytest.mark.slow
def test_a_real_systemd_runs_what_was_applied(tmp_path: Path) -> None:
    """What `systemd-analyze verify` cannot see: jobs run behind these walls, and a killed scheduler is brought back."""
    namespaces.need(namespaces.OWN_MACHINE, "a systemd of its own")
    shop = Installation.make(tmp_path / "crm")
    shop.manage("crons", "sync")
    with sqlite3.connect(shop.database) as connection:
        connection.execute(SET_BACK)
    connection.close()
    name = str(os.getpid())

    try:
        done = subprocess.run(
            [*namespaces.OWN_MACHINE, str(SCRIPT), str(shop.place), name],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}, cwd="/", stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
        )  # fmt: skip
    finally:
        _remove_groups(f"crons-test-{name}")
    if done.returncode == NO_CONTROL_GROUP and os.environ.get("CI") != "true":
        pytest.skip("needs a control group of its own for a systemd of its own")

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == [
        "ran by active",
        "brought back: active",
        "in step",
        "stopped: 1",
        "timer: active, enabled",
        "left: ./crons-.service.d/log.conf",
    ]


def _remove_groups(name: str) -> None:
    for base in ("systemd", "unified", "."):
        root = Path("/sys/fs/cgroup", base, name)
        for folder, _, _ in os.walk(root, topdown=False):
            with suppress(OSError):  # a process of it may not have gone yet: it is empty all the same, and goes with it
                os.rmdir(folder)
