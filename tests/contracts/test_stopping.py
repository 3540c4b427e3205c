"""Timeouts, cancelling, and that nothing of a job stays behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from crons.executors.process import supervisor
from crons.verdicts import Outcome
from tests.contracts.hosting import PATIENCE_SECONDS, Gate, Host, Trail, run_over
from tests.contracts.jobs_under_test import END_AT_SIGTERM
from tests.contracts.selection import all_executors, processes_here, those_that


@those_that("leaves_nothing")
@pytest.mark.parametrize("job", ["leaves_child", "leaves_daemon"])
def test_what_a_job_leaves_behind_is_killed(host: Host, trail: Trail, job: str) -> None:
    attempt = host.start(job, path=trail.path, end="return")

    assert host.ending(attempt).outcome == Outcome.SUCCEEDED
    host.silence(trail)


@those_that("leaves_nothing")
def test_a_program_that_holds_the_output_does_not_hold_the_attempt(host: Host) -> None:
    attempt = host.start("leaves_program")

    assert host.ending(attempt).outcome == Outcome.SUCCEEDED
    assert host.text(attempt) == "started\n"


@processes_here
def test_a_program_of_another_user_holds_the_attempt(
    make_host: Callable[[str], Host], alias: str, trail: Trail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What sudo has started cannot be killed, and works on: no second run may begin beside it."""
    of_others, kill = tmp_path / "of_others", os.kill

    def kill_what_is_ours(pid: int, how: int) -> None:
        if of_others.exists() and pid == int(of_others.read_text() or 0):
            raise PermissionError
        kill(pid, how)

    # The fork server, the supervisor and the job inherit both.
    monkeypatch.setattr(os, "kill", kill_what_is_ours)
    monkeypatch.setattr(supervisor, "SWEEP_PATIENCE_SECONDS", 0.1)
    host = make_host(alias)
    attempt = host.start("leaves_daemon", path=trail.path, end="wait")
    # In its own session, so that what is sent to the job's group does not reach it.
    left = int(host.lines(trail, 2)[1])
    of_others.write_text(str(left))

    host.cancel(attempt, "a person asked")
    host.until(lambda: "cannot be killed" in host.text(attempt, "log"))

    assert host.running() == {attempt}
    command = Path(f"/proc/{left}/comm").read_text().strip()
    assert host.text(attempt, "log") == (
        "crons: the job has ended; its run stays open until these processes of another user, which cannot be killed, "
        f"end: pid {left} ({command})\n"
    )
    of_others.unlink()
    assert host.ending(attempt).outcome == Outcome.CANCELLED
    host.silence(trail)


@those_that("times_out")
@pytest.mark.parametrize("job", ["leaves_child", "leaves_daemon"])
def test_a_timeout_ends_everything_that_the_job_started(host: Host, trail: Trail, job: str) -> None:
    ending, seconds = run_over(host, "timeout", 4, job, trail, end="wait")

    assert (ending.outcome, ending.error) == (Outcome.TIMED_OUT, f"ran longer than its timeout of {seconds} s; killed")
    host.silence(trail)


@those_that("times_out")
def test_a_timeout_ends_a_job_that_ignores_sigterm(host: Host, trail: Trail) -> None:
    ending, _ = run_over(host, "timeout", 4, "ignores_sigterm", trail)

    assert (ending.outcome, ending.exit_code) == (Outcome.TIMED_OUT, -signal.SIGKILL)
    host.silence(trail)


@those_that("times_out")
def test_no_timeout_means_none(host: Host, gate: Gate) -> None:
    attempt = host.start("waits_at_gate", gate=gate.path, timeout=None)
    host.until(lambda: host.text(attempt))
    gate.open()

    assert host.ending(attempt).outcome == Outcome.SUCCEEDED


@those_that("cancels")
@pytest.mark.parametrize(
    ("job", "code"), [("waits", -signal.SIGTERM), ("ignores_sigterm", -signal.SIGKILL), ("returns_on_sigterm", 0)]
)
def test_a_cancelled_job_is_asked_then_killed(
    make_host: Callable[..., Host], alias: str, trail: Trail, job: str, code: int
) -> None:
    """Asked first: a job that ends at SIGTERM is not killed, however long that takes on a busy machine."""
    host = make_host(alias, kill_wait_seconds=PATIENCE_SECONDS if job in END_AT_SIGTERM else 0.3)
    attempt = host.start(job, path=trail.path)
    host.lines(trail, 1)

    host.cancel(attempt, "a person asked")

    ending = host.ending(attempt)
    assert (ending.outcome, ending.error, ending.exit_code) == (Outcome.CANCELLED, "a person asked", code)
    host.silence(trail)


@processes_here
def test_the_first_reason_to_cancel_counts(host: Host, trail: Trail) -> None:
    attempt = host.start("waits", path=trail.path)
    host.lines(trail, 1)

    host.executor.cancel([attempt, 999], "a person asked")
    host.executor.cancel([attempt], "a shutdown asked")

    assert host.ending(attempt).error == "a person asked"


@all_executors
def test_cancelling_what_has_ended_does_nothing(host: Host) -> None:
    attempt = host.start("noop")
    host.ending(attempt)

    host.cancel(attempt, "too late")

    assert host.ending(attempt).outcome == Outcome.SUCCEEDED
