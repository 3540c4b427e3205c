"""What a scheduler says never decides what becomes of a job: its stdout and stderr may be full, broken or closed."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest

from tests.acceptance.conftest import PATIENCE_SECONDS, Site, wait_for_line
from tests.acceptance.test_stopping import LONG, Gate

STREAMS = ("stdout", "stderr")
FAULTS = ("full", "broken", "closed", "ascii")
Start = Callable[..., subprocess.Popen[str]]
VERBS = [
    pytest.param(("serve",), id="serve"),
    pytest.param(("tick",), id="tick", marks=pytest.mark.slow),  # it says as little as serve, and less
    pytest.param(("run", "waits_for_release", "--manual"), id="run"),
]
# The same for both databases: it is about two descriptors.
pytestmark = pytest.mark.sqlite


@pytest.fixture
def gate(site: Site) -> Gate:
    """The gate of this site."""
    return Gate(site.folder / "gate")


@pytest.fixture
def start(site: Site) -> Iterator[Start]:
    """Start `manage.py crons …` with one of its streams, or both, at fault."""
    with ExitStack() as stack:

        def start(fault: str, streams: tuple[str, ...], *arguments: str) -> subprocess.Popen[str]:
            command = site.command(*arguments)
            given: dict[str, int] = dict.fromkeys(STREAMS, subprocess.DEVNULL)
            env = {"TEST_DRAIN": LONG, **site.env}
            if fault == "closed":
                ends = " ".join(f"{1 + STREAMS.index(each)}>&-" for each in streams)
                command = ["sh", "-c", f'exec "$@" {ends}', "sh", *command]
            elif fault == "ascii":
                env["PYTHONIOENCODING"] = "ascii"
            else:
                given |= {each: _at_fault(fault, stack) for each in streams}
            process = subprocess.Popen(
                command, env=env, cwd=site.folder, stdin=subprocess.DEVNULL, text=True,
                stdout=given["stdout"], stderr=given["stderr"],
            )  # fmt: skip
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        yield start


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("stream", STREAMS)
def test_a_stream_that_takes_nothing_costs_no_job(
    site: Site, gate: Gate, start: Start, stream: str, fault: str, verb: tuple[str, ...]
) -> None:
    """`crons run X | head -1`, a log on a full disk, a terminal that was closed: each killed the job."""
    if verb[0] != "run":
        site.make_due("waits_for_release")
    process = start(fault, (stream,), *verb)
    gate.wait_for_job()

    os.write(gate.end, "grüße\n".encode())
    site.wait_for_row("SELECT 1 FROM crons_outputchunk", process)
    if verb[0] == "serve":
        process.send_signal(signal.SIGTERM)
    gate.open()

    assert process.wait(PATIENCE_SECONDS) == 0
    assert site.verdicts("waits_for_release") == [("succeeded", 1, "succeeded")]
    (text, *notes) = [text for (text,) in site.sql("SELECT text FROM crons_outputchunk ORDER BY seq")]
    assert text == "grüße\n"
    if verb[0] == "run" and stream == "stdout" and fault in ("full", "broken"):
        (note,) = notes
        assert note.startswith("crons: not all output could be shown where this was started (stdout: [Errno ")
    else:
        assert notes == []


def test_a_reader_that_stands_still_holds_up_no_job(site: Site, gate: Gate, start: Start) -> None:
    """`crons run X | less`, or Ctrl-S at the terminal: a scheduler that waits for it renews no lease."""
    process = start("unread", ("stdout",), "run", "waits_for_release", "--manual")
    gate.wait_for_job()

    for _ in range(200):
        os.write(gate.end, b"x" * 1023 + b"\n")
    gate.open()

    assert process.wait(PATIENCE_SECONDS) == 0
    assert site.verdicts("waits_for_release") == [("succeeded", 1, "succeeded")]
    texts = [text for (text,) in site.sql("SELECT text FROM crons_outputchunk ORDER BY seq")]
    assert sum(map(len, texts[:-1])) == 200 * 1024
    assert texts[-1].endswith("(stdout: its reader does not read); it is kept here\n")


def test_a_log_that_nobody_reads_stops_no_scheduler(site: Site, gate: Gate, start: Start) -> None:
    """A log driver that stands still: the first record without room ended all renewals, and SIGTERM did not help."""
    site.env["TEST_DRAIN"] = "0"  # so that it logs, before it cancels, that it will
    site.make_due("waits_for_release")
    process = start("stuck", STREAMS, "serve")
    gate.wait_for_job()

    process.send_signal(signal.SIGTERM)

    assert process.wait(PATIENCE_SECONDS) == 0
    gate.open()
    assert site.verdicts("waits_for_release") == [("cancelled", 1, "cancelled")]


@pytest.mark.parametrize("fault", ["full", "closed"])
def test_a_run_ends_as_its_job_does_where_nothing_can_be_said(site: Site, start: Start, fault: str) -> None:
    """Python's own exit would be 120 where its last flush fails; cron's mail and scripts go by the job's."""
    process = start(fault, STREAMS, "run", "fails", "--manual")

    assert process.wait(PATIENCE_SECONDS) == 1
    assert site.verdicts("fails") == [("failed", 1, "failed")]


def test_a_job_in_the_foreground_outlives_its_terminal(site: Site, start: Start) -> None:
    """There the job itself writes to the streams of the command."""
    site.make_due()
    process = start("full", STREAMS, "run", "fails", "--manual", "--foreground")

    assert process.wait(PATIENCE_SECONDS) == 1
    ((error,),) = site.sql("SELECT error FROM crons_attempt")
    assert error.rstrip().endswith("RuntimeError: no luck")
    first, *_, last = site.sql("SELECT stream, text FROM crons_outputchunk ORDER BY seq")
    assert first == ("stdout", "about to fail\n")
    assert last[0] == "log"
    assert "crons: not all output could be shown where this was started (stdout: [Errno 28]" in last[1]


def test_ctrl_c_drains_a_scheduler_whose_output_went_through_tee(site: Site, gate: Gate) -> None:
    """`crons serve 2>&1 | tee log`: Ctrl-C ends tee as well, and the next word of the scheduler has no reader."""
    site.make_due("waits_for_release")
    process = site.start("serve", TEST_DRAIN=LONG)
    gate.wait_for_job()
    wait_for_line(process, "crons serve: pid")
    assert process.stdout is not None

    process.stdout.close()
    process.send_signal(signal.SIGINT)
    gate.open()

    assert process.wait(PATIENCE_SECONDS) == 0
    assert site.verdicts("waits_for_release") == [("succeeded", 1, "succeeded")]


@pytest.mark.parametrize(("verb", "code"), [("list", 1), ("health", 2)])
def test_an_answer_that_cannot_be_written_is_a_failure(site: Site, start: Start, verb: str, code: int) -> None:
    """Whoever keeps an answer in a file must learn that it is not there."""
    assert start("full", ("stdout",), verb).wait(PATIENCE_SECONDS) == code


def test_a_reader_that_has_gone_changes_no_answer_and_no_deed(site: Site, start: Start) -> None:
    """`health | head -1` said that all is well, and `adopt` had not adopted when it first met the closed pipe."""
    site.sql("UPDATE crons_entry SET parked_reason = 'its schedule cannot be read' WHERE name = 'plain'")
    health, adopt = (start("broken", ("stdout",), *verb) for verb in (("health",), ("adopt", "--yes")))

    assert (health.wait(PATIENCE_SECONDS), adopt.wait(PATIENCE_SECONDS)) == (1, 0)
    assert site.sql("SELECT COUNT(*) FROM crons_deployment") == [(1,)]


def _at_fault(fault: str, stack: ExitStack) -> int:
    if fault == "full":
        end = os.open("/dev/full", os.O_WRONLY)
    else:
        read, end = os.pipe()
        if fault == "broken":
            os.close(read)
        else:
            stack.callback(os.close, read)
        if fault == "stuck":
            os.set_blocking(end, False)
            with suppress(BlockingIOError):
                while True:
                    os.write(end, b"x" * 4096)
            os.set_blocking(end, True)
    stack.callback(os.close, end)
    return end
