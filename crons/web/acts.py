"""What people do from pages: each verb asks first, has its own permission, and leaves an audit event.

Operators change when, never what: no field here takes the name of code.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from crons import api
from crons.exceptions import Refused
from crons.models import Entry, Pause, Run
from crons.presentation import describe_state
from crons.verdicts import State, Verdict
from crons.web.act_forms import ConfirmForm, OptionalReasonForm, PauseForm, ReasonForm


@dataclass(frozen=True)
class Act:
    """One verb. *fits* says for which rows its button is shown; *do* raises CronsError where it is refused."""

    verb: str
    title: str
    follows: str
    done: str
    permission: str
    form: type[ConfirmForm]
    fits: Callable[[Any], bool]
    do: Callable[[Any, str, Mapping[str, Any]], object]


def _run(entry: Any, by: str, given: Mapping[str, Any]) -> Run:
    key, reason = f"admin:{given['key']}:{entry.pk}", given.get("reason", "")
    return api.run_now(entry.name, by=by, args=given.get("args") or None, key=key, reason=reason)


def _pause(entry: Any, by: str, given: Mapping[str, Any]) -> None:
    api.pause(entry.name, by=by, reason=given["reason"], until=given["until"])


def _resume(entry: Any, by: str, given: Mapping[str, Any]) -> None:
    if entry.paused_at is None:
        raise Refused("it is not paused.")
    try:
        api.resume(entry.name, by=by, reason=given.get("reason", ""))
    except Refused as refused:
        raise Refused(f"{refused} Or end it here, in the list of pauses.") from refused


def _end(pause: Any, by: str, given: Mapping[str, Any]) -> None:
    reason = given.get("reason", "")
    if pause.entry is None:
        api.resume_all(by=by, tag=pause.tag, reason=reason)
    else:
        api.resume(pause.entry.name, by=by, reason=reason)


def _cancel(run: Any, by: str, given: Mapping[str, Any]) -> None:
    api.cancel(run.pk, by=by, reason=given["reason"])


def _retry(run: Any, by: str, given: Mapping[str, Any]) -> None:
    api.retry(run.pk, by=by, reason=given["reason"])


def _is_declared(entry: Any) -> bool:
    return entry.retired_at is None


def _has_own_pause(entry: Any) -> bool:
    return entry.paused_at is not None and not entry.pause_scope


RUN = Act(
    "run", "Run now",
    "A run besides the schedule is recorded; the next scheduler that looks begins it. It never moves the schedule.",
    "asked to run now", "run_entry", OptionalReasonForm, _is_declared, _run,
)  # fmt: skip
PAUSE = Act(
    "pause", "Pause",
    "Slots from now on are skipped, and each is recorded as such. What runs already goes on.",
    "paused", "pause_entry", PauseForm, lambda entry: _is_declared(entry) and not _has_own_pause(entry), _pause,
)  # fmt: skip
RESUME = Act(
    "resume", "Resume",
    "Slots from now on are run again. Those of the pause stay skipped.",
    "resumed", "pause_entry", OptionalReasonForm, _has_own_pause, _resume,
)  # fmt: skip
END = Act(
    "resume", "Resume",
    "The pause ends, and no other: what is paused besides by its name, by a tag or with everything stays so. "
    "Slots from now on are run again; those of the pause stay skipped.",
    "resumed", "pause_entry", OptionalReasonForm, lambda pause: True, _end,
)  # fmt: skip
CANCEL = Act(
    "cancel", "Cancel",
    "What has not begun ends at once. What runs is asked to stop when its lease is renewed, and killed if it does not.",
    "asked to stop", "cancel_run", ReasonForm, lambda run: run.state != State.DONE, _cancel,
)  # fmt: skip
RETRY = Act(
    "retry", "Retry",
    "The same run is opened for another try, with the same key and arguments: what the last try left half done "
    "is done again unless the job looks at its key.",
    "opened for another try", "retry_run", OptionalReasonForm,
    lambda run: run.state == State.DONE and run.verdict != Verdict.SUCCEEDED, _retry,
)  # fmt: skip


def why_unfit(act: Act, entry: Entry) -> str:
    """Say why *act* is nothing for *entry* as it stands; empty where it is."""
    return "" if act.fits(entry) else f"it cannot be {act.done} as it stands: {describe_state(entry).text}."


def seen_of(entry: Entry) -> str:
    """Return what a page shows of how *entry* stands, in words: a button carries it, so that a stale one is noticed."""
    return json.dumps([describe_state(entry).text, entry.schedule, entry.zone])


def changed_since(entry: Entry, seen: str) -> str:
    """Say what of *entry* is otherwise than whoever pressed a button saw it; empty where nothing is."""
    try:
        state, *when = json.loads(seen)
        state, when = str(state), [str(each) for each in when]
    except (ValueError, TypeError, RecursionError):
        return "" if not seen else "what it looked like when the page was made cannot be read"
    told = []
    now = describe_state(entry).text
    if state != now:
        told.append(f"it was {state!r} when the page was made, and is {now!r} now")
    if when != [entry.schedule, entry.zone]:
        told.append(f"its schedule was {' in '.join(when)!r}, and is {entry.schedule!r} in {entry.zone!r} now")
    return "; ".join(told)


def stamp_of(run: Run) -> str:
    """Return what tells a run from what becomes of it: a button carries it, so that a stale one is noticed."""
    return f"{run.state}-{run.verdict}-{run.tries}"


def stamp_of_pause(pause: Pause) -> str:
    """Return what tells a pause from another of the same scope that took its place."""
    return f"{pause.paused_at.isoformat()} {pause.until.isoformat() if pause.until else ''} {pause.by}"
