"""The span of an attempt, in the process that runs it; whatever becomes of the span, the attempt ends as it did."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from opentelemetry import context, propagate, trace

from crons.executors import Begun, Ending, Outcome
from crons.executors.output import without_secrets
from crons.hosts import host
from crons.models import Attempt
from crons.redaction import of_project
from crons.side_output import get_log
from crons.verdicts import Kind, named_error

log = get_log("crons.opentelemetry")
NOT_SENT = {"event": "spans.not_sent"}
# What a collector may cost an attempt: the SDK waits for its exporter as long as that likes, whatever it is told.
FLUSH_SECONDS = 5.0
# W3C's names; in the environment they are in capitals.
_CARRIED = ("traceparent", "tracestate", "baggage")
_TRACEBACKS = ("Traceback (most recent call last):", "  + Exception Group Traceback (most recent call last):")


def begin(begun: Begun, *, is_forked: bool) -> Callable[[Ending], None] | None:
    """Begin the span of *begun* and make it the current one; what is returned ends it.

    In a forked process it is the root of a trace: what was current when its fork server was forked, such as the message
    that made a worker fork one, is over. Only what somebody has run by hand is below the trace that the environment
    names: in that of a scheduler it would be one trace of all that it ever runs.
    """
    is_asked = is_forked and begun.kind == Kind.MANUAL
    parent = _of_environment() if is_asked else context.Context() if is_forked else None
    span = trace.get_tracer("crons").start_span(f"run {begun.entry}", parent, attributes=_attributes(begun))
    # What is not sampled says so to the programs that the job starts: else they would begin traces of their own.
    _tell_programs(trace.set_span_in_context(span))
    if not span.is_recording():
        return None
    token = context.attach(trace.set_span_in_context(span))
    process = os.getpid()

    def end(ending: Ending) -> None:
        if os.getpid() != process:
            return  # the job has forked, and this is the copy coming back
        context.detach(token)
        at = time.time_ns()
        _describe(span, without_secrets(ending, of_project()))
        _export(span, at, is_forked=is_forked)

    return end


def record_killed(attempt: Attempt) -> None:
    """Make the span of an attempt that somebody killed, or that was lost: the process that would have is gone."""
    run = attempt.run
    about: dict[str, str | int] = {
        "crons.entry": run.entry.name,
        "crons.job": run.entry.job,
        "crons.run_id": run.pk,
        "crons.attempt_id": attempt.pk,
        "crons.attempt_number": attempt.number,
        "crons.kind": run.kind,
        "crons.trigger": run.trigger,
        "crons.executor": attempt.executor,
        "crons.outcome": attempt.outcome,
        "host.name": attempt.host,
        **({"crons.slot": run.slot_at.isoformat()} if run.slot_at is not None else {}),
    }
    begun_at, ended_at = (_nanoseconds(each) for each in (attempt.begun_at, attempt.ended_at or attempt.begun_at))
    # What is current here is the turn of a scheduler, or a request that looked at the clock: not what began it.
    nothing = context.Context()
    span = trace.get_tracer("crons").start_span(f"run {run.entry.name}", nothing, attributes=about, start_time=begun_at)
    span.set_status(trace.StatusCode.ERROR, named_error(attempt.error) or attempt.outcome)
    span.end(max(begun_at, ended_at))


def _nanoseconds(at: datetime) -> int:
    return int(at.timestamp() * 1_000_000) * 1_000


def _of_environment() -> context.Context:
    return propagate.extract({name: os.environ.get(name.upper(), "") for name in _CARRIED}, context.Context())


def _tell_programs(where: context.Context) -> None:
    """Put the span into the environment, as OpenTelemetry has it for programs: TRACEPARENT and its like."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier, where)
    for name in _CARRIED:
        os.environ.pop(name.upper(), None)
    os.environ.update({name.upper(): text for name, text in carrier.items() if name in _CARRIED})


def _attributes(begun: Begun) -> dict[str, str | int]:
    return {
        "crons.entry": begun.entry,
        "crons.job": begun.job,
        "crons.run_id": begun.run,
        "crons.attempt_id": begun.attempt,
        "crons.attempt_number": begun.number,
        "crons.kind": begun.kind,
        "crons.trigger": begun.trigger,
        "crons.executor": begun.executor,
        "host.name": host(),
        **({"crons.slot": begun.slot_at.isoformat()} if begun.slot_at is not None else {}),
    }


def _describe(span: trace.Span, ending: Ending) -> None:
    span.set_attribute("crons.outcome", "not_started" if ending.unstarted is not None else str(ending.outcome))
    if ending.exit_code is not None:
        span.set_attribute("process.exit.code", ending.exit_code)
    if ending.outcome in (Outcome.SUCCEEDED, Outcome.CONTINUED):
        return
    named = named_error(ending.error)
    if ending.error.startswith(_TRACEBACKS):
        # Not record_exception(): it would write the exception's own text, with the secrets in it.
        kind, _, message = named.partition(": ")
        about = {"exception.type": kind, "exception.message": message, "exception.stacktrace": ending.error}
        span.add_event("exception", about)
    span.set_status(trace.StatusCode.ERROR, named)


def _export(span: trace.Span, at: int, *, is_forked: bool) -> None:
    """End *span* and have it sent, in a bounded time; in a forked process also bound what the SDK does at its end."""
    provider: Any = trace.get_tracer_provider()
    flush = getattr(provider, "force_flush", None)

    def send() -> None:
        span.end(at)
        if flush is not None:
            flush(timeout_millis=int(FLUSH_SECONDS * 1000))

    in_time = _within_limit(send)
    shut_down = getattr(provider, "shutdown", None)
    if is_forked and shut_down is not None:
        # It would wait half a minute for an exporter that hangs, and one that raises would have failed the attempt.
        atexit.unregister(shut_down)
        if in_time:
            atexit.register(_within_limit, shut_down)


def _within_limit(act: Callable[[], object]) -> bool:
    """Call *act* in a thread, and log what goes wrong; say whether it was over in time."""

    def guarded() -> None:
        try:
            act()
        except Exception as error:  # noqa: BLE001 (anybody's exporter: it must not fail the attempt)
            what = type(error).__name__
            log.warning("the spans of this attempt could not be sent: %s: %s", what, error, extra=NOT_SENT)

    # A daemon: the process does not wait for it at its end.
    thread = threading.Thread(target=guarded, name="crons-spans", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the interpreter is at its end, as in a web server that was forked, and starts none
        guarded()
        return True
    thread.join(FLUSH_SECONDS)
    if thread.is_alive():
        log.warning("the spans of this attempt were not sent within %.0f s", FLUSH_SECONDS, extra=NOT_SENT)
    return not thread.is_alive()
