"""What watches over a job is killed or frozen: the job's programs, its entry and its record must not suffer from it."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from crons.executors.process.kernel import descendants
from tests.acceptance.conftest import PATIENCE_SECONDS, Site
from tests.acceptance.freezing import freeze
from tests.acceptance.test_stopping import Gate, gate

__all__ = ["gate"]


def test_a_program_whose_watchers_were_all_killed_runs_beside_no_second_one(site: Site, gate: Gate) -> None:
    """`pkill -9` by name takes the scheduler, its supervisors and the job, and leaves what the job has started."""
    site.make_due("waits_in_a_program")
    process = site.start("serve")
    gate.wait_for_job()
    kill_all_but_programs(process)

    again = site.start("tick")
    site.wait_for_row("SELECT 1 FROM crons_attempt WHERE number = 2", again)
    # The second program may stand at the gate by now: closed before it is opened once more, it would let that go.
    first = gate.end
    gate.wait_for_job()
    os.close(first)
    gate.open()
    told = again.communicate(timeout=PATIENCE_SECONDS)[0]

    assert site.verdicts("waits_in_a_program") == [("succeeded", 2, "lost succeeded")], told
    assert not (site.folder / "traces.overlaps").exists()


def test_a_frozen_scheduler_does_not_block_its_entries(site: Site, gate: Gate) -> None:
    """Another one on its host is well, and the job has ended; what the frozen one says later is kept."""
    site.make_due("waits_for_release")
    frozen = site.start("serve", TEST_LEASE="6")  # long enough for a busy machine to get from here to the freezing
    gate.wait_for_job()
    freeze(frozen.pid, site)
    gate.open()

    well = site.start("serve", TEST_LEASE="6")
    site.wait_for_row("SELECT 1 FROM crons_attempt WHERE outcome = 'lost'", well)
    [(error,)] = site.sql("SELECT error FROM crons_attempt")
    verdicts = site.verdicts("waits_for_release")
    frozen.send_signal(signal.SIGCONT)
    site.wait_for_row("SELECT 1 FROM crons_attempt WHERE late_outcome <> ''", frozen)
    for each in (frozen, well):
        each.send_signal(signal.SIGTERM)
        assert each.wait(PATIENCE_SECONDS) == 0

    assert verdicts == [("lost", 1, "lost")]
    assert f"(pid {frozen.pid} on " in error
    assert "says nothing (stopped?)" in error


def kill_all_but_programs(process: subprocess.Popen[str]) -> None:
    """Kill the scheduler and every Python below it, the fork server first, so that nobody has time to clean up."""
    command = Path(f"/proc/{process.pid}/cmdline").read_bytes()
    below = [pid for pid in descendants(process.pid) if Path(f"/proc/{pid}/cmdline").read_bytes() == command]
    for pid in (*below, process.pid):
        os.kill(pid, signal.SIGKILL)
    process.wait()
