"""Supervisors, fork servers and hosts that die or stop: what ran is lost or goes on, and others take over."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from crons.executors.process import endings, hosted
from crons.executors.process.kernel import descendants
from crons.hosts import instances
from crons.verdicts import Ending, Outcome
from tests.contracts.hosting import Gate, Host, Trail, kill_and_wait, parent_of
from tests.contracts.selection import processes_here, those_that


@those_that("leaves_nothing")
def test_a_vanished_supervisor_loses_its_job(host: Host, trail: Trail) -> None:
    attempt = host.start("waits", path=trail.path)
    _, supervisor = host.lines(trail, 1)[0].split()

    os.kill(int(supervisor), signal.SIGKILL)

    assert host.ending(attempt) == Ending(Outcome.LOST, endings.VANISHED)
    host.silence(trail)


@those_that("leaves_nothing")
@pytest.mark.parametrize("job", ["leaves_child", "leaves_daemon"])
def test_what_a_vanished_supervisor_watched_is_killed(host: Host, trail: Trail, job: str) -> None:
    attempt = host.start(job, path=trail.path, end="wait")
    supervisor = parent_of(int(host.lines(trail, 2)[0]))

    os.kill(supervisor, signal.SIGKILL)

    assert host.ending(attempt).outcome == Outcome.LOST
    host.silence(trail)


@those_that("isolates")
def test_a_supervisor_that_died_idle_is_replaced(host: Host) -> None:
    """An attempt handed to it has not begun: another supervisor takes it."""
    first = host.start("names_its_supervisor")
    host.ending(first)
    kill_and_wait(int(host.text(first)))

    assert host.run("noop").outcome == Outcome.SUCCEEDED


@processes_here
def test_a_supervisor_serves_one_attempt_after_another(host: Host) -> None:
    """One fork for each attempt, not two."""
    first, second = [host.start("names_its_supervisor") for _ in range(2)]
    host.ending(first)
    host.ending(second)

    third = host.start("names_its_supervisor")

    host.ending(third)
    assert host.text(third) in {host.text(first), host.text(second)}


@processes_here
def test_a_stopped_fork_server_is_replaced(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for it has not begun, and does not stay running for ever."""
    first, second = host.start("names_its_supervisor"), host.start("names_its_supervisor")
    supervisors = [int(host.text(each)) for each in (first, second) if host.ending(each)]
    monkeypatch.setattr(hosted, "START_PATIENCE_SECONDS", 0.5)
    server = parent_of(supervisors[0])
    os.kill(server, signal.SIGSTOP)
    for pid in supervisors:
        kill_and_wait(pid)

    why = host.refusal(host.start("noop"))

    monkeypatch.undo()
    assert why == "the fork server was stuck, and has been replaced"
    assert not Path(f"/proc/{server}").exists()
    assert host.run("noop").outcome == Outcome.SUCCEEDED


@processes_here
def test_an_idle_supervisor_that_is_stopped_refuses_its_attempt(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """It took the order, and never said that it begins."""
    first = host.start("names_its_supervisor")
    host.ending(first)
    monkeypatch.setattr(hosted, "START_PATIENCE_SECONDS", 0.5)
    os.kill(int(host.text(first)), signal.SIGSTOP)

    why = host.refusal(host.start("noop", timeout=None))

    monkeypatch.undo()
    assert why == "the process that should have started the job vanished before it did"


@processes_here
def test_a_supervisor_that_is_stopped_is_replaced(host: Host, trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would end its job in time."""
    monkeypatch.setattr(hosted, "SUPERVISOR_PATIENCE_SECONDS", 0.5)

    ending = host.run("stops_its_supervisor", path=trail.path, timeout=3)

    assert ending == Ending(Outcome.LOST, endings.VANISHED)
    host.silence(trail)


@processes_here
def test_a_killed_fork_server_is_replaced_at_once(host: Host, trail: Trail, gate: Gate) -> None:
    """What runs goes on and ends as it should, and the next attempt is begun."""
    waiting = host.start("waits_at_gate", gate=gate.path)
    killed = host.start("waits", path=trail.path, timeout=5)
    _, supervisor = host.lines(trail, 1)[0].split()

    kill_and_wait(parent_of(int(supervisor)))
    third = host.ending(host.start("noop"))
    gate.open()

    assert third.outcome == Outcome.SUCCEEDED
    assert host.ending(waiting).outcome == Outcome.SUCCEEDED
    assert host.ending(killed).outcome == Outcome.TIMED_OUT
    assert not host.executor.broken  # type: ignore[attr-defined] # only this one has processes


@processes_here
def test_without_both_fork_servers_an_executor_is_broken(host: Host, gate: Gate) -> None:
    """What runs goes on, and a supervisor that is left serves on; only a new process mends it."""
    waiting = host.start("waits_at_gate", gate=gate.path)
    named = host.start("names_its_supervisor")
    host.ending(named)
    server = parent_of(int(host.text(named)))
    spare = next(each for each in descendants(server) if parent_of(each) == server and not descendants(each))

    for each in (spare, server):
        os.kill(each, signal.SIGKILL)
    host.until(lambda: host.executor.broken)  # type: ignore[attr-defined] # only this one has processes
    gate.open()

    assert host.executor.free() == 0
    assert host.ending(waiting).outcome == Outcome.SUCCEEDED


@processes_here
@pytest.mark.parametrize("job", ["waits", "ignores_sigterm", "leaves_child", "leaves_daemon"])
def test_a_killed_host_takes_everything_along(alias: str, trail: Trail, job: str) -> None:
    """Its instance is gone when its last process is: that is what others may rely on."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.contracts.host_under_test", job, trail.path],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as host:
        assert host.stdout is not None
        name, boot = host.stdout.readline().split()
        trail.wait_for_lines(2 if job.startswith("leaves") else 1)
        was_gone = instances.is_gone(name, boot)
        family = [os.pidfd_open(pid) for pid in descendants(host.pid)]

        host.kill()
        trail.wait_until_closed()
        host.stdout.read()  # the fork server and the supervisors hold it as well
        # One that ends closes what it holds one by one: until the kernel says that it has ended, some may be open.
        for life in family:
            select.select([life], [], [])
            os.close(life)

        assert not was_gone
        assert instances.is_gone(name, boot)


@processes_here
def test_closing_ends_what_runs(host: Host, trail: Trail, make_host: Callable[[str], Host], alias: str) -> None:
    other = make_host(alias)
    other.start("leaves_daemon", path=trail.path, end="wait")
    other.lines(trail, 2)

    other.executor.close()

    assert trail.is_closed()
    assert other.writer.finished == {}
