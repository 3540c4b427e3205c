"""What the inline executor does instead of what it does not promise."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from crons.verdicts import Ending, Outcome
from tests.contracts.hosting import Gate, Host

ROOT = Path(__file__).parents[2]
DIES_WITH_ITS_JOB = """
from django.conf import settings
import django
settings.configure(INSTALLED_APPS=["crons"])
django.setup()
from crons.executors.inline import InlineExecutor
from crons.jobs import Job, registry
from tests.contracts.hosting import Host
from tests.contracts.jobs_under_test import BODIES
registry.jobs = {name: Job(name, each) for name, each in BODIES.items()}
Host(InlineExecutor(alias="inline")).run("exits_at_once", code=3)
print("unreachable")
"""


@pytest.fixture
def inline(make_host: Callable[[str], Host]) -> Host:
    return make_host("inline")


def test_what_has_not_begun_is_cancelled(inline: Host) -> None:
    attempt = inline.start("raises")

    inline.cancel(attempt, "a person asked")

    assert inline.ending(attempt) == Ending(Outcome.CANCELLED, "a person asked")


def test_what_runs_is_not_cancelled(inline: Host, gate: Gate) -> None:
    """Nothing can end a function in its caller's own process."""
    _open_at_the_first_renewal(inline, gate)
    attempt = inline.start("waits_at_gate", gate=gate.path, lease=0.3)
    inline.ask_to_cancel(attempt, "cancelled by ada")

    assert inline.ending(attempt).outcome == Outcome.SUCCEEDED


def test_a_timeout_ends_nothing(inline: Host) -> None:
    """The job ends by itself, and has succeeded although its time was over."""
    assert inline.run("noop", timeout=0).outcome == Outcome.SUCCEEDED


def test_the_lease_is_renewed_from_a_thread(inline: Host, gate: Gate) -> None:
    _open_at_the_first_renewal(inline, gate)
    attempt = inline.start("waits_at_gate", gate=gate.path, lease=0.3)

    assert inline.ending(attempt).outcome == Outcome.SUCCEEDED
    # How often depends on how fast the machine is: the job may need a moment to go on.
    assert set(inline.writer.renewed) == {frozenset({attempt})}


def test_the_process_is_not_measured(inline: Host) -> None:
    """It is the caller's, and did other things as well."""
    ending = inline.run("floods", blocks=20, block_bytes=2**20)

    assert (ending.outcome, ending.cpu_seconds, ending.peak_memory_bytes) == (Outcome.SUCCEEDED, None, None)


def test_what_a_program_prints_goes_to_the_terminal(inline: Host, capfd: pytest.CaptureFixture[str]) -> None:
    """Only what passes through sys.stdout and sys.stderr is kept; that shows on the terminal too."""
    attempt = inline.start("runs_programs")

    inline.ending(attempt)
    assert (inline.text(attempt), inline.text(attempt, "stderr")) == ("before\nafter\n", "")
    shown = capfd.readouterr()
    assert (shown.out, shown.err) == ("before\nfrom the child\nafter\n", "its error\n")


def test_a_thread_that_the_job_leaves_is_not_waited_for(inline: Host, gate: Gate, tmp_path: Path) -> None:
    """It goes on beside what the process does next."""
    before = set(threading.enumerate())
    ending = inline.run("leaves_thread", gate=gate.path, path=str(tmp_path / "done"))
    [left] = set(threading.enumerate()) - before

    assert ending.outcome == Outcome.SUCCEEDED
    assert not (tmp_path / "done").exists()
    gate.open()
    left.join()
    assert (tmp_path / "done").read_text() == "thread\n"


def test_a_job_that_exits_takes_its_caller_along() -> None:
    """Nothing says how it ended: another process finds that the lease is over."""
    done = subprocess.run(
        [sys.executable, "-c", DIES_WITH_ITS_JOB], capture_output=True, text=True, cwd=ROOT, check=False
    )

    assert (done.returncode, done.stderr) == (3, "")
    assert "unreachable" not in done.stdout


def _open_at_the_first_renewal(host: Host, gate: Gate) -> None:
    renew = host.writer.renew

    def renew_and_open(attempts: frozenset[int]) -> object:
        if not host.writer.renewed:
            gate.open()
        return renew(attempts)

    host.writer.renew = renew_and_open  # type: ignore[method-assign,assignment] # the thread lets the job go on
