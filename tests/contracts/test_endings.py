"""How an attempt ends, and what is recorded of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from crons.executors.process import kernel, supervisor
from crons.verdicts import Ending, Outcome
from tests.contracts.hosting import Host
from tests.contracts.selection import all_executors, executors_here, processes_here, those_that

SEVEN = "ValueError: invalid literal for int() with base 10: 'seven'\n"


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


@those_that("measures")
def test_usage_is_recorded(host: Host) -> None:
    ending = host.run("floods", blocks=20, block_bytes=2**20)

    assert ending.cpu_seconds is not None
    assert ending.cpu_seconds > 0
    assert ending.peak_memory_bytes is not None
    assert ending.peak_memory_bytes > 2**20


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
def test_a_kill_for_want_of_memory_is_named(
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


@those_that("isolates")
def test_a_forked_copy_of_the_job_decides_nothing(host: Host) -> None:
    assert host.run("forks_and_returns_twice").outcome == Outcome.SUCCEEDED
