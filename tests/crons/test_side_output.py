"""Side output never decides: logs that raise, streams that take nothing or not every letter."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management.base import OutputWrapper

from crons.management.output import Out
from crons.side_output import BestEffort, Encoded, get_log, is_terminal

ENV = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONUNBUFFERED": ""}


class Raising(logging.Handler):
    """A handler as some packages have it: what goes wrong in it hits whoever logs."""

    def emit(self, record: logging.LogRecord) -> None:
        """Raise."""
        raise RuntimeError("the collector of logs is away")


def test_a_handler_that_raises_harms_nobody_who_logs() -> None:
    """A scheduler would end for it, in the middle of its jobs."""
    log, handler = get_log("crons.tested"), Raising()
    log.logger.addHandler(handler)

    try:
        log.warning("a turn failed: %s", "no reason")
        log.error("and", extra={"attempts": [1]}, exc_info=True)
    finally:
        log.logger.removeHandler(handler)


def test_a_record_names_who_logged_it_and_keeps_its_fields(caplog: pytest.LogCaptureFixture) -> None:
    """Else every record would come from one line of ours."""
    get_log("crons.tested").warning("cancelling %s", "it", extra={"attempts": [7]})

    (record,) = caplog.records
    assert (record.getMessage(), record.pathname, record.attempts) == ("cancelling it", __file__, [7])  # type: ignore[attr-defined]
    assert record.name == "crons.tested"


def test_what_an_encoding_lacks_is_written_as_an_escape() -> None:
    """PYTHONIOENCODING=ascii, LANG=C of a cron line: the rest of the text is still worth reading."""
    real = io.TextIOWrapper(io.BytesIO(), "ascii")

    Encoded(real).write("grüße €\n")

    real.flush()
    assert real.buffer.getvalue() == b"gr\\xfc\\xdfe \\u20ac\n"  # type: ignore[attr-defined]


def test_a_row_of_json_stays_json_in_any_encoding() -> None:
    r"""Python's escape \xfc is none of JSON's."""
    real = io.TextIOWrapper(io.BytesIO(), "ascii")
    out = Out(OutputWrapper(Encoded(real)), OutputWrapper(BestEffort(None)), as_json=True)  # type: ignore[arg-type]

    out.row({"name": "grüße", "half": "\ud83d"})

    real.flush()
    assert json.loads(real.buffer.getvalue()) == {"name": "grüße", "half": "\ud83d"}  # type: ignore[attr-defined]


def test_a_job_does_not_write_what_its_scheduler_could_not(tmp_path: Path) -> None:
    """The fork has a copy of Python's buffers: the scheduler's unwritten lines would stand in the job's output."""
    script = """
import os, sys
from crons.executors import capture
sys.stdout.write("the scheduler's")
capture.flush()
capture.reopen_streams()
os.dup2(os.open("of_the_job", os.O_WRONLY | os.O_CREAT, 0o600), 1)
print("the job's")
"""

    with open("/dev/full", "w") as full:
        subprocess.run([sys.executable, "-c", script], cwd=tmp_path, stdout=full, env=ENV, check=True)

    assert (tmp_path / "of_the_job").read_text() == "the job's\n"


def test_streams_that_are_gone_are_no_terminals() -> None:
    """Python has None for a descriptor that was closed at its start; an object may be closed later."""
    closed = io.StringIO()
    closed.close()
    gone = BestEffort(closed)

    gone.write("nobody hears this")

    assert (is_terminal(None), is_terminal(closed), gone.isatty()) == (False, False, False)
    assert isinstance(gone.error, ValueError)


def test_flushing_a_stream_of_django_writes_nothing():
    """A command that is called with another's stdout flushes Django's wrapper, which makes a line of an empty text."""
    written = io.StringIO()
    stream = Encoded(OutputWrapper(written))

    stream.write("done\n")
    stream.flush()

    assert written.getvalue() == "done\n"
