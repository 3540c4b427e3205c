"""What a job's process says of its end is checked: it can write to all memory of its process."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crons.executors.process import endings, shared_report
from crons.executors.process.shared_report import JobReport, SharedReport
from crons.verdicts import Outcome
from tests.contracts.hosting import begun

WELL = {"outcome": "succeeded", "error": "", "exit_code": None, "final": False}
SEEN = {
    "code": 0,
    "stopped_by": None,
    "said": None,
    "is_called": True,
    "is_garbled": False,
    "failure": "",
    "is_out_of_memory": False,
    "cpu_seconds": 0.0,
    "peak_memory_bytes": 0,
}


def scribbled(data: bytes) -> JobReport:
    report = SharedReport()
    report.note_call()
    report.note_ending("succeeded", "", None, final=False)
    start = shared_report._ENDING
    report._memory[start : start + 4] = len(data).to_bytes(4, "big")
    report._memory[start + 4 : start + 4 + len(data)] = data
    return report.read()


@pytest.mark.parametrize(
    "garbage",
    [
        b"[]", b"{}", b"null", b"7", b'"succeeded"', b"\xff\xfe", b"[" * 100_000, b"NaN",
        json.dumps({**WELL, "outcome": "lost"}).encode(), json.dumps({**WELL, "outcome": ["succeeded"]}).encode(),
        json.dumps({**WELL, "error": None}).encode(), json.dumps({**WELL, "exit_code": True}).encode(),
        json.dumps({**WELL, "exit_code": 10**30}).encode(), json.dumps({**WELL, "exit_code": 1.5}).encode(),
        json.dumps({**WELL, "final": 1}).encode(), json.dumps({**WELL, "more": 1}).encode(),
    ],
)  # fmt: skip
def test_a_garbled_report_is_a_failure(garbage: bytes) -> None:
    """`[]` was a TypeError in the scheduler, and the attempt ran for ever."""
    said = scribbled(garbage)

    assert (said.is_garbled, said.ending) == (True, None)
    ending = endings.judge(begun(1, "job"), {**SEEN, "is_garbled": True}, "")
    assert (ending.outcome, ending.error) == (
        Outcome.FAILED,
        "what the job's process said of its end cannot be read; it exited with 0",
    )


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300) | st.dictionaries(st.sampled_from(list(WELL)), st.none() | st.text(), min_size=4).map(
    lambda each: json.dumps(each).encode()))  # fmt: skip
def test_whatever_is_written_the_guard_reads_it(data: bytes) -> None:
    said = scribbled(data) if data else JobReport(is_called=True)

    assert said.ending is None or shared_report._is_ending(said.ending)
    assert said.is_called


def test_a_length_beyond_the_memory_is_garbled() -> None:
    report = SharedReport()
    report._memory[shared_report._ENDING : shared_report._ENDING + 4] = b"\xff\xff\xff\xff"

    assert report.read() == JobReport(is_called=True, is_garbled=True)


@pytest.mark.parametrize("start", [shared_report._FAILURE, shared_report._ENDING])
def test_a_job_that_overwrites_the_mark_of_its_call_is_not_taken_for_unbegun(start: int) -> None:
    """What was never called is handed back and begun again, which a job that is not idempotent must not be."""
    report = SharedReport()
    report.note_call()
    report._memory[0:100] = bytes(100)
    report._memory[start : start + 8] = b"\xff" * 8

    said = report.read()

    assert said.is_called
    assert endings.why_not_called({**SEEN, "is_called": said.is_called}) == ""


def test_a_report_crosses_a_fork_and_is_cleared_for_the_next_job() -> None:
    report = SharedReport()
    pid = os.fork()
    if pid == 0:
        report.note_call()
        report.note_failure("broken")
        report.note_ending("failed", "broken", 3, final=True)
        os._exit(0)
    os.waitpid(pid, 0)

    ending = {"outcome": "failed", "error": "broken", "exit_code": 3, "final": True}
    assert report.read() == JobReport(is_called=True, failure="broken", ending=ending)
    report.clear()
    assert report.read() == JobReport(is_called=False)


def test_a_timeout_while_the_process_ends_hides_no_failure_of_the_job() -> None:
    ending = endings.judge(
        begun(1, "job", timeout=5), {**SEEN, "stopped_by": "timeout", "failure": "KeyError: 7\n"}, ""
    )

    assert ending.outcome == Outcome.TIMED_OUT
    assert ending.error == (
        "ran longer than its timeout of 5 s; killed, while its process was ending; the job itself had failed:\n"
        "KeyError: 7\n"
    )
