"""Jobs that write a line per effect: name, key and attempt; a test reads them back."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta

from django.db import connection

from crons import Context, Retry, cron, current_context, entry, every, job, schedule
from crons.models import AuditEvent


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
    """Tell that it runs, then say what comes through a pipe until somebody closes it."""
    leave_trace(context)
    with open(os.environ["GATE"]) as gate:
        for line in gate:
            sys.stdout.write(line)
            sys.stdout.flush()


@job(cron("0 * * * *"), idempotent=True)
def waits_harmlessly(context: Context) -> None:
    """The same, and may be begun again."""
    waits_for_release(context)


@job(cron("0 * * * *"), idempotent=True)
def waits_in_a_program() -> None:
    """Have a program wait for release; it notes first whether the one before it still runs."""
    script = """
        read pid < "$TRACES.pid" && grep -q GATE "/proc/$pid/environ" && echo $pid >> "$TRACES.overlaps"
        echo $$ > "$TRACES.pid"
        exec cat "$GATE"
    """
    subprocess.run(["sh", "-c", script], check=True)


@job(cron("0 * * * *"))
def writes_fenced(context: Context) -> None:
    """Write a row, and another once somebody has let it go on; each commits only while the run is this attempt's."""
    for number in (1, 2):
        with context.atomic():
            AuditEvent.objects.create(at=context.until, actor=context.key, verb=f"write {number}", subject_type="test")
        if number == 1:
            waits_for_release(context)


@job()
def does_as_told(context: Context) -> None:
    """Fail as the file beside the traces says, if it says anything."""
    with open(os.environ["ORDERS"]) as orders:
        if order := orders.read().strip():
            raise RuntimeError(order)


@job(cron("0 * * * *"), retry=Retry(5, wait=timedelta(minutes=10)))
def does_as_told_each_hour(context: Context) -> None:
    """The same on a schedule, tried again much later."""
    does_as_told(context)


@job(retry=Retry(2, wait=timedelta(seconds=2), backoff=1))
def fails_with_pauses() -> None:
    """Always fails, and is tried again in a moment."""
    raise RuntimeError("no luck today")


@job()
def fails() -> None:
    """Always fails, after a word."""
    sys.stdout.write("about to fail\n")
    raise RuntimeError("no luck")


if os.environ.get("TEST_SENTRY_DSN"):
    import sentry_sdk

    @job()
    def reports_three_events() -> None:
        """Say three things to Sentry, and return at once."""
        for number in range(3):
            sentry_sdk.capture_message(f"event {number}")


@job(timeout=timedelta(seconds=1))
def hangs(context: Context) -> None:
    """Run for ever, and so does what it has started."""
    leave_trace(context)
    subprocess.run(["sleep", "1000"], check=False)


@job()
def noop(**kwargs: object) -> None:
    """Do nothing."""


if os.environ.get("TEST_TASKS"):
    from tests.acceptance.project.existing import count_up

    schedule(count_up, cron("0 * * * *"), name="counted", args={"by": 3})


if os.environ.get("TEST_RELEASE") == "new":

    @job(cron("0 * * * *"))
    def only_in_the_new_release(context: Context) -> None:
        """Not declared by processes that run the old code."""
        leave_trace(context)


if os.environ.get("TEST_ZONE"):

    @job(cron("0 * * * *", zone=os.environ["TEST_ZONE"]))
    def in_another_zone(context: Context) -> None:
        """Not every machine's data has it."""
        leave_trace(context)


if os.environ.get("TEST_ENTRIES"):
    ROUTE = {"route": {"queue": os.environ["TEST_QUEUE"], "priority": 3}} if "TEST_QUEUE" in os.environ else {}

    @job(cron("0 * * * *"), overlap="allow", executor=os.environ.get("TEST_TRACED_ON", "process"), **ROUTE)
    def traced(context: Context, number: int = 0) -> None:
        """One of a thousand."""
        leave_trace(context)

    for each in range(int(os.environ["TEST_ENTRIES"])):
        entry(f"traced_{each:04}", "traced", cron("0 * * * *"), args={"number": each})


if os.environ.get("TEST_POOL"):

    @job(cron("0 * * * *"))
    def asks_the_database(context: Context, number: int = 0) -> None:
        """Ask for its own number, again and again, and take no other's answer."""
        with connection.cursor() as cursor:
            for _ in range(100):
                cursor.execute("SELECT %s", [number])
                assert cursor.fetchone() == (number,)
        leave_trace(context)

    for each in range(1, 8):
        entry(f"asks_the_database_{each}", "asks_the_database", cron("0 * * * *"), args={"number": each})


if os.environ.get("TEST_KILLS"):

    def begin_and_end(context: Context, seconds: float) -> None:
        """Leave a trace at both ends: their order in the file tells what ran at the same time."""
        context = replace(context, entry=f"begin:{context.entry}")
        leave_trace(context)
        time.sleep(seconds)  # sleeps: the length of the job
        leave_trace(replace(context, entry=context.entry.replace("begin:", "end:")))

    @job(every(seconds=1), catch_up="all", cap=1000)
    def each_second_once(context: Context) -> None:
        """Wants every slot, none of them twice."""
        begin_and_end(context, 0.1)

    @job(every(seconds=1), catch_up="all", cap=1000, idempotent=True)
    def each_second_again(context: Context) -> None:
        """Wants every slot, and may have it twice."""
        begin_and_end(context, 0.1)

    @job(every(seconds=2))
    def slow_once(context: Context) -> None:
        """Is often still going when its next slot comes."""
        begin_and_end(context, 1.5)

    @job(every(seconds=2), idempotent=True, retry=Retry(1, wait=timedelta(0)))
    def slow_again(context: Context) -> None:
        """The same, and may be begun again."""
        begin_and_end(context, 1.5)


if os.environ.get("TEST_JOURNAL"):
    from tests.acceptance import journal

    def keep_journal(context: Context, seconds: float) -> None:
        """Do a job's work, and write it down where crons does not look."""
        assert context.slot_at is not None
        journal.work(context.entry, int(context.slot_at.timestamp()), context.token, seconds)

    @job(every(seconds=1), catch_up="all", cap=1000)
    def journal_once(context: Context) -> None:
        """Wants every slot, none of them twice."""
        keep_journal(context, 0.1)

    @job(every(seconds=1), catch_up="all", cap=1000, idempotent=True)
    def journal_again(context: Context) -> None:
        """Wants every slot, and may have it twice, one after the other."""
        keep_journal(context, 0.1)

    @job(every(seconds=2))
    def journal_long(context: Context) -> None:
        """Is often still going when its next slot comes."""
        keep_journal(context, 1.5)
