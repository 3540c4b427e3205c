"""An attempt whose process could not be started has not failed: it is refused, and the reason is named."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crons.executors import capture
from crons.verdicts import Outcome
from tests.contracts.hosting import Host
from tests.contracts.selection import processes_here


@processes_here
def test_an_attempt_without_a_process_is_refused(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was begun, and its job was not: that is no failure of the job. The limit that was hit is named."""
    with monkeypatch.context() as full:
        full.setattr(os, "pipe", _too_many_open_files)
        attempt = host.start("noop")
        why = host.refusal(attempt)

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert why == (
        "the job's process could not be started: [Errno 24] Too many open files "
        f"(the limit of open files, RLIMIT_NOFILE is {soft})"
    )
    assert host.executor.free() == 0, "it rests"
    assert host.writer.finished == {}


def _too_many_open_files() -> tuple[int, int]:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


@processes_here
@pytest.mark.parametrize("which", ["fork server", "supervisor"])
def test_a_fork_that_is_refused_refuses_the_attempt(
    make_host: Callable[[str], Host], alias: str, which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork, mark = os.fork, tmp_path / "no more processes"

    def full() -> int:
        if mark.exists():
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return fork()

    with monkeypatch.context() as patched:
        patched.setattr(os, "fork", full)
        host = make_host(alias)
    if which == "supervisor":
        host.run("noop")
    mark.touch()

    why = host.refusal(host.start("noop"))
    mark.unlink()

    assert why.startswith(
        "the job's process could not be started: [Errno 11] Resource temporarily unavailable (the limit of processes, "
    )
    assert list(host.writer.finished) == ([1] if which == "supervisor" else [])


@processes_here
def test_a_program_that_the_machine_has_no_room_for_refuses_the_attempt(
    make_host: Callable[[str], Host], alias: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job is that program, so nothing of it has begun; one that is not there has failed."""
    popen, mark = subprocess.Popen, tmp_path / "no more files"

    def full(*args: Any, **options: Any) -> Any:
        if mark.exists():
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return popen(*args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "Popen", full)
        host = make_host(alias)
    mark.touch()

    why = host.refusal(host.start("starts_a_program"))
    mark.unlink()

    assert why.startswith("the job's process could not be started: [Errno 24] Too many open files (the limit of open ")
    assert host.writer.finished == {}
    assert host.run("starts_a_program").outcome == Outcome.SUCCEEDED
    assert host.run("starts_a_program_that_is_not_there").outcome == Outcome.FAILED


@processes_here
def test_a_process_that_ends_before_the_call_refuses_the_attempt(
    make_host: Callable[[str], Host], alias: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of memory on its way there, say."""
    redirect, mark = capture.redirect, tmp_path / "mark"

    def fails(*given: Any) -> None:
        if mark.exists():
            raise MemoryError
        redirect(*given)

    mark.touch()
    with monkeypatch.context() as patched:
        patched.setattr(capture, "redirect", fails)
        host = make_host(alias)

    why = host.refusal(host.start("noop"))
    mark.unlink()

    assert why == "the job's process ended before the job was called: it exited with 70"
