"""From what a supervisor saw to how the attempt ended. Pure."""

from __future__ import annotations

import signal
from typing import Any

from crons.attempts import Begun
from crons.verdicts import Ending, Outcome

VANISHED = "the supervisor process vanished: the job was killed with it, and may or may not have run"
GONE_BEFORE_START = "the process that should have started the job vanished before it did"
BLOCKED = "the job has ended; its run stays open until these processes of another user, which cannot be killed, end: {}"
STUCK = "the fork server was stuck, and has been replaced"
LEASE_ENDED = "its lease could not be renewed in time: killed before the lease ended"
NOT_OWNED = "the ledger says that this attempt no longer owns its run: killed"


def judge(begun: Begun, report: dict[str, Any], reason: str) -> Ending:
    """Say how the attempt ended.

    Args: *report* is the supervisor's; *reason* is why somebody asked to cancel it.
    """
    outcome, error, code = _outcome(begun, report, reason)
    # A job that was stopped did not fail, whatever it reported: then nothing is final.
    final = outcome == Outcome.FAILED and report["said"] is not None and bool(report["said"].get("final"))
    return Ending(outcome, error, code, report["cpu_seconds"], report["peak_memory_bytes"], final)


def why_not_called(report: dict[str, Any]) -> str:
    """Say why the job's function was surely not called; nothing where it may have been."""
    if "refused" in report:
        return str(report["refused"])
    if report["is_called"] or report["stopped_by"] is not None:
        return ""
    return f"the job's process ended before the job was called: {_seen(report['code'])}"


def _outcome(begun: Begun, report: dict[str, Any], reason: str) -> tuple[Outcome, str, int | None]:
    code, said = report["code"], report["said"]
    match report["stopped_by"]:
        case "timeout":
            return Outcome.TIMED_OUT, _timed_out(begun, report["failure"]), code
        case "cancel":
            return Outcome.CANCELLED, reason, code
        case "lease":
            return Outcome.LOST, LEASE_ENDED, code
        case "owner":
            return Outcome.LOST, NOT_OWNED, code
    if said is not None:
        return Outcome(said["outcome"]), said["error"], said["exit_code"]
    if report["is_garbled"]:
        return Outcome.FAILED, f"what the job's process said of its end cannot be read; {_seen(code)}", code
    return Outcome.FAILED, _without_a_word(code, is_out_of_memory=report["is_out_of_memory"]), code


def _timed_out(begun: Begun, failure: str) -> str:
    error = f"ran longer than its timeout of {_seconds(begun)} s; killed"
    return f"{error}, while its process was ending; the job itself had failed:\n{failure}" if failure else error


def _seen(code: int) -> str:
    return f"it was killed by {_name(-code)}" if code < 0 else f"it exited with {code}"


def _seconds(begun: Begun) -> str:
    return f"{begun.timeout.total_seconds():g}" if begun.timeout else "?"


def _without_a_word(code: int, *, is_out_of_memory: bool) -> str:
    if code == 0:
        return "the process exited with 0 before the job returned (os._exit?)"
    if code > 0:
        return f"the process exited with {code} without returning (os._exit?)"
    hint = " (out of memory: the kernel has killed for it meanwhile, see dmesg)" if is_out_of_memory else ""
    return f"the process was killed by {_name(-code)}{hint}"


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
