"""Calling a job in this process: whatever it does, it is said how it ended."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from crons.exceptions import Fenced
from crons.executors import Begun
from crons.executors.runner import Context, call, current_context, run_attempt
from crons.extensions import Extension
from crons.jobs import Job, registry
from crons.jobs.callables import ShellBody
from crons.verdicts import Ending, Outcome

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
BEGUN = Begun(
    attempt=7,
    run=3,
    entry="works-daily",
    job="works",
    key="works/2026-11-22T12:00:00Z",
    number=1,
    kind="slot",
    trigger="test",
    since=NOON - timedelta(days=1),
    until=NOON,
    slot_at=NOON,
    timeout=None,
    lease=timedelta(minutes=5),
)


def context(**given: Any) -> Context:
    return Context(
        **{
            "entry": "send_reminders",
            "job": "send_reminders",
            "key": "send_reminders/2026-11-22T12:00:00Z",
            "token": 7,
            "number": 1,
            "kind": "slot",
            "trigger": "test",
            "since": NOON - timedelta(days=1),
            "until": NOON,
            "slot_at": NOON,
            **given,
        }
    )


def test_returning_succeeds() -> None:
    assert call(lambda: "whatever", context()) == Ending(Outcome.SUCCEEDED)


def test_arguments_are_keywords() -> None:
    seen: dict[str, Any] = {}

    call(lambda **given: seen.update(given), context(args={"days": 7}))

    assert seen == {"days": 7}


def test_context_is_given_to_those_who_name_it() -> None:
    seen: list[Context] = []
    mine = context(args={"days": 7})

    def job(days: int, context: Context) -> None:
        seen.append(context)

    assert call(job, mine).outcome == Outcome.SUCCEEDED
    assert seen == [mine]


def test_code_far_below_finds_the_context_only_while_the_job_runs() -> None:
    seen: list[Context | None] = []
    mine = context()

    call(lambda: seen.append(current_context()), mine)

    assert seen == [mine]
    assert current_context() is None


def test_the_context_is_taken_back_after_a_failure() -> None:
    call(_raising(ValueError("no")), context())

    assert current_context() is None


@pytest.mark.parametrize("error", [ValueError("no stock"), KeyboardInterrupt(), GeneratorExit(), RecursionError()])
def test_whatever_is_raised_is_recorded(error: BaseException) -> None:
    ending = call(_raising(error), context())

    assert (ending.outcome, ending.exit_code) == (Outcome.FAILED, None)
    assert ending.error.startswith("Traceback (most recent call last):\n")
    assert type(error).__name__ in ending.error.splitlines()[-1]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (None, Ending(Outcome.SUCCEEDED, exit_code=0)),
        (0, Ending(Outcome.SUCCEEDED, exit_code=0)),
        (2, Ending(Outcome.FAILED, "the job called sys.exit(2)", 2)),
        ("no disk", Ending(Outcome.FAILED, "the job called sys.exit('no disk')", 1)),
        (-1, Ending(Outcome.FAILED, "the job called sys.exit(-1)", 255)),
        (2**40 + 3, Ending(Outcome.FAILED, "the job called sys.exit(1099511627779)", 3)),
    ],
)
def test_sys_exit_is_read_as_a_shell_would(code: object, expected: Ending) -> None:
    assert call(_raising(SystemExit(code)), context()) == expected


def test_a_coroutine_is_awaited_to_its_end() -> None:
    seen: list[str] = []

    async def job() -> None:
        seen.append("awaited")

    assert call(job, context()) == Ending(Outcome.SUCCEEDED)
    assert seen == ["awaited"]


def test_a_coroutine_that_raises_fails() -> None:
    async def job() -> None:
        raise ValueError("no stock")

    ending = call(job, context())

    assert ending.outcome == Outcome.FAILED
    assert ending.error.endswith("ValueError: no stock\n")


def test_missing_arguments_fail_as_an_exception_does() -> None:
    def job(days: int) -> None:
        pass

    ending = call(job, context())

    assert ending.outcome == Outcome.FAILED
    assert "missing 1 required positional argument: 'days'" in ending.error


def test_an_exit_code_is_always_a_number() -> None:
    """PostgreSQL takes no true for an integer: the scheduler that wrote it down would end."""
    code = call(_raising(SystemExit(True)), context()).exit_code

    assert (code, type(code)) == (1, int)


def test_a_program_that_fails_is_named_with_its_exit_code() -> None:
    program = ShellBody((sys.executable, "-c", "raise SystemExit(3)"))

    ending = call(program, context())

    assert ending == Ending(Outcome.FAILED, f"'{sys.executable} -c raise SystemExit(3)' exited with 3", exit_code=3)


def test_a_killed_program_is_named_with_the_signal() -> None:
    ending = call(_raising(subprocess.CalledProcessError(-9, "rsync")), context())

    assert ending == Ending(Outcome.FAILED, "'rsync' was killed by signal 9", exit_code=-9)


def test_atomic_is_what_the_ledger_gives() -> None:
    seen: list[int] = []

    @contextmanager
    def fence(token: int) -> Iterator[None]:
        seen.append(token)
        yield

    with context(fence=fence).atomic():
        pass

    assert seen == [7]


def test_atomic_lets_the_refusal_through() -> None:
    def fence(token: int) -> Any:
        raise Fenced("taken over")

    with pytest.raises(Fenced, match="taken over"):
        context(fence=fence).atomic()


def test_atomic_without_a_ledger_says_so() -> None:
    with pytest.raises(RuntimeError, match="needs an attempt that the ledger began"):
        context().atomic()


def _raising(error: BaseException) -> Callable[[], None]:
    def job() -> None:
        raise error

    return job


@pytest.mark.parametrize(
    ("outcome", "records"), [(SystemExit(0), []), (SystemExit(3), ["send_reminders failed: SystemExit"])]
)
def test_a_failure_is_logged_with_its_exception(
    outcome: BaseException, records: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Error trackers see a job's exception only there: it goes no further."""

    def job() -> None:
        raise outcome

    call(job, context())

    assert [each.getMessage() for each in caplog.records if each.name == "crons.job"] == records
    assert all(each.exc_info and each.exc_info[1] is outcome for each in caplog.records)


class Watches(Extension):
    """Notes what it is told, or fails."""

    def __init__(self, told: list[object], fails_at: str = "") -> None:
        self._told, self._fails_at = told, fails_at

    def begin_attempt(self, begun: Begun) -> Callable[[Ending], None]:
        self._tell("begin", begun.job)
        return lambda ending: self._tell("end", ending.outcome)

    def _tell(self, what: str, of: str) -> None:
        self._told.append((what, of))
        if what == self._fails_at:
            raise RuntimeError("an extension")


@pytest.mark.parametrize("fails_at", ["", "begin", "end"])
def test_extensions_watch_an_attempt_and_change_nothing(
    fails_at: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """They are anybody's code: the outcome is the job's, and the others are told as well."""
    told: list[object] = []
    watching = (Extension(), Watches([], fails_at), Watches(told))
    monkeypatch.setattr("crons.executors.runner.extensions", lambda: watching)
    monkeypatch.setattr(registry, "jobs", {"works": Job("works", lambda: told.append("job"))})

    ending = run_attempt(BEGUN)

    assert ending == Ending(Outcome.SUCCEEDED)
    assert told == [("begin", "works"), "job", ("end", "succeeded")]
    failed = ["an extension failed at the attempt of works-daily, which goes on"] if fails_at else []
    assert [record.getMessage() for record in caplog.records] == failed
