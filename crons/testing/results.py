"""What comes out of one call of a job: how it ended, what it wrote, returned and raised."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from crons.attempts import Chunk, Counts, Progress
from crons.executors import Ending, Outcome
from crons.executors.capture import log_level
from crons.executors.runner import Context, current_context
from crons.jobs import Body
from crons.models import Run


@dataclass
class Result:
    """How one call of a job ended.

    *returned* is what the function gave back, *raised* what it raised, *error* what the ledger keeps of that.
    *counts* are the sums of what it reported, *progress* is what it said last of how far it is.
    *records* are the log records; *run* is the row, or None where none was asked for.
    """

    outcome: Outcome
    error: str = ""
    exit_code: int | None = None
    returned: Any = None
    raised: BaseException | None = None
    context: Context | None = None
    counts: Counts = field(default_factory=Counts)
    progress: Progress | None = None
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


class CallRecorder:
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
        return Result(*about, chunks=chunks, records=records)


class _Listener(logging.Handler):
    def __init__(self) -> None:
        super().__init__(log_level())
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@contextmanager
def listening() -> Iterator[list[logging.LogRecord]]:
    listener, root = _Listener(), logging.root
    root.addHandler(listener)
    try:
        yield listener.records
    finally:
        root.removeHandler(listener)
