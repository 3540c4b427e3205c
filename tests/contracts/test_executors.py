"""What every executor promises, whatever a job does to its process; and that it goes on afterwards."""

from __future__ import annotations

import atexit
import errno
import gzip
import logging
import os
import queue
import re
import resource
import select
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from logging.handlers import QueueHandler, QueueListener, SocketHandler, SysLogHandler
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pytest_django.fixtures import Settings
from pytest_django.plugin import DjangoDbBlocker

from crons.exceptions import CronsError
from crons.executors import capture, forking
from crons.executors.base import Executor
from crons.executors.inline import InlineExecutor
from crons.executors.process import endings, hosted, kernel, supervisor
from crons.executors.process.executor import ProcessExecutor
from crons.executors.process.kernel import descendants
from crons.hosts import instances
from crons.jobs import Job, registry
from crons.verdicts import Ending, Outcome
from tests.contracts import promises
from tests.contracts.hosting import PATIENCE_SECONDS, Gate, Host, Trail, hidden_connections
from tests.contracts.jobs_under_test import BODIES, spare_what_is_open
from tests.contracts.workers import WorkerHost

EXECUTORS: dict[str, type[Executor]] = {"inline": InlineExecutor, "process": ProcessExecutor}
OPTIONS = {"process": {"max_running": 2, "kill_wait_seconds": 0.3}}
# What a job does to its process has nothing to do with the database: its workers are tried on one.
ELSEWHERE = {"celery": [pytest.mark.needs("redis-server"), pytest.mark.sqlite], "tasks": [pytest.mark.sqlite]}


def of(aliases: Iterable[str]) -> pytest.MarkDecorator:
    """Test these executors."""
    return pytest.mark.parametrize("alias", [pytest.param(each, marks=ELSEWHERE.get(each, ())) for each in aliases])


def those_that(*promised: str) -> pytest.MarkDecorator:
    """Test the executors that promise as much."""
    return of(promises.that(*promised))


all_executors = of(promises.EXECUTORS)
# What patches the executor's own process, or calls what only an object in this process has.
executors_here = of(EXECUTORS)
processes_here = of(["process"])


@pytest.fixture
def make_host(
    monkeypatch: pytest.MonkeyPatch, django_db_blocker: DjangoDbBlocker, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Host]]:
    """Prepares a host; after the test its executor must run one more attempt well, and be closed."""
    monkeypatch.setattr(registry, "jobs", {name: Job(name, each) for name, each in BODIES.items()})
    # On a busy machine a fork may take longer than a scheduler waits: the attempt would be refused, and not tried.
    monkeypatch.setattr(hosted, "START_PATIENCE_SECONDS", PATIENCE_SECONDS)
    hosts: list[Any] = []

    def make(alias: str, **options: object) -> Host:
        if alias in promises.ELSEWHERE:
            hosts.append(WorkerHost(alias, request.getfixturevalue("station")))
            return hosts[-1]
        spare_what_is_open()
        host = Host(EXECUTORS[alias](alias=alias, **{**OPTIONS.get(alias, {}), **options}))
        with hidden_connections(), django_db_blocker.unblock():
            host.executor.prepare()
        hosts.append(host)
        return host

    yield make
    try:
        for host in hosts:
            if not host.is_broken:
                assert host.run("noop").outcome == Outcome.SUCCEEDED, "the executor does not go on"
                assert host.running() == frozenset()
    finally:
        for host in hosts:
            host.close()


@pytest.fixture
def host(alias: str, make_host: Callable[[str], Host]) -> Host:
    return make_host(alias)


@pytest.fixture
def trail(tmp_path: Path) -> Iterator[Trail]:
    trail = Trail(tmp_path / "trail")
    yield trail
    trail.close()


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


# How a job ends


@all_executors
def test_a_job_that_returns_has_succeeded(host: Host) -> None:
    ending = host.run("noop")

    assert (ending.outcome, ending.error) == (Outcome.SUCCEEDED, "")


@all_executors
def test_an_exception_fails_with_its_traceback(host: Host) -> None:
    ending = host.run("raises")

    assert ending.outcome == Outcome.FAILED
    assert ending.error.startswith("Traceback (most recent call last):")
    assert ending.error.endswith("LookupError: no customer 42\n")


@all_executors
def test_a_job_that_gives_up_says_that_it_is_final(host: Host) -> None:
    """Only that: an error of another kind may pass."""
    gives_up = host.start("gives_up")
    ending = host.ending(gives_up)
    fails = host.start("raises")

    assert (ending.outcome, host.is_final(gives_up), host.is_final(fails)) == (Outcome.FAILED, True, False)
    assert "LookupError: no customer 42\n" in ending.error
    assert ending.error.endswith("crons.exceptions.GiveUp: the account is closed\n")


@all_executors
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (None, Ending(Outcome.SUCCEEDED, exit_code=0)),
        (0, Ending(Outcome.SUCCEEDED, exit_code=0)),
        (3, Ending(Outcome.FAILED, "the job called sys.exit(3)", 3)),
        ("no mail server", Ending(Outcome.FAILED, "the job called sys.exit('no mail server')", 1)),
    ],
)
def test_sys_exit_says_how_it_ended(host: Host, code: object, expected: Ending) -> None:
    ending = host.run("exits", code=code)

    assert (ending.outcome, ending.error, ending.exit_code) == (expected.outcome, expected.error, expected.exit_code)


@all_executors
def test_ctrl_c_in_a_job_is_recorded(host: Host) -> None:
    ending = host.run("interrupted")

    assert ending.outcome == Outcome.FAILED
    assert ending.error.endswith("KeyboardInterrupt\n")


@all_executors
def test_a_coroutine_function_is_awaited(host: Host) -> None:
    attempt = host.start("is_async")

    assert host.ending(attempt).outcome == Outcome.SUCCEEDED
    assert host.text(attempt) == "awaited\n"


@executors_here
def test_an_unknown_job_fails_and_says_what_was_meant(host: Host) -> None:
    """Two releases may run side by side: the row may name a job that this one does not have."""
    ending = host.run("nop")

    assert ending == Ending(
        Outcome.FAILED,
        "'nop' is not declared. Did you mean 'noop'? See: manage.py crons list",
        ending.exit_code,
        ending.cpu_seconds,
        ending.peak_memory_bytes,
    )


@all_executors
def test_a_job_knows_its_attempt(host: Host) -> None:
    attempt = host.start("describes_itself", colour="green")

    host.ending(attempt)
    its = host.begun(attempt)
    assert host.text(attempt) == (
        f"{its.entry} {its.key} {its.attempt} {its.number} {its.slot_at} green\n{its.attempt} {its.run} {its.key}\n"
    )
    assert "CRONS_ATTEMPT" not in os.environ


@all_executors
def test_an_endless_error_is_shortened(host: Host) -> None:
    ending = host.run("fails_at_length")

    assert len(ending.error) < 40_000
    assert "characters left out" in ending.error


# What a job writes


@all_executors
def test_output_and_log_keep_their_stream_and_order(host: Host) -> None:
    attempt = host.start("writes_everywhere")

    host.ending(attempt)
    log = host.text(attempt, "log").splitlines()
    assert host.text(attempt) == "first line\nsecond line\n"
    assert host.text(attempt, "stderr") == "a warning\n"
    assert log[0].endswith(" INFO shop.orders: order 7 sent")
    assert log[1].endswith(" ERROR shop: could not send")
    assert log[2] == "Traceback (most recent call last):"
    assert log[-1] == "ValueError: no such customer"


@executors_here
def test_output_is_written_before_the_ending(host: Host) -> None:
    host.run("says", text="hello")

    assert [type(each[0]).__name__ for each in host.writer.asked] == ["Chunk", "Finished"]


@all_executors
def test_secrets_are_hidden_even_when_written_in_pieces(
    make_host: Callable[[str], Host], settings: Settings, monkeypatch: pytest.MonkeyPatch, alias: str
) -> None:
    settings.PAYMENT_API_KEY = "pk-live-0123456789"
    settings.CRONS = {**getattr(settings, "CRONS", {}), "REDACT": ["mother's maiden name"]}
    monkeypatch.setenv("SHOP_DATABASE_URL", "postgres://shop:correct-horse@db/shop")
    host = make_host(alias)

    attempt = host.start(
        "prints_pieces", pieces=["a pk-live", "-0123456789 b ", "corr", "ect-", "horse c mother's maiden name d pk-"]
    )
    failed = host.run("raises_secret", secret="pk-live-0123456789")

    host.ending(attempt)
    assert host.text(attempt) == "a ******** b ******** c ******** d pk-"
    assert failed.error.endswith("RuntimeError: login with ******** refused\n")


@all_executors
def test_nul_is_replaced(host: Host) -> None:
    """PostgreSQL refuses it, and the ending behind it would never be written."""
    attempt = host.start("prints_pieces", pieces=["a\x00b"])

    host.ending(attempt)
    assert host.text(attempt) == "a\N{REPLACEMENT CHARACTER}b"


@all_executors
def test_a_flood_is_kept_from_both_ends(host: Host) -> None:
    attempt = host.start("floods", blocks=2_000, block_bytes=1_000)

    host.ending(attempt)
    head, left_out, tail = re.split(r"\n… ([\d,]+) bytes left out …\n", host.text(attempt))
    assert head.startswith("the first line\nxxx")
    assert tail.endswith("xxx\nthe last line\n")
    assert len(head) == 666_666
    assert 0 < len(tail) <= 333_334
    assert len(head) + int(left_out.replace(",", "")) + len(tail) == 29 + 2_000 * 1_000


# The ledger's silences


@executors_here
def test_a_silent_ledger_is_told_again_until_it_answers(host: Host) -> None:
    """Same token, same numbers: what was stored without an answer is not stored twice."""
    host.writer.silent_calls = 3

    attempt = host.start("says", text="hello")
    host.until(lambda: not host.writer.silent_calls)
    assert host.running() == {attempt}
    host.ending(attempt)

    asked = [each[0] for each in host.writer.asked]
    assert host.text(attempt) == "hello\n"
    assert len({str(each) for each in asked}) == 2
    assert host.running() == frozenset()


@executors_here
def test_an_ending_without_output_is_told_again(host: Host) -> None:
    host.writer.silent_calls = 2

    attempt = host.start("noop")
    host.ending(attempt)

    first, *others = [each[0] for each in host.writer.asked]
    assert others == [first, first]


@executors_here
def test_many_attempts_pass_through_few_places(host: Host) -> None:
    started = 0
    while started < 200 or host.running():
        for _ in range(min(host.executor.free(), 200 - started)):
            host.start("noop")
            started += 1
        host.executor.work(host.writer, 5)

    assert {each.ending.outcome for each in host.writer.finished.values()} == {Outcome.SUCCEEDED}
    assert len(host.writer.finished) == 200


@executors_here
def test_working_ends_when_it_is_woken(host: Host) -> None:
    read_fd, write_fd = os.pipe()
    os.write(write_fd, b"!")

    host.executor.work(host.writer, 10_000, read_fd)

    assert host.writer.asked == []
    os.close(read_fd)
    os.close(write_fd)


@executors_here
def test_closing_twice_is_harmless(host: Host, make_host: Callable[[str], Host], alias: str) -> None:
    other = EXECUTORS[alias](alias=alias)

    other.close()
    other.close()


# Processes of their own


@those_that("keeps_programs_output")
def test_output_of_child_processes_is_captured(host: Host) -> None:
    attempt = host.start("runs_programs")

    host.ending(attempt)
    assert host.text(attempt) == "before\nfrom the child\nafter\n"
    assert host.text(attempt, "stderr") == "its error\n"


@those_that("keeps_programs_output")
def test_output_can_be_read_while_the_job_runs(host: Host, gate: Gate) -> None:
    attempt = host.start("waits_at_gate", gate=gate.path)

    host.until(lambda: host.text(attempt) == "waiting\n")
    assert host.running() == {attempt}
    gate.open()

    assert host.ending(attempt).outcome == Outcome.SUCCEEDED


@those_that("isolates")
def test_characters_are_never_cut(host: Host, gate: Gate) -> None:
    """The euro sign arrives in two reads; a byte that begins nothing is replaced."""
    # Each ends with a new line: no secret begins with one, so that nothing is held back.
    attempt = host.start("writes_in_pieces", pieces=["0ae282", "ac0a", "ff0ae2"], gate=gate.path)
    for seen in ("\n", "\n€\n", "\n€\n\N{REPLACEMENT CHARACTER}\n"):
        host.until(lambda seen=seen: host.text(attempt) == seen)
        gate.open()

    host.ending(attempt)
    assert host.text(attempt) == "\n€\n\N{REPLACEMENT CHARACTER}\n\N{REPLACEMENT CHARACTER}"


@those_that("isolates")
def test_a_hundred_megabytes_are_bounded(host: Host, settings: Settings) -> None:
    attempt = host.start("floods", blocks=100, block_bytes=2**20)

    host.ending(attempt)
    chunks = host.chunks(attempt, "stdout")
    assert sum(len(each.encode()) for each in chunks) <= 1_000_000 + 100
    assert max(len(each) for each in chunks) <= 65_536
    assert "bytes left out …" in host.text(attempt)
    assert host.text(attempt).endswith("the last line\n")


@those_that("isolates")
@pytest.mark.parametrize(
    ("code", "error"),
    [
        (0, "the process exited with 0 before the job returned (os._exit?)"),
        (3, "the process exited with 3 without returning (os._exit?)"),
    ],
)
def test_an_exit_behind_pythons_back_fails(host: Host, code: int, error: str) -> None:
    ending = host.run("exits_at_once", code=code)

    assert (ending.outcome, ending.error, ending.exit_code) == (Outcome.FAILED, error, code)


@those_that("isolates")
def test_a_killed_job_fails_and_names_the_signal(host: Host) -> None:
    """Anybody may have: a guess at memory would send people the wrong way."""
    ending = host.run("kills_itself", number=int(signal.SIGKILL))

    assert ending.outcome == Outcome.FAILED
    assert ending.error == "the process was killed by SIGKILL"
    assert ending.exit_code == -signal.SIGKILL


@processes_here
def test_a_job_that_the_kernel_killed_for_memory_is_told_so(
    make_host: Callable[[str], Host], alias: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel counts such kills: only its word is taken, also where the job was gone before its supervisor woke."""
    counts = tmp_path / "memory.events"
    counts.write_text("max 7\noom_kill 2\n")
    watch = supervisor.Watch.__init__

    def slow_watch(self: supervisor.Watch, pid: int, *rest: Any) -> None:
        with suppress(ChildProcessError):  # the attempt that make_host runs at the end
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        watch(self, pid, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(kernel, "oom_kills", lambda: kernel._oom_kills_in(counts))
        patched.setattr(supervisor.Watch, "__init__", slow_watch)
        host = make_host(alias)

    ending = host.run("counts_a_kill_and_dies", counts=str(counts))

    assert ending.error == (
        "the process was killed by SIGKILL (out of memory: the kernel has killed for it meanwhile, see dmesg)"
    )


@those_that("isolates")
def test_a_crashed_interpreter_leaves_its_stack(host: Host) -> None:
    attempt = host.start("kills_itself", number=int(signal.SIGSEGV))

    ending = host.ending(attempt)
    assert (ending.outcome, ending.error) == (Outcome.FAILED, "the process was killed by SIGSEGV")
    assert "in kills_itself" in host.text(attempt, "stderr")


@those_that("isolates")
def test_a_job_without_memory_fails(host: Host) -> None:
    ending = host.run("runs_out_of_memory")

    assert ending.outcome == Outcome.FAILED
    assert "MemoryError" in ending.error


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
def test_each_attempt_draws_other_numbers(host: Host) -> None:
    first, second = host.start("draws"), host.start("draws")

    host.ending(first)
    host.ending(second)
    assert host.text(first) != host.text(second)


@those_that("isolates")
def test_a_job_gets_a_process_as_new(host: Host) -> None:
    """Own process group, in the supervisor's session; signals as a program gets them; nothing to read."""
    attempt = host.start("tells_its_signals")

    host.ending(attempt)
    assert host.text(attempt) == "SIG_DFL SIG_DFL\nTrue True True\n"


@those_that("measures")
def test_usage_is_recorded(host: Host) -> None:
    ending = host.run("floods", blocks=20, block_bytes=2**20)

    assert ending.cpu_seconds is not None
    assert ending.cpu_seconds > 0
    assert ending.peak_memory_bytes is not None
    assert ending.peak_memory_bytes > 2**20


# A job's process ends as an interpreter does


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
    ending = host.run("leaves_thread_for_ever", path=trail.path, timeout=1)

    assert (ending.outcome, ending.error) == (Outcome.TIMED_OUT, "ran longer than its timeout of 1 s; killed")
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


@those_that("isolates")
def test_what_a_library_in_c_prints_is_kept(host: Host) -> None:
    """It has a buffer of its own, which exit() writes out, and nothing else."""
    attempt = host.start("prints_in_c")

    assert host.ending(attempt).outcome == Outcome.SUCCEEDED
    assert host.text(attempt) == "from a library in C"


SEVEN = "ValueError: invalid literal for int() with base 10: 'seven'\n"


@those_that("isolates")
@pytest.mark.parametrize(
    ("job", "first", "last"),
    [
        ("fails_in_thread", "Nobody caught this in the thread 'reader':\n", SEVEN),
        ("fails_in_atexit", "An atexit callback failed:\n", SEVEN),
        ("fills_the_disk", "<_io.TextIOWrapper name='/dev/full' ", "OSError: [Errno 28] No space left on device\n"),
        ("raises_and_fails_in_atexit", "Traceback (most recent call last):\n", SEVEN),
    ],
)
def test_what_fails_after_the_return_is_the_attempts_failure(host: Host, job: str, first: str, last: str) -> None:
    """An interpreter prints it, and exits with 0: here the verdict is what people see."""
    ending = host.run(job)

    assert ending.outcome == Outcome.FAILED
    assert ending.error.startswith(first)
    assert ending.error.endswith(last)


@those_that("isolates")
def test_an_error_of_the_job_stands_before_one_of_its_end(host: Host) -> None:
    error = host.run("raises_and_fails_in_atexit").error

    assert error.index("LookupError: no customer 42\n") < error.index("An atexit callback failed:\n")


@those_that("isolates")
@pytest.mark.parametrize(("code", "outcome"), [(0, Outcome.SUCCEEDED), (3, Outcome.FAILED)])
def test_sys_exit_in_atexit_says_how_it_ended(host: Host, code: int, outcome: Outcome) -> None:
    assert host.run("fails_in_atexit", code=code).outcome == outcome


@those_that("isolates")
def test_an_exit_in_atexit_hides_no_lost_work(host: Host) -> None:
    """What atexit would still have called was not called."""
    ending = host.run("exits_in_atexit", code=0)

    assert (ending.outcome, ending.error) == (
        Outcome.FAILED,
        "the process exited with 0 before the job returned (os._exit?)",
    )


@those_that("isolates")
def test_a_future_keeps_its_error_for_who_asks(host: Host) -> None:
    """As in any interpreter: nobody hears of it who does not call result()."""
    assert host.run("fails_in_pool").outcome == Outcome.SUCCEEDED


@those_that("isolates")
def test_an_error_in_a_daemon_thread_fails_no_attempt(host: Host) -> None:
    """Such a thread is a library's own, and nobody waits for what it does."""
    assert host.run("fails_in_thread", daemon=True).outcome == Outcome.SUCCEEDED


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


@those_that("isolates")
def test_a_failed_job_is_logged_in_its_own_process(host: Host) -> None:
    """What reports errors to a tracker hangs on logging there; the attempt keeps its error without."""
    attempt = host.start("raises_before_a_handler")

    assert host.ending(attempt).error.endswith("LookupError: no customer 42\n")
    said = f"ERROR crons.job {host.begun(attempt).entry} failed: LookupError no customer 42\n"
    assert (host.text(attempt), host.text(attempt, "log")) == (said, "")


# Nothing stays behind


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


@those_that("isolates")
def test_a_forked_copy_of_the_job_has_no_say(host: Host) -> None:
    assert host.run("forks_and_returns_twice").outcome == Outcome.SUCCEEDED


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
    ending = host.run(job, path=trail.path, end="wait", timeout=4)

    assert (ending.outcome, ending.error) == (Outcome.TIMED_OUT, "ran longer than its timeout of 4 s; killed")
    host.silence(trail)


@those_that("times_out")
def test_a_timeout_ends_a_job_that_ignores_sigterm(host: Host, trail: Trail) -> None:
    ending = host.run("ignores_sigterm", path=trail.path, timeout=4)

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
    ("job", "code", "patience_seconds"),
    [("waits", -signal.SIGTERM, 300), ("ignores_sigterm", -signal.SIGKILL, 0.3), ("returns_on_sigterm", 0, 300)],
)
def test_a_cancelled_job_is_asked_then_killed(
    make_host: Callable[[str], Host], alias: str, trail: Trail, job: str, code: int, patience_seconds: float
) -> None:
    host = make_host(alias, kill_wait_seconds=patience_seconds)
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


def test_inline_cancels_what_has_not_begun(make_host: Callable[[str], Host]) -> None:
    host = make_host("inline")
    attempt = host.start("raises")

    host.cancel(attempt, "a person asked")

    assert host.ending(attempt) == Ending(Outcome.CANCELLED, "a person asked")


# Leases


@those_that("isolates")
def test_leases_are_renewed_while_jobs_run(host: Host, gate: Gate) -> None:
    """Five renewals at a quarter of a lease are more than a lease's time."""
    attempt = host.start("waits_at_gate", gate=gate.path, lease=6)

    host.until(lambda: host.renewals(attempt) >= 5)
    gate.open()

    assert host.ending(attempt).outcome == Outcome.SUCCEEDED


@processes_here
def test_a_lease_that_cannot_be_renewed_ends_the_job(host: Host, trail: Trail) -> None:
    host.writer.renews_nothing = True

    ending = host.run("ignores_sigterm", path=trail.path, lease=4)

    assert (ending.outcome, ending.error) == (Outcome.LOST, endings.LEASE_ENDED)
    host.silence(trail)


@those_that("leaves_nothing")
def test_an_attempt_that_is_no_longer_ours_is_killed(host: Host, trail: Trail) -> None:
    attempt = host.start("ignores_sigterm", path=trail.path, lease=9)
    host.lines(trail, 1)

    host.disown(attempt)

    assert host.ending(attempt).outcome == Outcome.LOST
    host.silence(trail)


@those_that("cancels")
def test_a_renewal_brings_the_wish_to_cancel(host: Host, trail: Trail) -> None:
    attempt = host.start("waits", path=trail.path, lease=9)
    host.lines(trail, 1)

    host.ask_to_cancel(attempt, "cancelled by ada")

    ending = host.ending(attempt)
    assert (ending.outcome, ending.error) == (Outcome.CANCELLED, "cancelled by ada")


def test_inline_renews_from_a_thread(make_host: Callable[[str], Host], gate: Gate) -> None:
    host = make_host("inline")
    renew = host.writer.renew

    def renew_and_open(attempts: frozenset[int]) -> object:
        if not host.writer.renewed:
            gate.open()
        return renew(attempts)

    host.writer.renew = renew_and_open  # type: ignore[method-assign,assignment] # the thread lets the job go on
    attempt = host.start("waits_at_gate", gate=gate.path, lease=0.3)

    assert host.ending(attempt).outcome == Outcome.SUCCEEDED
    # How often depends on how fast the machine is: the job may need a moment to go on.
    assert set(host.writer.renewed) == {frozenset({attempt})}


# Deaths in the family


def _parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


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
    supervisor = _parent_of(int(host.lines(trail, 2)[0]))

    os.kill(supervisor, signal.SIGKILL)

    assert host.ending(attempt).outcome == Outcome.LOST
    host.silence(trail)


@those_that("isolates")
def test_a_supervisor_that_died_idle_is_replaced(host: Host) -> None:
    """An attempt handed to it has not begun: another supervisor takes it."""
    first = host.start("names_its_supervisor")
    host.ending(first)
    supervisor = int(host.text(first))
    life = os.pidfd_open(supervisor)
    os.kill(supervisor, signal.SIGKILL)
    select.select([life], [], [])
    os.close(life)

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


# What never started has not failed


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


@processes_here
def test_a_stopped_fork_server_is_replaced(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for it has not begun, and does not stay running for ever."""
    first, second = host.start("names_its_supervisor"), host.start("names_its_supervisor")
    supervisors = [int(host.text(each)) for each in (first, second) if host.ending(each)]
    monkeypatch.setattr(hosted, "START_PATIENCE_SECONDS", 0.5)
    server = _parent_of(supervisors[0])
    os.kill(server, signal.SIGSTOP)
    for pid in supervisors:
        _kill_and_wait(pid)

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


def _kill_and_wait(pid: int) -> None:
    life = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    select.select([life], [], [])
    os.close(life)


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

    _kill_and_wait(_parent_of(int(supervisor)))
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
    server = _parent_of(int(host.text(named)))
    spare = next(each for each in descendants(server) if _parent_of(each) == server and not descendants(each))

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


# Preparing


def test_an_open_connection_is_refused(django_db_blocker: DjangoDbBlocker, tmp_path: Path) -> None:
    """Forked jobs would share it, and speak all at once over one socket."""
    script = (
        "import django; from django.conf import settings; settings.configure("
        "INSTALLED_APPS=['crons'], DATABASES={'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': 'x.db'}})\n"
        "django.setup()\n"
        "from django.db import connection; connection.ensure_connection()\n"
        "from crons.executors.process.executor import ProcessExecutor\n"
        "ProcessExecutor(alias='process').prepare()\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr.strip().endswith(
        "prepare() came after a database connection was opened (default): forked jobs would share it. "
        "Prepare first, or close it with django.db.connections.close_all()."
    )


def test_an_open_pool_is_refused(monkeypatch: pytest.MonkeyPatch, make_host: Callable[[str], Host]) -> None:
    """close_all() hands a connection back to its pool, which goes on in each forked process."""

    class Pooled:
        alias = "default"
        _connection_pools: ClassVar = {"default": object()}

    monkeypatch.setattr(forking, "connections", connections_of(default=Pooled()))

    with pytest.raises(CronsError) as refused:
        make_host("process")

    assert str(refused.value) == (
        "prepare() came while a pool of database connections was open (default): forked jobs would share them. "
        "Prepare first, or close it with django.db.connections['default'].close_pool()."
    )


def test_the_pools_of_all_databases_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where this thread has asked only one of them, or none."""
    pools: dict[str, object] = {"default": object(), "reports": object()}

    class Pooled:
        _connection_pools = pools

        def __init__(self, alias: str) -> None:
            self.alias = alias

        def close_pool(self) -> None:
            del pools[self.alias]

    monkeypatch.setattr(forking, "connections", connections_of(**{alias: Pooled(alias) for alias in pools}))

    forking.close_shared()

    assert pools == {}


def connections_of(**pooled: object) -> Any:
    class Connections(dict[str, object]):
        settings: ClassVar = {alias: {"OPTIONS": {"pool": True}} for alias in pooled}

        def all(self, *, initialized_only: bool) -> list[object]:
            return []

        def close_all(self) -> None:
            """Hand them back to their pools."""

    return Connections(pooled)


def test_a_connection_that_stays_open_is_at_its_end_in_a_job(
    make_host: Callable[[str], Host], caplog: pytest.LogCaptureFixture
) -> None:
    """A cache's, an SDK's: nothing here knows how to close it, and two processes must not speak over it."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as ours,
        server.accept()[0] as theirs,
    ):
        with caplog.at_level(logging.INFO, "crons.executors"):
            host = make_host("process")
        attempt = host.start("speaks_over", descriptor=ours.fileno())
        assert host.ending(attempt).outcome == Outcome.SUCCEEDED
        ours.sendall(b"from the host")
        heard = theirs.recv(100)

    assert host.text(attempt) == "b'' BrokenPipeError\n"
    assert heard == b"from the host"
    assert caplog.messages[-1].startswith("Forking a process that is connected to 127.0.0.1:")


@pytest.mark.parametrize("kind", [queue.Queue, queue.SimpleQueue])
@pytest.mark.parametrize("stops", ["in the project's atexit", "nowhere"])
def test_a_log_queue_is_written_by_the_job_itself(
    make_host: Callable[[str], Host], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: Any, stops: str
) -> None:
    """The thread that empties it is not there after the fork: what a job logged was lost."""
    waiting, written = kind(), logging.FileHandler(tmp_path / "log")
    listener = QueueListener(waiting, written)
    listener.start()
    monkeypatch.setattr(logging.getLogger("shop"), "handlers", [QueueHandler(waiting)])
    if stops == "in the project's atexit":
        atexit.register(listener.stop)
    host = make_host("process")
    atexit.unregister(listener.stop)

    ending = host.run("logs_to_the_shop")
    logging.getLogger("shop").error("from the host")
    listener.stop()
    written.close()

    assert (ending.outcome, ending.error) == (Outcome.SUCCEEDED, "")
    assert (tmp_path / "log").read_text() == "from the job\nfrom the host\n"


@pytest.mark.parametrize("handler", [SocketHandler, partial(SysLogHandler, socktype=socket.SOCK_STREAM)])
def test_a_log_handler_connects_anew_after_a_fork(
    make_host: Callable[[str], Host], monkeypatch: pytest.MonkeyPatch, handler: Callable[..., logging.Handler]
) -> None:
    """Ended under its hands it would lose the first record of each job."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        shop = handler(*address) if handler is SocketHandler else handler(address)
        monkeypatch.setattr(logging.getLogger("shop"), "handlers", [shop])
        logging.getLogger("shop").error("before the fork")
        forking.close_shared()
        host = make_host("process")
        host.run("logs_to_the_shop")
        records = []
        for _ in range(2):
            with server.accept()[0] as connection:
                records.append(connection.recv(4096))
        shop.close()

    assert [b"before the fork" in records[0], b"from the job" in records[1]] == [True, True]


def test_threads_are_warned_of(make_host: Callable[[str], Host], caplog: pytest.LogCaptureFixture) -> None:
    import threading

    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, name="statsd")
    thread.start()

    with caplog.at_level(logging.WARNING, "crons.executors"):
        make_host("process")

    stop.set()
    thread.join()
    assert "statsd" in caplog.text
