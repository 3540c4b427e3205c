"""A host that traces: python -m tests.contrib.opentelemetry.traced_host EXECUTOR EXPORTER FILE; prints how jobs end."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import django
from django.conf import settings
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult

SECRET = "correct-horse-battery-staple"


class ToFile(SpanExporter):
    """Writes a line of JSON for each span, and who wrote it."""

    def __init__(self, path: str) -> None:
        self.path = path

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        with open(self.path, "a") as file:
            file.writelines(json.dumps({"pid": os.getpid(), **json.loads(each.to_json())}) + "\n" for each in spans)
        return SpanExportResult.SUCCESS


class Raises(SpanExporter):
    """Cannot do anything."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        raise ConnectionError("no collector")

    def shutdown(self) -> None:
        raise ConnectionError("nor now")


class Hangs(SpanExporter):
    """Waits for a collector that never answers."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        threading.Event().wait()
        return SpanExportResult.FAILURE


def works() -> None:
    """Do it, in a span of the job's own."""
    with trace.get_tracer("shop").start_as_current_span("step"):
        pass


def raises() -> None:
    raise LookupError(f"no customer 42 with {SECRET}")


def exits() -> None:
    sys.exit(3)


def forks() -> None:
    """Come back twice, as a job does that forgets to end what it forks."""
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)


def hangs() -> None:
    while True:
        signal.pause()


BODIES = {each.__name__: each for each in (works, raises, exits, forks, hangs)}


def main(alias: str, exporter: str, path: str, *jobs: str) -> None:
    """Run *jobs* one after the other."""
    settings.configure(SECRET_KEY=SECRET, INSTALLED_APPS=["crons"], USE_TZ=True)
    django.setup()
    provider = TracerProvider()
    processors: dict[str, Any] = {
        "batch": lambda: BatchSpanProcessor(ToFile(path)),
        "simple": lambda: SimpleSpanProcessor(ToFile(path)),
        "raises": lambda: BatchSpanProcessor(Raises()),
        "hangs": lambda: BatchSpanProcessor(Hangs()),
        "hangs at once": lambda: SimpleSpanProcessor(Hangs()),
    }
    provider.add_span_processor(processors[exporter]())
    trace.set_tracer_provider(provider)
    from crons.contrib.opentelemetry import spans
    from crons.executors.inline import InlineExecutor
    from crons.executors.process import hosted
    from crons.executors.process.executor import ProcessExecutor
    from crons.jobs import Job, registry
    from tests.contracts.hosting import PATIENCE_SECONDS, Host

    # On a busy machine all may take long; what hangs is waited for all the same.
    hosted.START_PATIENCE_SECONDS = PATIENCE_SECONDS
    spans.FLUSH_SECONDS = 0.2 if exporter.startswith("hangs") else PATIENCE_SECONDS
    registry.jobs = {name: Job(name, each) for name, each in BODIES.items()}
    executor = InlineExecutor(alias=alias) if alias == "inline" else ProcessExecutor(alias=alias, max_running=1)
    host = Host(executor)
    # Its own spans would hold up a host whose exporter hangs.
    is_answered = exporter in ("batch", "simple")
    with trace.get_tracer("shop").start_as_current_span("host") if is_answered else nullcontext():
        executor.prepare()
        ended = {job: host.run(job, timeout=1 if job == "hangs" else 300) for job in jobs}
    log = {job: host.text(number, "log") for number, job in enumerate(jobs, 1)}
    executor.close()
    sys.stdout.write(
        json.dumps({"pid": os.getpid(), "ended": {job: each.outcome for job, each in ended.items()}, "log": log}) + "\n"
    )
    sys.stdout.flush()
    if is_answered:
        provider.shutdown()
    os._exit(0)  # not by the SDK's own end, which waits half a minute for an exporter that hangs


if __name__ == "__main__":
    main(*sys.argv[1:])
