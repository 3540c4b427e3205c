"""Gathering: the facts of one answer, found by a few statements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from django.db.models import QuerySet

from crons import watch
from crons.conf import conf
from crons.exceptions import CronsError, Refused
from crons.models import Attempt, Entry, Range, Run
from crons.schedules import FAR_FUTURE, FAR_PAST, Schedule, parse
from crons.verdicts import Kind, Reason, State, Verdict
from crons.why import asked as moments
from crons.why import rows, statements
from crons.why.facts import Asked, Deed, Facts, InTheWay, Nearby, RunFacts, Silence

TICK = timedelta.resolution
OVERLAPPED = "run "
# No run has a number of more.
DIGITS = 19
CHANGES = ("change", "return", "reschedule")


@dataclass(frozen=True)
class Place:
    """Where the moment stands: whether it is a slot, and the slots beside it, where an answer is about them."""

    is_slot: bool
    before: datetime | None
    after: datetime | None

    @property
    def beside(self) -> list[datetime]:
        """The slots beside it that there are."""
        return [at for at in (self.before, self.after) if at is not None]


@dataclass(frozen=True)
class Others:
    """What else the ledger has that an answer about one slot may name. *written_off* is the range the slot lies in."""

    is_open: bool
    ranges: Mapping[datetime, Range]
    written_off: Range | None
    runs: Sequence[Run]
    overlapped: Run | None
    going: Run | None
    newer: Run | None
    attempts: Sequence[Attempt]


def gather(name: str, moment: str | datetime | None, now: datetime, *, run: int | None = None) -> Facts:
    """Find what is known of one slot of the entry called *name*; of *run*, where one is given.

    Raises: UnknownJob; Refused if *moment* is none, or *run* is no run of that entry.
    Cost: at most statements.MOST_STATEMENTS.
    """
    entry, renamed = statements.entry_called(name)
    tz, current = _tz(entry.zone), _parsed(entry.schedule)
    known = statements.runs_of(entry)
    given = _given(entry, known, run, moment)
    asked = _asked(moment, entry, current, tz, now, given)
    found = given or known.filter(slot_at=asked.at).first()
    of_entry, of_run = statements.deeds(entry, found)
    deeds = tuple(map(rows.deed_facts, of_entry))
    changed, set_by = _changes(deeds, asked.at)
    schedule, zone = _schedule_then(entry, current, changed)
    place = _place(entry, found, schedule, asked.at, _tz(zone))
    others = _others(entry, known, found, asked.at, place)
    facts = Facts(
        now=now,
        asked=asked,
        entry=rows.entry_facts(entry),
        schedule=schedule,
        schedule_zone=zone,
        is_slot=place.is_slot,
        grace=conf.grace,
        kept=min((each for each in conf.keep.values() if each is not None), default=None),
        run=rows.run_facts(found, others.attempts),
        range=rows.range_facts(others.written_off),
        deeds=deeds,
        of_run=tuple(map(rows.deed_facts, of_run)),
        changed=changed,
        set_by=set_by,
        renamed=rows.deed_facts(renamed) if renamed is not None else None,
        former_name=name if name != entry.name else "",
        pause=rows.pause_facts(entry, now),
        overlapped=rows.run_facts(others.overlapped, others.attempts),
        newer=rows.run_facts(others.newer),
        silence=_silence(asked.at, found, others.written_off),
        before=_nearby(place.before, others),
        after=_nearby(place.after, others),
        requested=_requested(asked.at, others.runs) if not place.is_slot else (),
        next_at=_next(entry, current, tz, now),
    )
    if not others.is_open:
        return facts
    schedulers = tuple(rows.scheduler_facts(each, entry) for each in watch.living(now))
    return replace(facts, schedulers=schedulers, in_the_way=_in_the_way(entry, found, others))


def _given(entry: Entry, known: QuerySet[Run], run: int | None, moment: str | datetime | None) -> Run | None:
    """Return the run that is asked about, where that is no slot's by its moment."""
    if run is not None:
        given = known.filter(pk=run).first()
        if given is None:
            raise Refused(f"run {run} is none of {entry.name!r}. See: manage.py crons history {entry.name}")
        return given
    if moment is None and not entry.schedule:  # the newest that somebody asked for
        return known.order_by("-planned_at", "-pk").first()
    return None


def _asked(
    moment: str | datetime | None, entry: Entry, schedule: Schedule | None, tz: tzinfo, now: datetime, run: Run | None
) -> Asked:
    if run is not None:
        return Asked(run.slot_at or run.planned_at)
    if moment is not None:
        return moments.read(moment, schedule, entry.zone, tz, now, since=entry.first_seen_at)
    newest = schedule.latest(entry.retired_at or now, tz) if schedule is not None else FAR_PAST
    if newest > entry.first_seen_at:
        return Asked(newest)
    # Nothing has come yet: the first that will.
    coming = schedule.next_after(now, tz) if schedule is not None else FAR_FUTURE
    return Asked(coming if coming < FAR_FUTURE else now)


def _changes(deeds: Sequence[Deed], at: datetime) -> tuple[Deed | None, Deed | None]:
    """Return the first change of the schedule after *at*, and the last one before it."""
    those = [each for each in deeds if each.verb in CHANGES and _when(each.before) != _when(each.after)]
    # Changing closes the account: what is due at that very moment is still recorded under the old text.
    later = next((each for each in those if each.at >= at), None)
    earlier = [each for each in those if each.at < at]
    return later, earlier[-1] if earlier else None


def _schedule_then(entry: Entry, current: Schedule | None, changed: Deed | None) -> tuple[Schedule | None, str]:
    """Return the schedule that held at the moment, and its zone: what the first change after it took away."""
    if changed is None:
        return current, entry.zone
    return _parsed(str(changed.before.get("schedule") or "")), str(changed.before.get("zone") or entry.zone)


def _place(entry: Entry, found: Run | None, schedule: Schedule | None, at: datetime, tz: tzinfo) -> Place:
    is_slot = found is not None or (schedule is not None and _is_slot(schedule, at, tz))
    is_early = found is None and at <= entry.first_seen_at
    return Place(
        is_slot=is_slot,
        before=_beside(entry, schedule, at, tz, -1) if not is_slot else None,
        after=_beside(entry, schedule, at, tz, 1) if not is_slot or is_early else None,
    )


def _others(entry: Entry, known: QuerySet[Run], found: Run | None, at: datetime, place: Place) -> Others:
    """Read with three statements what else may be named: ranges, runs, and the attempts of these."""
    is_missing = found is None and place.is_slot
    ranges = statements.ranges_at(entry, [*([at] if is_missing else []), *place.beside])
    written_off = ranges.get(at) if is_missing else None
    is_open = found.state != State.DONE if found is not None else is_missing and written_off is None
    asks_newer, overlapped_by = _newer(known, found, written_off), _overlapped_by(found)
    runs = statements.some_runs(
        [
            *(known.filter(slot_at=each)[:1] for each in place.beside),
            None if place.is_slot else statements.requested_at(entry, at),
            known.filter(pk=overlapped_by) if overlapped_by else None,
            asks_newer,
            known.filter(active_key=entry.pk)[:1] if is_open else None,
        ]
    )
    overlapped = next((each for each in runs if each.pk == overlapped_by), None)
    going = next((each for each in runs if is_open and each.active_key == entry.pk), None)
    newer_than = found.slot_at if found is not None else written_off.last_at if written_off is not None else None
    newer = next((each for each in runs if newer_than and each.slot_at and each.slot_at > newer_than), None)
    return Others(
        is_open=is_open,
        ranges=ranges,
        written_off=written_off,
        runs=runs,
        overlapped=overlapped,
        going=going,
        newer=newer if asks_newer is not None else None,
        attempts=statements.attempts_of({each.pk: each for each in (found, overlapped, going) if each}.values()),
    )


def _when(said: Mapping[str, Any]) -> tuple[object, object]:
    return said.get("schedule"), said.get("zone")


def _parsed(text: str) -> Schedule | None:
    try:
        return parse(text)
    except CronsError:
        return None


def _tz(zone: str) -> tzinfo:
    try:
        return ZoneInfo(zone)
    except (ValueError, OSError, KeyError):  # this machine has no data of it; moments are then said in UTC
        return timezone.utc  # noqa: UP017 (datetime.UTC is the same object; its type here is tzinfo)


def _is_slot(schedule: Schedule, at: datetime, tz: tzinfo) -> bool:
    return at < FAR_FUTURE and schedule.next_after(at - TICK, tz) == at


def _beside(entry: Entry, schedule: Schedule | None, at: datetime, tz: tzinfo, side: int) -> datetime | None:
    """Return the slot before (-1) or after *at*."""
    if schedule is None:
        return None
    slot = schedule.latest(at, tz) if side < 0 else schedule.next_after(at, tz)
    if side > 0 and slot <= entry.first_seen_at:
        slot = schedule.next_after(entry.first_seen_at, tz)  # what was due before is no slot
    return slot if entry.first_seen_at < slot < FAR_FUTURE else None


def _nearby(slot: datetime | None, others: Others) -> Nearby | None:
    """Say what became of a slot beside the moment."""
    if slot is None:
        return None
    run = next((each for each in others.runs if each.slot_at == slot), None)
    if run is not None:
        return Nearby(slot, run.verdict or run.state, run.reason)
    within = others.ranges.get(slot)
    return Nearby(slot, within.verdict, within.reason) if within is not None else Nearby(slot, "")


def _overlapped_by(run: Run | None) -> int | None:
    """Return the number of the run that a skipped slot found in its way; its detail names it."""
    if run is None or run.reason != Reason.OVERLAP or not run.detail.startswith(OVERLAPPED):
        return None
    number = run.detail.removeprefix(OVERLAPPED).partition(" ")[0]
    return int(number) if number.isdecimal() and len(number) < DIGITS else None


def _newer(known: QuerySet[Run], run: Run | None, written_off: Range | None) -> QuerySet[Run] | None:
    """Ask for the newer slot that was run instead, or whose success left no use for another try."""
    if run is not None and run.slot_at is not None and run.verdict == Verdict.SUPERSEDED:
        found = known.filter(verdict="succeeded", slot_at__gt=run.slot_at)
    elif run is not None and run.slot_at is not None and run.reason == Reason.CATCH_UP:
        found = known.filter(slot_at__gt=run.slot_at)
    elif written_off is not None and written_off.reason in (Reason.CATCH_UP, Reason.CAP):
        found = known.filter(slot_at__gt=written_off.last_at, recorded_at=written_off.recorded_at)
    else:
        return None
    return found.order_by("slot_at")[:1]


def _silence(at: datetime, run: Run | None, written_off: Range | None) -> Silence | None:
    """Say between which two looks at the clock the slot *at* fell, where the later one came late."""
    kept = run if run is not None and run.kind == Kind.SLOT else written_off
    if kept is None or kept.recorded_at - at <= conf.grace:
        return None
    (last_at, last_of), others = statements.signs_around(at, kept.recorded_at)
    return Silence(last_at, last_of, kept.recorded_at, others)


def _requested(at: datetime, runs: Sequence[Run]) -> tuple[RunFacts, ...]:
    """Return the runs that somebody asked for in the minute that begins at *at*."""
    until = at + timedelta(minutes=1) if at < FAR_FUTURE else at
    found = [rows.run_facts(each) for each in runs if at <= each.planned_at < until]
    return tuple(each for each in found if each is not None)[: statements.REQUESTED]


def _next(entry: Entry, schedule: Schedule | None, tz: tzinfo, now: datetime) -> datetime | None:
    if schedule is None or entry.retired_at is not None or entry.parked_reason:
        return None
    found = schedule.next_after(now, tz)
    return found if found < FAR_FUTURE else None


def _in_the_way(entry: Entry, run: Run | None, others: Others) -> InTheWay:
    going = others.going
    busy = [each for each in statements.going_attempts() if run is None or each.run_id != run.pk]
    return InTheWay(
        going=rows.run_facts(going, others.attempts) if run is None or going is None or going.pk != run.pk else None,
        group_running=statements.running_in_full_group(entry),
        busy=tuple(map(rows.busy_facts, busy)),
        places=conf.max_running,
    )
