"""What people do to one entry from its page; what changes many slots at once is shown before it is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from crons import api, ledger
from crons.models import Entry
from crons.presentation import distance, local
from crons.schedules import FAR_FUTURE, parse
from crons.web.act_forms import OptionalReasonForm
from crons.web.acts import PAUSE, RESUME, RUN, Act
from crons.web.job.forms import BackfillForm, RescheduleForm, in_zone

SHOWN = 20
PREVIEWED = 5


@dataclass(frozen=True)
class Preview:
    """What an act would do. *expected* comes back with the yes: what has changed meanwhile is shown anew."""

    says: str
    moments: Sequence[datetime] = ()
    more: int = 0
    expected: str = ""


@dataclass(frozen=True)
class LookedAt(Act):
    """An act that is looked at before it is done; *look* records nothing."""

    look: Callable[[Entry, Mapping[str, Any]], Preview] = field(kw_only=True)


def _span(entry: Entry, given: Mapping[str, Any]) -> tuple[datetime, datetime]:
    until = in_zone(given["until"], entry.zone) if given["until"] else ledger.database_now()
    return in_zone(given["since"], entry.zone), until


def _look_at_backfill(entry: Entry, given: Mapping[str, Any]) -> Preview:
    slots = api.backfill(entry.name, *_span(entry, given), by="", dry_run=True)
    if not slots:
        return Preview("Every slot in this span has succeeded, or waits for its turn already: there is nothing to run.")
    many = "1 slot has" if len(slots) == 1 else f"{len(slots)} slots have"
    says = f"{many} no success and would be run, oldest first:"
    # Which, not only how many: while somebody reads, one may fail and another one be made up for.
    expected = f"{len(slots)} {slots[0].isoformat()} {slots[-1].isoformat()}"
    return Preview(says, slots[:SHOWN], max(len(slots) - SHOWN, 0), expected)


def _backfill(entry: Entry, by: str, given: Mapping[str, Any]) -> object:
    return api.backfill(entry.name, *_span(entry, given), by=by, reason=given["reason"])


def _look_at_schedule(entry: Entry, given: Mapping[str, Any]) -> Preview:
    schedule = parse(given["schedule"], zone=given["zone"] or None)
    zone = schedule.zone or entry.overrides.get("declared_zone") or entry.zone
    at = now = ledger.database_now()
    found: list[datetime] = []
    while len(found) < PREVIEWED and (at := schedule.next_after(at, ZoneInfo(zone))) < FAR_FUTURE:
        found.append(at)
    if (schedule.text, zone) == (entry.schedule, entry.zone):
        return Preview(f"It is on this schedule already: {schedule.explain()} ({schedule.text}), {zone}.")
    first = f" The first, {local(found[0], zone)}, is {distance(found[0], now)}." if found else " It has no slots."
    says = f"From now on: {schedule.explain()} ({schedule.text}), {zone}.{first} What fell due before stays as it was."
    return Preview(says, found, expected=f"{schedule.text} {zone}")


def _reschedule(entry: Entry, by: str, given: Mapping[str, Any]) -> object:
    return api.reschedule(entry.name, given["schedule"], by=by, zone=given["zone"], reason=given["reason"])


def _as_declared(entry: Entry, by: str, given: Mapping[str, Any]) -> object:
    return api.reschedule(entry.name, None, by=by, reason=given["reason"])


def _can_be_planned(entry: Any) -> bool:
    return entry.retired_at is None and not entry.parked_reason and bool(entry.schedule)


BACKFILL = LookedAt(
    "backfill", "Backfill",
    "The slots of a span that have no success are run after all: missed, skipped, failed, or from before it was "
    "declared. Each has the key and the window of its slot; slots that fall due come first.",
    "is run, oldest first", "run_entry", BackfillForm, _can_be_planned, _backfill, look=_look_at_backfill,
)  # fmt: skip
RESCHEDULE = LookedAt(
    "reschedule", "Reschedule",
    "It falls due as you say, whatever the code declares, until somebody drops the override. What fell due before is "
    "recorded under the old schedule.",
    "rescheduled", "change_entry", RescheduleForm, lambda entry: entry.retired_at is None, _reschedule,
    look=_look_at_schedule,
)  # fmt: skip
AS_DECLARED = Act(
    "declared", "Drop the override",
    "It falls due as the code declares again.",
    "on its declared schedule again", "change_entry", OptionalReasonForm,
    lambda entry: entry.retired_at is None and "schedule" in entry.overrides, _as_declared,
)  # fmt: skip
ACTS = {each.verb: each for each in (RUN, PAUSE, RESUME, BACKFILL, RESCHEDULE, AS_DECLARED)}
