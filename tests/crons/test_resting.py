"""A host that cannot start processes rests, longer each time, and says which limit was hit."""

from __future__ import annotations

import errno
import logging
import os
import resource

import pytest

from crons.executors.process import resting
from crons.executors.process.resting import Rest, explain


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that rests are measured by."""
    now = [1000.0]
    monkeypatch.setattr(resting.time, "monotonic", lambda: now[0])
    return now


def test_each_rest_is_twice_as_long(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    """What fails meanwhile is the same failure: a batch of forty is one."""
    rest, pauses = Rest(), []
    with caplog.at_level(logging.ERROR, "crons.executors"):
        for _ in range(8):
            began = clock[0]
            rest.note_failure("no processes")
            rest.note_failure("no processes")
            while not rest.is_over:
                clock[0] += 0.5
            pauses.append(clock[0] - began)

    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    assert caplog.messages[0] == "Resting for 1 s, what is due is left to others: no processes"
    assert len(caplog.messages) == 8


def test_a_start_that_works_ends_the_rest(clock: list[float]) -> None:
    rest = Rest()
    for _ in range(3):
        rest.note_failure("no processes")
        clock[0] += 60

    rest.note_success()
    rest.note_failure("no processes")
    clock[0] += 1

    assert rest.is_over


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.EMFILE, "(the limit of open files, RLIMIT_NOFILE is {nofile})"),
        (errno.ENFILE, "(the limit of open files of the whole machine, fs.file-max)"),
        (errno.EAGAIN, "(the limit of processes, RLIMIT_NPROC is "),
        (errno.ENOMEM, "(the limit of memory)"),
    ],
)
def test_the_limit_is_named(number: int, hint: str) -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)

    said = explain(OSError(number, os.strerror(number)))

    assert said.startswith(f"the job's process could not be started: [Errno {number}] {os.strerror(number)} ")
    assert hint.format(nofile=soft) in said


def test_another_error_stands_for_itself() -> None:
    assert explain(BrokenPipeError(errno.EPIPE, "Broken pipe")) == (
        "the job's process could not be started: [Errno 32] Broken pipe"
    )
