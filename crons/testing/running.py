"""One job, run in the test's own process by the real runner: with a real context, its output kept."""

from __future__ import annotations

import functools
import inspect
import itertools
import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.db import transaction
from django.utils import timezone

from crons import api, ledger
from crons.attempts import Begun, Chunk
from crons.conf import conf
from crons.dispatch import Dispatcher
from crons.exceptions import LedgerUnavailable, Refused, UnknownJob
from crons.executors.capture import log_level
from crons.executors.inline import InlineExecutor, kept_environment, kept_output
from crons.executors.output import without_secrets
from crons.executors.process import child
from crons.executors.runner import Context, call, current_context
from crons.executors.writer import DatabaseWriter
from crons.hosts.instances import Instance
from crons.jobs import Body, Declaration, Job, check_args, not_declared, registry
from crons.ledger.begin import key_of
from crons.models import Entry, OutputChunk, Run
from crons.redaction import of_project
from crons.schedules import FAR_PAST
from crons.testing.clock import moment_of
from crons.verdicts import Ending, Kind, Outcome

TRIGGER = "test"
MOMENTS = ("since", "until", "slot_at")
_NUMBERS = itertools.count(1)


@dataclass
class Result:
    """How one call of a job ended.

    *returned* is what the function gave back, *raised* what it raised, *error* what the ledger keeps of that.
    *records* are the log records; *run* is the row, or None where none was asked for.
    """

    outcome: Outcome
    error: str = ""
    exit_code: int | None = None
    returned: Any = None
    raised: BaseException | None = None
    context: Context | None = None
    chunks: list[Chunk] = field(default_factory=list, repr=False)
    records: list[logging.LogRecord] = field(default_factory=list, repr=False)
    run: Run | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the job returned."""
        return self.outcome == Outcome.SUCCEEDED

    @property
    def output(self) -> str:
        """Everything the job wrote, as `crons log` shows it: bounded, and without secrets."""
        return "".join(chunk.text for chunk in self.chunks)

    def stream(self, name: str) -> str:
        """Return what the job wrote to stdout, stderr or log."""
        return "".join(chunk.text for chunk in self.chunks if chunk.stream == name)

    def reraise(self) -> Result:
        """Raise what the job raised, so that the test shows its traceback; else return this result."""
        if self.raised is not None and not self.succeeded:
            raise self.raised
        return self


def run(job: Body | Job | str, /, *, context: Mapping[str, Any] | None = None, **args: Any) -> Result:
    """Call a declared job as an attempt would, without the ledger: no row is read or written for it.

    Args: *job* is its function, or the name of a job or an entry; *args* go over those of the entry;
    *context* replaces fields of the Context: `context={"number": 2, "since": "2026-03-28T02:30Z"}`.
    `context.atomic()` opens a transaction; there is no other attempt that could fence it off.
    Raises: UnknownJob; InvalidJob if the job does not take *args*; never what the job raises.
    """
    entry, declared = _find(job)
    args = {**entry.args, **args}
    check_args(declared.name, declared.body, args)
    said = _read(context or {})
    begun = _made_up(entry, declared, args, said.get("until") or timezone.now())
    given = replace(child.context_of(begun), fence=_transaction, **said)
    recorder, redaction = _CallRecorder(declared.body), of_project()
    with _listening() as records, kept_environment(begun), kept_output(begun, redaction) as output:
        ended = call(recorder.body, given)
        ending = without_secrets(replace(ended, error=child.shortened(ended.error)), redaction)
    return recorder.result(ending, output.take(), records)


def run_recorded(job: Body | Job | str, /, **args: Any) -> Result:
    """Run a declared job once, besides its schedule, and record it: its run, its attempt, its output, its verdict.

    The declarations are written to the database first, as `crons sync` does. Works inside a TestCase's transaction.
    Raises: UnknownJob; InvalidJob if the job does not take *args*; Refused where the ledger does not begin it.
    """
    entry, declared = _find(job)
    check_args(declared.name, declared.body, {**entry.args, **args})
    api.sync()
    asked = ledger.request(entry.name, ledger.database_now(), TRIGGER, by=TRIGGER, args=args)
    with _listening() as records, dispatching() as (dispatcher, work), _recording(declared) as recorder:
        begun = dispatcher.begin(ledger.database_now(), only_run=asked.pk)
        work()
    found = Run.objects.using(conf.database).select_related("entry").get(pk=asked.pk)
    if not begun:
        what = found.verdict or found.state
        raise Refused(f"run {found.pk} of {entry.name} was not begun: it is {what}. Is another run of it going?")
    attempt = found.attempts.get()
    stored = OutputChunk.objects.using(conf.database).filter(attempt=attempt).order_by("seq")
    chunks = [Chunk(attempt.pk, each.seq, each.stream, each.text) for each in stored]
    ending = Ending(Outcome(attempt.outcome), attempt.error, attempt.exit_code)
    return replace(recorder.result(ending, chunks, records), run=found)


@contextmanager
def dispatching() -> Iterator[tuple[Dispatcher, Callable[[], None]]]:
    """Be a scheduler that runs everything in this process; yield it, and what runs all that it has begun."""
    instance = Instance.start(TRIGGER)
    aliases = {job.policy.executor for job in registry.jobs.values()}
    executors = {alias: InlineExecutor(alias=alias) for alias in sorted(aliases)}
    dispatcher = Dispatcher(TRIGGER, instance, executors)
    writer = DatabaseWriter(dispatcher.health)

    def work() -> None:
        for executor in executors.values():
            executor.work(writer, 0.0)
        if dispatcher.running():
            raise LedgerUnavailable(
                "an ending could not be written down. Has a job broken the transaction that the test runs in? "
                "Use a TransactionTestCase, or django_db(transaction=True)."
            )

    try:
        yield dispatcher, work
    finally:
        instance.stop()


class _CallRecorder:
    """Stands for a job's body and keeps what comes out of it."""

    def __init__(self, body: Body) -> None:
        self.context: Context | None = None
        self.returned: Any = None
        self.raised: BaseException | None = None

        @functools.wraps(body)
        def recorded(**given: Any) -> Any:
            self.context = current_context()
            try:
                result = body(**given)
            except BaseException as error:
                self.raised = error
                raise
            if inspect.iscoroutine(result):
                return self._awaited(result)
            self.returned = result
            return result

        self.body: Body = recorded

    async def _awaited(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        try:
            self.returned = await coroutine
        except BaseException as error:
            self.raised = error
            raise
        return self.returned

    def result(self, ending: Ending, chunks: list[Chunk], records: list[logging.LogRecord]) -> Result:
        about = (ending.outcome, ending.error, ending.exit_code, self.returned, self.raised, self.context)
        return Result(*about, chunks, records)


@contextmanager
def _recording(job: Job) -> Iterator[_CallRecorder]:
    recorder = _CallRecorder(job.body)
    registry.jobs[job.name] = replace(job, body=recorder.body)
    try:
        yield recorder
    finally:
        registry.jobs[job.name] = job


class _Listener(logging.Handler):
    def __init__(self) -> None:
        super().__init__(log_level())
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@contextmanager
def _listening() -> Iterator[list[logging.LogRecord]]:
    listener, root = _Listener(), logging.root
    root.addHandler(listener)
    try:
        yield listener.records
    finally:
        root.removeHandler(listener)


def _find(asked: Body | Job | str) -> tuple[Declaration, Job]:
    """Return the entry that is meant and its job."""
    if isinstance(asked, str) and asked in registry.entries:
        entry = registry.entries[asked]
        return entry, registry.get(entry.job)
    if isinstance(asked, str):
        job = registry.get(asked)
    else:
        known = registry.jobs.get(asked.name) if isinstance(asked, Job) else registry.job_for(asked)
        if known is None:
            raise UnknownJob(not_declared(getattr(asked, "__name__", None) or str(asked), registry.jobs))
        job = known
    return next(each for each in registry.entries.values() if each.job == job.name), job


def _made_up(entry: Declaration, job: Job, args: Mapping[str, Any], until: datetime) -> Begun:
    """Make an attempt as the ledger would begin it at *until*, with nothing behind it."""
    since = entry.schedule.latest(until - timedelta.resolution, ZoneInfo(entry.schedule.zone or conf.time_zone))
    number = next(_NUMBERS)
    return Begun(
        attempt=number,
        run=number,
        entry=entry.name,
        job=job.name,
        key=key_of(Run(entry=Entry(name=entry.name), slot_at=until)),
        number=1,
        kind=Kind.SLOT,
        trigger=TRIGGER,
        since=until if since <= FAR_PAST else since,
        until=until,
        slot_at=until,
        timeout=job.policy.timeout,
        lease=conf.lease,
        args=args,
    )


def _read(given: Mapping[str, Any]) -> dict[str, Any]:
    """Read what a test says of the context: moments may be texts."""
    known = [name for name in Context.__dataclass_fields__ if name not in ("args", "fence")]
    for name in given:
        if name not in known:
            raise TypeError(f"context={dict(given)!r}: {name!r} is no field to give, expected any of {known}")
    read = {name: moment_of(value) if name in MOMENTS and value else value for name, value in given.items()}
    if "until" in read:
        read.setdefault("slot_at", read["until"])
    return read


def _transaction(token: int) -> AbstractContextManager[None]:
    return transaction.atomic(using=conf.database)
