"""One job, run in the test's own process and recorded: its run, its attempt, its output, its verdict."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from crons import api, ledger
from crons.exceptions import Refused
from crons.executors import Chunk, Ending, Outcome
from crons.jobs import Body, Job, check_args, registry
from crons.models import OutputChunk, Run, WorkReport
from crons.presentation import counts_of, progress_of
from crons.testing.declared import find
from crons.testing.results import CallRecorder, Result, listening
from crons.testing.scheduler import TRIGGER, scheduler


def run_recorded(job: Body | Job | str, /, **args: Any) -> Result:
    """Run a declared job once, besides its schedule, and record it: its run, its attempt, its output, its verdict.

    The declarations are written to the database first, as `crons sync` does. Works inside a TestCase's transaction.
    Raises: UnknownJob; InvalidJob if the job does not take *args*; Refused where the ledger does not begin it.
    """
    entry, declared = find(job)
    check_args(declared.name, declared.body, {**entry.args, **args})
    api.sync()
    asked = ledger.request(entry.name, ledger.database_now(), TRIGGER, by=TRIGGER, args=args)
    with listening() as records, scheduler() as here, _recording(declared) as recorder:
        begun = here.dispatcher.begin(ledger.database_now(), only_run=asked.pk)
        here.work()
    found = Run.objects.select_related("entry").get(pk=asked.pk)
    if not begun:
        what = found.verdict or found.state
        raise Refused(f"run {found.pk} of {entry.name} was not begun: it is {what}. Is another run of it going?")
    attempt = found.attempts.get()
    stored = OutputChunk.objects.filter(attempt=attempt).order_by("seq")
    chunks = [Chunk(attempt.pk, each.seq, each.stream, each.text) for each in stored]
    ending = Ending(Outcome(attempt.outcome), attempt.error, attempt.exit_code)
    reported = WorkReport.objects.filter(attempt=attempt).first()
    return replace(
        recorder.result(ending, chunks, records), run=found, counts=counts_of(reported), progress=progress_of(reported)
    )


@contextmanager
def _recording(job: Job) -> Iterator[CallRecorder]:
    recorder = CallRecorder(job.body)
    registry.jobs[job.name] = replace(job, body=recorder.body)
    try:
        yield recorder
    finally:
        registry.jobs[job.name] = job
