"""A job's process is its own: what it gets, what it may break, and how it ends as an interpreter does."""

from __future__ import annotations

import gzip
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from crons.verdicts import Outcome
from tests.contracts.hosting import Gate, Host, Trail, run_over
from tests.contracts.selection import processes_here, those_that


@those_that("isolates")
def test_a_job_gets_a_process_as_new(host: Host) -> None:
    """Own process group, in the supervisor's session; signals as a program gets them; nothing to read."""
    attempt = host.start("prints_its_signals")

    host.ending(attempt)
    assert host.text(attempt) == "SIG_DFL SIG_DFL\nTrue True True\n"


@those_that("isolates")
def test_each_attempt_draws_other_numbers(host: Host) -> None:
    first, second = host.start("draws"), host.start("draws")

    host.ending(first)
    host.ending(second)
    assert host.text(first) != host.text(second)


@those_that("isolates")
@pytest.mark.parametrize("job", ["closes_its_output", "closes_everything"])
def test_a_job_may_close_what_it_did_not_open(host: Host, job: str) -> None:
    """The verdict is what the job did: what it says of its end needs no descriptor."""
    assert host.run(job).outcome == Outcome.SUCCEEDED


@those_that("isolates")
@pytest.mark.parametrize(("fails", "outcome"), [(False, Outcome.SUCCEEDED), (True, Outcome.FAILED)])
def test_nothing_of_ours_is_written_to_a_jobs_own_files(
    host: Host, tmp_path: Path, fails: bool, outcome: Outcome
) -> None:
    """Report and log records went where their descriptors had been: two databases lost their headers."""
    ending = host.run("opens_files_of_its_own", folder=str(tmp_path), fails=fails)

    assert (ending.outcome, ending.error[-28:]) == (outcome, "LookupError: no customer 42\n" if fails else "")
    assert {each.read_bytes() for each in tmp_path.glob("[0-9]*")} == {b"mine"}


@those_that("keeps_apart")
@pytest.mark.parametrize("data", ["[]", "{}", "[" * 5000, "\\x00\\xff", '{"outcome": "succeeded"}\n'])
def test_a_job_that_scribbles_on_all_descriptors_fails_alone(host: Host, data: str) -> None:
    """`[]` instead of a report was a TypeError in the scheduler, and the attempt ran for ever."""
    ending = host.run("writes_to_all_descriptors", data=data)

    assert ending.outcome == Outcome.FAILED
    assert ending.error == "the process exited with 0 before the job returned (os._exit?)"


@processes_here
@pytest.mark.django_db
def test_a_job_may_close_and_open_connections(host: Host) -> None:
    attempt = host.start("uses_database")

    assert host.ending(attempt).outcome == Outcome.SUCCEEDED
    assert host.text(attempt) == "1\n"


@those_that("isolates")
def test_a_thread_is_waited_for(host: Host, gate: Gate, tmp_path: Path) -> None:
    """A plain interpreter does not end before its threads."""
    attempt = host.start("leaves_thread", gate=gate.path, path=str(tmp_path / "done"))
    host.until(lambda: "returned" in host.text(attempt))

    gate.open()

    assert host.ending(attempt).outcome == Outcome.SUCCEEDED
    assert (tmp_path / "done").read_text() == "thread\n"


@those_that("isolates")
def test_a_daemon_thread_is_not_waited_for(host: Host) -> None:
    assert host.run("leaves_daemon_thread").outcome == Outcome.SUCCEEDED


@those_that("isolates")
def test_a_thread_that_does_not_end_is_ended_by_the_timeout(host: Host, trail: Trail) -> None:
    """The job has returned; its attempt has not ended."""
    ending, seconds = run_over(host, "timeout", 1, "leaves_thread_for_ever", trail)

    assert (ending.outcome, ending.error) == (Outcome.TIMED_OUT, f"ran longer than its timeout of {seconds} s; killed")
    host.silence(trail)


@those_that("isolates")
def test_pools_and_child_processes_are_waited_for(host: Host, tmp_path: Path) -> None:
    ending = host.run("leaves_work_to_pools", path=str(tmp_path / "done"))

    assert (ending.outcome, ending.error) == (Outcome.SUCCEEDED, "")
    assert sorted((tmp_path / "done").read_text().split()) == ["child", "pool", "process"]


@those_that("isolates")
def test_atexit_is_called(host: Host, tmp_path: Path) -> None:
    """The last registered first; finalizers are registered at their first use."""
    ending = host.run("leaves_work_to_atexit", path=str(tmp_path / "done"))

    assert (ending.outcome, ending.error) == (Outcome.SUCCEEDED, "")
    assert sorted((tmp_path / "done").read_text().split()) == ["finalizer", "first", "second"]
    assert (tmp_path / "done").read_text().index("second") < (tmp_path / "done").read_text().index("first")


@those_that("isolates")
def test_files_left_open_are_written(host: Host, tmp_path: Path) -> None:
    ending = host.run("leaves_files_open", folder=str(tmp_path))

    assert (ending.outcome, ending.error) == (Outcome.SUCCEEDED, "")
    assert (tmp_path / "text").read_text() == "text"
    assert (tmp_path / "bytes").read_bytes() == b"bytes"
    with gzip.open(tmp_path / "packed", "rt") as packed, zipfile.ZipFile(tmp_path / "archive") as archive:
        assert (packed.read(), archive.read("member")) == ("packed", b"archived")


@those_that("isolates")
def test_what_a_global_holds_is_not_destroyed(host: Host) -> None:
    """The one step that is left out: it takes ten times as long as all of the attempt."""
    attempt = host.start("leaves_an_object")

    assert host.ending(attempt).outcome == Outcome.SUCCEEDED
    assert host.text(attempt) == ""


@those_that("isolates")
def test_temporary_files_are_deleted(host: Host, tmp_path: Path) -> None:
    """A scheduler would fill a disk with those that a script would have left none of."""
    attempt = host.start("leaves_temporary_files", folder=str(tmp_path))

    assert host.ending(attempt).outcome == Outcome.SUCCEEDED
    assert host.text(attempt) == "of of\ndestroyed\n"
    assert list(tmp_path.iterdir()) == []


@those_that("isolates")
def test_shared_memory_is_unlinked(host: Host) -> None:
    """By a process of multiprocessing's own, which was killed with the rest of what the job had started."""
    attempt = host.start("leaves_shared_memory")

    assert host.ending(attempt).outcome == Outcome.SUCCEEDED
    name, existed = host.text(attempt).split()
    assert (existed, Path(f"/dev/shm/{name}").exists()) == ("True", False)


BEFORE_THE_FORK = """
import atexit, glob, os, sys, django
from django.conf import settings
settings.configure(INSTALLED_APPS=["crons"])
django.setup()
from crons.executors.process.executor import ProcessExecutor
from crons.jobs import Job, registry
from tests.contracts.hosting import Host
from tests.contracts.jobs_under_test import BODIES, leave_before_the_fork
folder = sys.argv[1]
leave_before_the_fork(folder)
import gc; gc.freeze()  # as crons does at its start
atexit.register(lambda: open(f"{folder}/ends", "a").write(f"program {os.getpid()}\\n"))
registry.jobs = {name: Job(name, each) for name, each in BODIES.items()}
host = Host(ProcessExecutor(alias="process", max_running=1))
host.executor.prepare()
attempt = host.start("writes_to_what_it_inherits")
assert host.ending(attempt).outcome == "succeeded", host.ending(attempt)
assert glob.glob(f"{folder}/of-the-host-*"), "the job's end deleted the host's folder"
print(os.getpid(), host.text(attempt))
host.executor.close()
"""


def test_what_was_there_before_the_fork_ends_with_whom_it_belongs_to(tmp_path: Path) -> None:
    """A project's callbacks are called as in its commands; the host's, and its files and folders, are the host's."""
    done = subprocess.run(
        [sys.executable, "-c", BEFORE_THE_FORK, str(tmp_path)],
        capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")
    host, job = done.stdout.split()
    ends = (tmp_path / "ends").read_text().splitlines()
    assert sorted(ends) == sorted([f"project {job}", f"project {host}", f"program {host}"])
    assert (tmp_path / "kept").read_text() == "from the host\nfrom the job\n"
