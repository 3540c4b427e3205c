"""Running: call a job in the process that this is called in, and say how it ended."""

from __future__ import annotations

import asyncio
import inspect
import logging
import subprocess
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from crons.exceptions import GiveUp, ToBeContinued, UnknownJob
from crons.executors.base import Begun, Ending, Outcome
from crons.executors.work import Work, counted, measured
from crons.extensions import extensions
from crons.hosts.orphans import ATTEMPT, INSTANCE
from crons.jobs import Body, ProgramNotStarted, registry

LONGEST_ERROR = 32_768

# What tracks errors hangs on logging, or on what a job logs itself; without this it would see none of them.
log = logging.getLogger("crons.job")  # noqa: TID251 (in the job's own process, as any logging of it)


def _no_ledger(token: int) -> AbstractContextManager[None]:
    raise RuntimeError("context.atomic() needs an attempt that the ledger began.")


@dataclass(frozen=True)
class Context:
    """What a job may know of the attempt it runs in.

    *key* is the same on every attempt of a run: give it to whatever must happen once.
    *token* only grows: a store that has seen a higher one should refuse a lower one.
    *since*, *until*: the half-open window of work since the last succeeded slot; dropped slots lose no data.
    *closes_at*: when the window closes in which it began; None without one, and for what somebody asked for.
    """

    entry: str
    job: str
    key: str
    token: int
    number: int
    kind: str
    trigger: str
    since: datetime
    until: datetime
    slot_at: datetime | None = None
    args: Mapping[str, Any] = field(default_factory=dict)
    fence: Callable[[int], AbstractContextManager[None]] = field(default=_no_ledger, repr=False, compare=False)
    work_of: Callable[[int], Work] = field(default=lambda _: Work(), repr=False, compare=False)
    closes_at: datetime | None = None

    @cached_property
    def work(self) -> Work:
        """Where goes what the job says; asked for only by a job that says something."""
        return self.work_of(self.token)

    @property
    def should_stop(self) -> bool:
        """Whether its window has closed: then a job stops after what it is at, and raises ToBeContinued."""
        return self.closes_at is not None and datetime.now(UTC) >= self.closes_at

    def report(
        self,
        *,
        examined: int | None = None,
        changed: int | None = None,
        skipped: Mapping[str, int] | None = None,
        failed: int | None = None,
    ) -> None:
        """Say how much has been done since the last report; the record of the attempt keeps the sums.

        In a transaction on the ledger's database it is committed with the work, or not at all; else at once.
        Args: *skipped* counts by reason.
        Raises: TypeError or ValueError for what is no count; LedgerUnavailable when it cannot be written.
        """
        self.work.report(counted(examined=examined, changed=changed, skipped=skipped, failed=failed))

    def progress(self, done: int, total: int | None = None, text: str = "") -> None:
        """Say how far the job is, as often as it likes: at most one a second is written, and the last.

        In a transaction on the ledger's database others see it when that is committed. Where it cannot be written the
        job goes on.
        Raises: TypeError or ValueError for what is no count.
        """
        self.work.show(measured(done, total, text))

    def atomic(self) -> AbstractContextManager[None]:
        """Open a transaction on the ledger's database that commits only while this attempt owns its run.

        Raises: Fenced when it no longer does; nothing done inside is kept then.
        """
        return self.fence(self.token)


_current: ContextVar[Context | None] = ContextVar("crons_context", default=None)


def current_context() -> Context | None:
    """Return the context of the attempt that this code runs in, or None outside of one."""
    return _current.get()


def run_attempt(begun: Begun) -> Ending:
    """Call the attempt's job as run() does, while extensions watch: in the attempt's own process, and once."""
    watching = []
    for each in extensions():
        with _only_logged(begun):
            watching.append(each.begin_attempt(begun))
    ending = run(begun)
    for note in reversed(watching):
        with _only_logged(begun):
            if note is not None:
                note(ending)
    return ending


def run(begun: Begun) -> Ending:
    """Call the attempt's job and say how it ended."""
    try:
        body = registry.get(begun.job).body
    except UnknownJob as error:
        return Ending(Outcome.FAILED, str(error))
    ending = call(body, context_of(begun))
    return replace(ending, error=shortened(ending.error))


def environment_of(begun: Begun) -> Mapping[str, str]:
    """Return the variables of the job's declaration, and the attempt's name for the programs that the job starts."""
    known = registry.jobs.get(begun.job)
    return {
        **(known.environment if known is not None else {}),
        ATTEMPT: str(begun.attempt),
        INSTANCE: begun.instance,
        "CRONS_RUN": str(begun.run),
        "CRONS_KEY": begun.key,
    }


def context_of(begun: Begun) -> Context:
    """Build what the job may know of its attempt."""
    return Context(
        entry=begun.entry,
        job=begun.job,
        key=begun.key,
        token=begun.attempt,
        number=begun.number,
        kind=begun.kind,
        trigger=begun.trigger,
        since=begun.since,
        until=begun.until,
        slot_at=begun.slot_at,
        closes_at=begun.closes_at,
        args=begun.args,
        fence=_fence,
        work_of=_work_of,
    )


def call(body: Body, context: Context) -> Ending:
    """Call *body* once and say how it ended; whatever it raises is recorded, SystemExit and Ctrl-C too.

    A failure is logged by `crons.job`, with the exception.
    """
    ending, error = _call(body, context)
    if error is not None and ending.outcome == Outcome.FAILED:
        about = {"event": "job.failed", "entry": context.entry, "job": context.job, "attempt": context.token}
        log.error("%s failed: %s", context.entry, type(error).__name__, exc_info=error, extra=about)
    return ending


def shortened(error: str) -> str:
    """Leave the middle out of an error that is too long to be stored and read."""
    if len(error) <= LONGEST_ERROR:
        return error
    half = LONGEST_ERROR // 2
    return f"{error[:half]}\n… {len(error) - 2 * half:,} characters left out …\n{error[-half:]}"


def _fence(token: int) -> AbstractContextManager[None]:
    from crons.ledger import fenced  # only a job that asks for it touches the ledger, and its tables

    return fenced(token)


def _work_of(token: int) -> Work:
    from crons.executors.recorded_work import RecordedWork  # see _fence

    return RecordedWork(token)


def _call(body: Body, context: Context) -> tuple[Ending, BaseException | None]:
    given = dict(context.args)
    if _takes_context(body):
        given["context"] = context
    mark = _current.set(context)
    try:
        result = body(**given)
        if inspect.iscoroutine(result):
            asyncio.run(result)
    except SystemExit as error:
        return _exited(error), error
    except subprocess.CalledProcessError as error:
        return Ending(Outcome.FAILED, _program_failed(error), error.returncode), error
    except ProgramNotStarted as error:
        return Ending(Outcome.FAILED, traceback.format_exc(), unstarted=error.error), None
    except GiveUp as error:
        return Ending(Outcome.FAILED, traceback.format_exc(), final=True), error
    except ToBeContinued as error:
        if context.closes_at is None:  # nothing says when it would go on
            return Ending(Outcome.FAILED, traceback.format_exc()), error
        return Ending(Outcome.CONTINUED, str(error)), None
    except BaseException as error:  # noqa: BLE001 (the one place where everything is recorded)
        return Ending(Outcome.FAILED, traceback.format_exc()), error
    finally:
        _current.reset(mark)
    return Ending(Outcome.SUCCEEDED), None


@contextmanager
def _only_logged(begun: Begun) -> Iterator[None]:
    try:
        yield
    except Exception:  # an extension is anybody's code, and the job's outcome is the job's
        about = {"event": "extension.failed", "entry": begun.entry, "attempt": begun.attempt}
        log.exception("an extension failed at the attempt of %s, which goes on", begun.entry, extra=about)


def _takes_context(body: Body) -> bool:
    try:
        return "context" in inspect.signature(body).parameters
    except (TypeError, ValueError):
        return False


def _exited(error: SystemExit) -> Ending:
    # sys.exit() and sys.exit(0) mean that all is well; a text is printed by Python and means 1.
    if error.code in (None, 0):
        return Ending(Outcome.SUCCEEDED, exit_code=0)
    # What the kernel keeps of it; -1 would read as a signal, and a column does not hold any number.
    code = int(error.code) & 0xFF if isinstance(error.code, int) else 1
    return Ending(Outcome.FAILED, f"the job called sys.exit({error.code!r})", code)


def _program_failed(error: subprocess.CalledProcessError) -> str:
    program = " ".join(error.cmd) if isinstance(error.cmd, list | tuple) else str(error.cmd)
    how = f"was killed by signal {-error.returncode}" if error.returncode < 0 else f"exited with {error.returncode}"
    return f"{program!r} {how}"
