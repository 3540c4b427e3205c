"""A host that cannot start processes: what never started has not failed, and others do it."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

from tests.acceptance.conftest import PATIENCE_SECONDS, Site, wait_for_line

SLOTS = 20


def test_a_host_without_descriptors_fails_nothing(site: Site) -> None:
    """It fails fast, so it won most slots: with 16 descriptors 80 of 120 ended failed without one start."""
    site.env |= {"TEST_ENTRIES": str(SLOTS)}
    site.crons("sync")
    sick = site.start("serve")
    wait_for_line(sick, "crons serve: pid")
    # Not before it has its connection: without a database it would not even try to start anything.
    site.wait_for_row("SELECT 1 FROM crons_heartbeat", sick)
    used = len(list(Path(f"/proc/{sick.pid}/fd").iterdir()))
    # One for SQLite, whose undo of a statement over many rows goes to a file; a job's pipes need more.
    resource.prlimit(sick.pid, resource.RLIMIT_NOFILE, (used + 1, used + 1))
    site.make_all_due("traced_%")

    site.wait_for_row("SELECT 1 FROM crons_run WHERE detail LIKE 'not started on %%RLIMIT_NOFILE is %%'", sick)
    well = site.start("serve")
    site.wait_for_row(f"SELECT COUNT(*) FROM crons_run WHERE state = 'done' HAVING COUNT(*) >= {SLOTS}", well)
    for each in (sick, well):
        each.terminate()

    told = [each.communicate(timeout=PATIENCE_SECONDS)[0] for each in (sick, well)]
    assert [each.returncode for each in (sick, well)] == [0, 0], "".join(told)
    assert site.sql("SELECT verdict, tries, COUNT(*) FROM crons_run GROUP BY verdict, tries") == [
        ("succeeded", 1, SLOTS)
    ]
    assert len(site.traces()) == len({entry for entry, _, _ in site.traces()}) == SLOTS
    assert site.sql("SELECT COUNT(*) FROM crons_attempt") == [(SLOTS,)]


def test_a_scheduler_whose_fork_server_is_killed_goes_on_at_once(site: Site) -> None:
    """It began nothing for DRAIN, and a healthy long job ended "cancelled: the scheduler was stopped"."""
    os.mkfifo(site.env["GATE"])
    scheduler = site.start("serve", TEST_DRAIN="5")
    wait_for_line(scheduler, "crons serve: pid")
    site.make_due("waits_for_release")
    site.wait_for_row("SELECT 1 FROM crons_run WHERE state = 'running'", scheduler)
    gate = os.open(site.env["GATE"], os.O_WRONLY)

    os.kill(_children(scheduler.pid)[0], signal.SIGKILL)
    site.make_due("plain")
    site.wait_for_row("SELECT 1 FROM crons_run WHERE verdict = 'succeeded'", scheduler)
    still = site.sql("SELECT COUNT(*) FROM crons_run WHERE state = 'running'")
    os.close(gate)
    site.wait_for_row("SELECT COUNT(*) FROM crons_run WHERE verdict = 'succeeded' HAVING COUNT(*) >= 2", scheduler)
    scheduler.terminate()

    assert scheduler.wait(PATIENCE_SECONDS) == 0
    assert still == [(1,)]
    assert site.sql("SELECT DISTINCT verdict FROM crons_run") == [("succeeded",)]


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
