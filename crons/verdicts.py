"""The words for how runs and attempts stand and end: closed sets, shared by all layers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

_TRACEBACK = re.compile(r"^(?:  \+ Exception Group )?Traceback \(most recent call last\):$", re.MULTILINE)
_EXCEPTION = re.compile(r"^(?:  \| )?(\S.*)$", re.MULTILINE)


class State(StrEnum):
    """Where a run stands: due → (sent) → running → done, or running → waiting → running."""

    DUE = "due"
    SENT = "sent"
    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"


class Kind(StrEnum):
    """Why a run exists: a slot fell due, a person asked, or a person filled a hole."""

    SLOT = "slot"
    MANUAL = "manual"
    BACKFILL = "backfill"


class Outcome(StrEnum):
    """How one attempt ended; *continued*: it stopped at its window's end, and the same run goes on at the next."""

    SUCCEEDED = "succeeded"
    CONTINUED = "continued"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    LOST = "lost"
    CANCELLED = "cancelled"


class Verdict(StrEnum):
    """How a run, and with it its slot, ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    LOST = "lost"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    MISSED = "missed"
    SUPERSEDED = "superseded"


class Reason(StrEnum):
    """Why a slot was skipped or missed, or is lost without an attempt."""

    OVERLAP = "overlap"
    PAUSED = "paused"
    CATCH_UP = "catch_up"
    DEADLINE = "deadline"
    CAP = "cap"
    NOT_STARTED = "not_started"
    RESTORED = "restored"
    RETIRED = "retired"


BAD_VERDICTS = frozenset({Verdict.FAILED, Verdict.TIMED_OUT, Verdict.LOST})

MEANINGS: dict[str, str] = {
    Verdict.SUCCEEDED: "The job returned.",
    Verdict.FAILED: "The job raised, or its program exited with a code other than 0, on its last try.",
    Verdict.TIMED_OUT: "The job ran longer than its timeout and was killed with everything it had started.",
    Verdict.LOST: "The process that ran the job vanished: the job may or may not have run.",
    Verdict.CANCELLED: "A person or a shutdown stopped it.",
    Verdict.SKIPPED: "The slot was not run on purpose; the reason says why.",
    Verdict.MISSED: "The slot could not be run in time; the reason says why.",
    Verdict.SUPERSEDED: "A retry was overtaken: a newer slot succeeded before it could run again.",
    Reason.OVERLAP: "An earlier run was still going, and the job says overlap='skip'.",
    Reason.PAUSED: "The entry was paused when the slot fell due.",
    Reason.CATCH_UP: "Nothing looked at the clock in time, or no place came free or no window opened before a newer "
    "slot fell due, and the job's catch_up keeps fewer slots.",
    Reason.DEADLINE: "Nothing looked at the clock before the job's deadline had passed.",
    Reason.CAP: "More slots were overdue than the job's cap lets through at once.",
    Reason.NOT_STARTED: "It was recorded, but no place came free, no worker took it, or no window opened, before its "
    "deadline.",
    Reason.RESTORED: "A backup was restored: the database that it replaced may or may not have run it.",
    Reason.RETIRED: "No code declared the entry when the slot fell due.",
}


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt ended, as its executor saw it.

    *error* is a traceback or a sentence, empty when it succeeded; *exit_code* is the process's
    (negative: killed by that signal); *cpu_seconds* includes everything the job started and
    waited for; *peak_memory_bytes* is the largest resident size of its process; *final*: the job
    said that trying again is of no use; *unstarted*: why nothing of it has begun, where that is sure.
    """

    outcome: Outcome
    error: str = ""
    exit_code: int | None = None
    cpu_seconds: float | None = None
    peak_memory_bytes: int | None = None
    final: bool = False
    unstarted: OSError | None = None


def named_error(error: str) -> str:
    """Return the line of *error* that names it: of a traceback the one with the exception's type, else the last."""
    error = error.strip("\n")
    headers = list(_TRACEBACK.finditer(error))
    # A message may have many lines, as those of databases have: its last line does not name the error.
    named = _EXCEPTION.search(error, headers[-1].end()) if headers else None
    return named[1].rstrip() if named else error.strip().rpartition("\n")[2]
