"""kill -9 at every point of a run's life: the promised verdict, the promised number of effects, no hole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.acceptance.conftest import Site, wait_until_nobody_reads

ONCE = 1
KEYS_OF_ONE_RUN = 1


@pytest.mark.parametrize(
    ("point", "entry", "verdict", "effects"),
    [
        # Nothing had happened yet: the next tick does it all.
        ("before record commits", "plain", ("succeeded", 1, "succeeded"), 1),
        # A due run belongs to nobody, so also a job that is not idempotent is safe.
        ("recorded, not begun", "plain", ("succeeded", 1, "succeeded"), 1),
        ("before begin commits", "plain", ("succeeded", 1, "succeeded"), 1),
        # Begun: it may have run, nobody can know, so it is lost, unless a second time does no harm.
        ("begun, not started", "plain", ("lost", 1, "lost"), 0),
        ("begun, not started", "harmless", ("succeeded", 2, "lost succeeded"), 1),
        ("done, finish not committed", "plain", ("lost", 1, "lost"), 1),
        ("done, finish not committed", "harmless", ("succeeded", 2, "lost succeeded"), 2),
        # The verdict is committed: nothing is left to do.
        ("finish committed", "plain", ("succeeded", 1, "succeeded"), 1),
    ],
)
def test_killed_at(site: Site, point: str, entry: str, verdict: tuple[str, int, str], effects: int) -> None:
    """Each row of the crash table: what the next tick finds, and what had really happened."""
    site.make_due(entry)

    site.crash(point, "tick")
    site.crons("tick")
    site.crons("tick")

    assert site.verdicts(entry) == [verdict]
    traces = site.traces()
    assert len(traces) == effects
    assert len({key for _, key, _ in traces}) == min(effects, KEYS_OF_ONE_RUN)
    tokens = [token for _, _, token in traces]
    assert tokens == sorted(set(tokens))


def test_killed_while_the_job_runs(site: Site, tmp_path: Path) -> None:
    """The supervisor takes the job along; the kernel tells the next tick at once that nothing is left of it."""
    os.mkfifo(tmp_path / "gate")
    site.make_due("waits_for_release")
    process = site.start("tick")
    gate = os.open(tmp_path / "gate", os.O_WRONLY)  # opens once the job reads

    process.kill()
    process.wait()
    wait_until_nobody_reads(gate)
    site.crons("tick")

    assert site.verdicts("waits_for_release") == [("lost", 1, "lost")]
    assert len(site.traces()) == ONCE
    os.close(gate)
