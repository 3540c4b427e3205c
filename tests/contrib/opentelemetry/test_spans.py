"""An attempt is a span where the project traces, sent from the process that ran it; no exporter changes an outcome."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from crons.contrib.opentelemetry.spans import begin
from crons.executors import Ending, Outcome
from crons.extensions import extensions
from crons.hosts import host
from crons.models import Attempt, Run
from crons.signals import attempt_finished
from tests.contracts.hosting import PATIENCE_SECONDS, begun
from tests.contrib.opentelemetry.traced_host import SECRET

ROOT = Path(__file__).parents[3]


def run_traced(*given: str) -> dict[str, Any]:
    """Run a host that traces and return what it says."""
    env = {name: text for name, text in os.environ.items() if not name.startswith(("OTEL_", "DJANGO_"))}
    done = subprocess.run(
        [sys.executable, "-m", "tests.contrib.opentelemetry.traced_host", *given],
        cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def spans_in(path: Path) -> dict[str, dict[str, Any]]:
    """Return what was exported, by name; each once."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    found = {each["name"]: each for each in lines}
    assert len(found) == len(lines), "a span was sent twice"
    return found


@pytest.mark.parametrize("processor", ["batch", "simple"])
def test_each_attempt_of_a_process_of_its_own_is_a_span(processor: str, tmp_path: Path) -> None:
    """The thread that sends batches does not survive a fork, and the process ends at once: nothing may stay in it."""
    said = run_traced("process", processor, str(tmp_path / "spans"), "works", "raises", "exits", "forks", "hangs")

    assert said["ended"] == {
        "works": "succeeded", "raises": "failed", "exits": "failed", "forks": "succeeded", "hangs": "timed_out",
    }  # fmt: skip
    spans = spans_in(tmp_path / "spans")
    # A process that is killed ends no span.
    ended = ["run exits-entry", "run forks-entry", "run raises-entry", "run works-entry"]
    assert sorted(spans) == ["host", *ended, "step"]
    works, step, raises = spans["run works-entry"], spans["step"], spans["run raises-entry"]
    assert works["attributes"] == {
        "crons.entry": "works-entry", "crons.job": "works", "crons.run_id": 1001, "crons.attempt_id": 1,
        "crons.attempt_number": 1, "crons.kind": "slot", "crons.trigger": "test", "crons.executor": "process",
        "crons.slot": "2026-11-22T12:00:00+00:00", "crons.outcome": "succeeded", "host.name": host(),
    }  # fmt: skip
    assert works["status"] == {"status_code": "UNSET"}
    assert works["pid"] not in (said["pid"], raises["pid"])
    # What was current where its fork server was forked has nothing to do with it; the job's own spans are below it.
    assert works["parent_id"] is None
    assert step["parent_id"] == works["context"]["span_id"]
    assert raises["attributes"]["crons.outcome"] == "failed"
    assert raises["status"] == {"status_code": "ERROR", "description": "LookupError: no customer 42 with ********"}
    [event] = raises["events"]
    assert (event["name"], event["attributes"]["exception.type"]) == ("exception", "LookupError")
    assert event["attributes"]["exception.message"] == "no customer 42 with ********"
    assert event["attributes"]["exception.stacktrace"].startswith("Traceback (most recent call last):")
    assert SECRET not in (tmp_path / "spans").read_text()
    exits = spans["run exits-entry"]
    assert (exits["attributes"]["process.exit.code"], exits["events"]) == (3, [])
    assert exits["status"]["description"] == "the job called sys.exit(3)"


def test_inline_it_is_below_the_span_of_its_caller(tmp_path: Path) -> None:
    """A view that runs a job in its own process is seen with it in one trace."""
    said = run_traced("inline", "batch", str(tmp_path / "spans"), "works", "raises")

    spans = spans_in(tmp_path / "spans")
    assert said["ended"] == {"works": "succeeded", "raises": "failed"}
    assert sorted(spans) == ["host", "run raises-entry", "run works-entry", "step"]
    assert {spans[each]["parent_id"] for each in ("run works-entry", "run raises-entry")} == {
        spans["host"]["context"]["span_id"]
    }
    assert SECRET not in (tmp_path / "spans").read_text()


@pytest.mark.parametrize("exporter", ["raises", "hangs", "hangs at once"])
def test_an_exporter_changes_no_outcome(exporter: str, tmp_path: Path) -> None:
    """A collector that is away must fail no job, and hold none until its timeout."""
    # Neither makes a span of its own, which the SDK may let wait for ever.
    said = run_traced("process", exporter, str(tmp_path / "spans"), "forks", "raises")

    assert said["ended"] == {"forks": "succeeded", "raises": "failed"}
    expected = "no collector" if exporter == "raises" else "the spans of this attempt were not sent within 0 s"
    assert expected in said["log"]["forks"]


def test_without_a_provider_nothing_is_imported() -> None:
    """Most projects do not trace: they must not pay for it."""
    look = (
        "import sys, django\n"
        "from django.conf import settings\n"
        "settings.configure(SECRET_KEY='-', INSTALLED_APPS=['crons'], USE_TZ=True)\n"
        "django.setup()\n"
        "from crons.executors.runner import run_attempt\n"
        "from crons.jobs import Job, registry\n"
        "from tests.contracts.hosting import begun\n"
        "registry.jobs = {'works': Job('works', lambda: None)}\n"
        "assert run_attempt(begun(1, 'works')).outcome == 'succeeded'\n"
        "names = [name for name in sys.modules if 'opentelemetry' in name]\n"
        "import opentelemetry.trace\n"
        "assert run_attempt(begun(2, 'works')).outcome == 'succeeded'\n"
        "print(names, 'crons.contrib.opentelemetry.spans' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", look], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout == "['crons.contrib.opentelemetry', 'crons.contrib.opentelemetry.extension'] False\n"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """What this process would send, without the provider that OpenTelemetry lets nobody take back."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    monkeypatch.setattr(trace, "get_tracer", lambda name: provider.get_tracer(name))
    for name in ("TRACEPARENT", "TRACESTATE", "BAGGAGE"):
        monkeypatch.setenv(name, "")  # put back at the end, whatever is written there
    return exporter


@pytest.mark.django_db
@pytest.mark.parametrize("outcome", ["timed_out", "cancelled", "lost", "failed", "succeeded"])
def test_what_was_killed_is_a_span_of_whoever_wrote_its_end(
    spans: InMemorySpanExporter, make_entry: Any, outcome: str
) -> None:
    """The process that would have ended it is gone; what ended by itself has sent its own, and has one only."""
    extensions()
    begun_at = timezone.now() - timedelta(minutes=3)
    ended_at = begun_at + timedelta(seconds=90)
    run = Run.objects.create(
        entry=make_entry("nightly"), slot_at=begun_at, planned_at=begun_at, recorded_at=begun_at, state="done",
        verdict=outcome, tries=1, trigger="serve",
    )  # fmt: skip
    attempt = Attempt.objects.create(
        run=run, number=1, token=uuid.uuid4(), executor="process", instance="i", host="web2", pid=7, boot_id="b",
        begun_at=begun_at, ended_at=ended_at, outcome=outcome, error="ran longer than its timeout of 90 s; killed",
    )  # fmt: skip

    answers = attempt_finished.send_robust(None, attempt=attempt)

    assert [each for _, each in answers if each is not None] == []
    found = spans.get_finished_spans()
    if outcome in ("failed", "succeeded"):
        assert found == ()
        return
    [span] = found
    assert (span.name, span.parent) == ("run nightly", None)
    assert span.end_time - span.start_time == 90 * 10**9
    assert span.status.description == "ran longer than its timeout of 90 s; killed"
    assert span.attributes["crons.outcome"] == outcome
    assert (span.attributes["host.name"], span.attributes["crons.attempt_id"]) == ("web2", attempt.pk)


GIVEN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("kind", "given", "is_below"),
    [("manual", GIVEN, True), ("slot", GIVEN, False), ("manual", "nonsense", False), ("manual", "", False)],
)
def test_programs_find_the_span_and_a_run_by_hand_is_below_its_callers(
    spans: InMemorySpanExporter, kind: str, given: str, is_below: bool
) -> None:
    """A slot is not: in the environment of a scheduler that would be one trace of all that it ever runs."""
    os.environ |= {"TRACEPARENT": given, "TRACESTATE": "old=1"}

    end = begin(replace(begun(1, "works"), kind=kind), is_forked=True)
    told = dict(os.environ)
    assert end is not None
    end(Ending(Outcome.FAILED, "boom"))

    [span] = spans.get_finished_spans()
    trace_id, span_id = f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"
    assert told["TRACEPARENT"].startswith(f"00-{trace_id}-{span_id}-0")
    assert (trace_id == GIVEN.split("-")[1]) is is_below
    assert (span.parent is not None) is is_below
    # What stood there before is another trace's.
    assert told.get("TRACESTATE") == ("old=1" if is_below else None)
