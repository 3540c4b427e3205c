"""Jobs that write a line per effect: name, key and attempt; a test reads them back."""

from __future__ import annotations

import os
import sys
from datetime import timedelta

from crons import Context, Retry, cron, current_context, entry, every, job


def leave_trace(context: Context | None) -> None:
    """Append one line to the traces in one write, so that racing processes cannot mix them."""
    context = context or current_context()
    assert context is not None
    line = f"{context.entry} {context.key} {context.token}\n"
    file = os.open(os.environ["TRACES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


@job(cron("0 * * * *"))
def plain(context: Context) -> None:
    """Run it twice and you have done it twice."""
    leave_trace(context)


@job(cron("0 * * * *"), idempotent=True, retry=Retry(2, wait=timedelta(0)))
def harmless(context: Context) -> None:
    """Running it twice does no harm."""
    leave_trace(context)


@job(every(seconds=1), catch_up="all", cap=1000)
def each_second(context: Context) -> None:
    """Wants every slot."""
    leave_trace(context)


@job(cron("0 * * * *"))
def waits_for_release(context: Context) -> None:
    """Tell that it runs, then run until somebody closes the pipe that it reads from."""
    leave_trace(context)
    with open(os.environ["GATE"]) as gate:
        gate.read()


@job()
def fails() -> None:
    """Always fails, after a word."""
    sys.stdout.write("about to fail\n")
    raise RuntimeError("no luck")


@job()
def noop(**kwargs: object) -> None:
    """Do nothing."""


if os.environ.get("TEST_ENTRIES"):

    @job(cron("0 * * * *"), overlap="allow", executor="process")
    def traced(context: Context, number: int = 0) -> None:
        """One of a thousand."""
        leave_trace(context)

    for each in range(int(os.environ["TEST_ENTRIES"])):
        entry(f"traced_{each:04}", "traced", cron("0 * * * *"), args={"number": each})
