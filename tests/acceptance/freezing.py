"""Stopping a process where it has nothing locked: in the middle of a write on SQLite it would hold up everybody."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from tests.acceptance.conftest import Site


def freeze(pid: int, site: Site) -> None:
    """Have the process *pid* stand still, with nothing locked; or let it be gone."""
    while _stop(pid) and has_locks(site):
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.05)  # sleeps: for it to get on with what it was doing


def has_locks(site: Site) -> bool:
    """Say whether anybody is in the middle of a transaction."""
    if site.database.vendor == "postgresql":
        others = "pid <> pg_backend_pid() AND datname = current_database() AND state <> 'idle'"
        return bool(site.sql(f"SELECT 1 FROM pg_stat_activity WHERE {others}"))
    with closing(sqlite3.connect(site.database.url.removeprefix("sqlite:///"), timeout=0)) as connection:
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            return True
    return False


def _stop(pid: int) -> bool:
    """Stop the process and say whether it stands still; False where it is gone."""
    try:
        os.kill(pid, signal.SIGSTOP)
        while (state := Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]) != "T":
            if state == "Z":
                return False
            time.sleep(0.001)  # sleeps: the kernel stops it soon, and tells only its parent
    except (ProcessLookupError, FileNotFoundError):
        return False
    return True
