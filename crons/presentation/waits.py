"""What a run whose slot has come waits for: the rule, as begin has it, and its words."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from crons.jobs import Window
from crons.models import Entry, Run
from crons.presentation.moments import local, utc
from crons.verdicts import Kind, State


class WaitsFor(StrEnum):
    """What is in a run's way; the value is the reason that `crons why` gives to programs."""

    RESUME = "paused"
    RUN = "overlap"
    GROUP = "group"
    WORKER = "sent"
    WINDOW = "window"
    PLACE = ""

    @property
    def briefly(self) -> str:
        """Complete "due for 2 min, and …"."""
        return {
            WaitsFor.RESUME: "held up by a pause",
            WaitsFor.RUN: "waits for an earlier run",
            WaitsFor.GROUP: "waits for a place in its group",
            WaitsFor.WORKER: "sent, and taken by no worker",
            WaitsFor.WINDOW: "waits for its window",
            WaitsFor.PLACE: "not begun",
        }[self]


def waits_for(
    *,
    state: str,
    kind: str,
    asked_at: datetime | None,
    paused_at: datetime | None,
    run_is_going: bool,
    group_is_full: bool,
) -> WaitsFor:
    """Say what a run whose moment has come waits for; what the ledger's queue passes over (`_wanted`), in words.

    Args: *asked_at*: when somebody asked for it; *paused_at*: since when the pause in force is, see pause_in_force;
    *run_is_going*: whether a run of the same entry is, that may not be overlapped.
    """
    if state == State.SENT:
        return WaitsFor.WORKER
    # What somebody asks for during a pause is let through.
    is_let_through = kind == Kind.MANUAL or (paused_at and asked_at and asked_at >= paused_at)
    if paused_at is not None and not is_let_through:
        return WaitsFor.RESUME
    if run_is_going:
        return WaitsFor.RUN
    return WaitsFor.GROUP if group_is_full else WaitsFor.PLACE


def waits_for_window(state: str, sends: int, wake_at: datetime | None, window: Window | None, now: datetime) -> bool:
    """Say whether a run that is due waits for its job's window to open, at *wake_at*.

    One that was sent, and is due again, waits to be sent once more.
    """
    return state == State.DUE and not sends and window is not None and wake_at is not None and wake_at > now


def pause_in_force(entry: Entry, now: datetime) -> datetime | None:
    """Return since when the entry is paused; None where it is not, or no longer."""
    is_over = entry.paused_until is not None and entry.paused_until <= now
    return None if is_over else entry.paused_at


def describe_wait(run: Run, what: WaitsFor, going: int | None, group_running: int) -> str:
    """Complete "it waits …". *going*: the number of the run in its way; *group_running*: how many its group has."""
    entry = run.entry
    if what is WaitsFor.WORKER:
        again = f"again at {utc(run.wake_at)}" if run.wake_at else "and not again"
        return f"for a worker of the executor {entry.policy.get('executor')!r}: sent {run.sends} time(s), {again}"
    if what is WaitsFor.RESUME:
        reason = f": {entry.pause_reason}" if entry.pause_reason else ""
        return f"for the end of the pause by {entry.paused_by or 'somebody'}{reason}"
    if what is WaitsFor.WINDOW and run.wake_at is not None:
        return f"for its window, which opens at {local(run.wake_at, entry.zone)}"
    if what is WaitsFor.RUN:
        return f"for run {going} of the same entry, which is going"
    if what is WaitsFor.GROUP:
        return describe_full_group(entry.policy.get("group"), group_running)
    return f"for a free place, or for a process that knows the job {entry.job!r}"


def describe_full_group(group: object, running: int) -> str:
    """Complete "it waits …" of what waits for its group."""
    return f"for the group {group!r}, which is full ({running} going)"
