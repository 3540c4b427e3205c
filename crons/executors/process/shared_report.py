"""What a job's process says of its attempt, in memory that it shares with its supervisor.

Not over a descriptor: a job may close those that it did not open, and get the number for a file of its own.
"""

from __future__ import annotations

import json
import mmap
from dataclasses import dataclass
from typing import Any

from crons.verdicts import Outcome

_AREA_BYTES = 1 << 20
_CALLED, _REFUSAL, _FAILURE, _ENDING = 0, 8, 4096, 4096 + _AREA_BYTES
_LONGEST_REFUSAL = 600  # characters, of which JSON makes up to six bytes each
_LENGTH_BYTES = 4
# What a job can say; the rest is seen from outside.
_OUTCOMES = frozenset({Outcome.SUCCEEDED, Outcome.FAILED, Outcome.CONTINUED})


@dataclass(frozen=True)
class JobReport:
    """*is_called*: the job's function has begun. *failure* is its error, *ending* how the attempt ended, if it has.

    *refusal*: why nothing of the job has begun, where its process says so.
    """

    is_called: bool
    refusal: str = ""
    failure: str = ""
    ending: dict[str, Any] | None = None
    is_garbled: bool = False


class SharedReport:
    """A supervisor's own, inherited by one job's process after another; only pages that are written to take memory."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _ENDING + _AREA_BYTES)

    def clear(self) -> None:
        """Be empty, for the next job."""
        for start in (_CALLED, _REFUSAL, _FAILURE, _ENDING):
            self._memory[start : start + _LENGTH_BYTES] = bytes(_LENGTH_BYTES)

    def note_call(self) -> None:
        """Say that the job's function is about to be called."""
        self._memory[_CALLED] = 1

    def note_refusal(self, why: str) -> None:
        """Take back that the function was called: the machine had no room for the program that it is."""
        self._write(_REFUSAL, why[:_LONGEST_REFUSAL])
        self._memory[_CALLED] = 0

    def note_failure(self, error: str) -> None:
        """Say how the function has failed; the process has not ended yet."""
        self._write(_FAILURE, error)

    def note_ending(self, outcome: str, error: str, exit_code: int | None, *, final: bool) -> None:
        """Say how the attempt has ended; nothing else comes."""
        self._write(_ENDING, {"outcome": outcome, "error": error, "exit_code": exit_code, "final": final})

    @property
    def has_ended(self) -> bool:
        """Whether the job's process has said how the attempt ended."""
        return bool(self._length(_ENDING))

    def read(self) -> JobReport:
        """Return the report, checked: a job can write to all memory of its process."""
        failure, ending = self._read(_FAILURE), self._read(_ENDING)
        is_garbled = self.has_ended and not _is_ending(ending)
        # A job that reports its end has begun, whatever else is overwritten: taken for unbegun it would run again.
        is_called = self._memory[_CALLED] != 0 or self.has_ended or self._length(_FAILURE) != 0
        refusal = "" if is_called else self._read(_REFUSAL)
        return JobReport(
            is_called=is_called,
            refusal=refusal if isinstance(refusal, str) else "",
            failure=failure if isinstance(failure, str) else "",
            ending=None if is_garbled else ending,
            is_garbled=is_garbled,
        )

    def _write(self, start: int, value: object) -> None:
        data = json.dumps(value).encode()
        self._memory[start + _LENGTH_BYTES : start + _LENGTH_BYTES + len(data)] = data
        # The length last: a process that is killed in the middle has reported nothing.
        self._memory[start : start + _LENGTH_BYTES] = len(data).to_bytes(_LENGTH_BYTES, "big")

    def _read(self, start: int) -> Any:
        try:
            return json.loads(
                self._memory[start + _LENGTH_BYTES : start + _LENGTH_BYTES + self._length(start)] or b"null"
            )
        except (ValueError, RecursionError):
            return None

    def _length(self, start: int) -> int:
        return int.from_bytes(self._memory[start : start + _LENGTH_BYTES], "big")


def _is_ending(ending: Any) -> bool:
    if not isinstance(ending, dict) or ending.keys() != {"outcome", "error", "exit_code", "final"}:
        return False
    code = ending["exit_code"]
    return (
        isinstance(ending["outcome"], str)
        and ending["outcome"] in _OUTCOMES
        and isinstance(ending["error"], str)
        and isinstance(ending["final"], bool)
        and (code is None or (type(code) is int and -255 <= code <= 255))
    )
