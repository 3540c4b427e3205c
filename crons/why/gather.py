"""Gathering: the statements that find the facts of one answer.

No more than MOST_STATEMENTS, however long the history is and however many entries there are; each reads along an index
and stops after so many rows. tests/crons/why/test_growth.py holds their plans.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from django.db.models import Q

from crons import ledger, watch
from crons.conf import conf
from crons.exceptions import CronsError, Refused
from crons.jobs import Policy
from crons.models import Attempt, AuditEvent, Entry, Heartbeat, Range, Run, is_text
from crons.schedules import FAR_FUTURE, FAR_PAST, Schedule, parse
from crons.verdicts import Kind, Reason, State, Verdict, named_error
from crons.why import asked as moments
from crons.why.facts import (
    Asked,
    AttemptFacts,
    Deed,
    EntryFacts,
    Facts,
    InTheWay,
    Nearby,
    PauseFacts,
    RangeFacts,
    RunFacts,
    Scheduler,
    Silence,
)

MOST_STATEMENTS = 20
ATTEMPTS = 5
DEEDS = 200
SIGNS = 20
REQUESTED = 3
GOING = 100
RENAMES = 5
TICK = timedelta.resolution
OVERLAPPED = "run "
CHANGES = ("change", "return", "reschedule")


def gather(name: str, moment: str | datetime | None, now: datetime, *, run: int | None = None) -> Facts:
    """Find what is known of one slot of the entry called *name*; of *run*, where one is given.

    Raises: UnknownJob; Refused if *moment* is none, or *run* is no run of that entry.
    """
    entry, renamed = _find(name)
    deeds = _deeds(entry)
    tz = _tz(entry.zone)
    current = _parsed(entry.schedule)
    known = Run.objects.using(conf.database).filter(entry=entry)
    given = known.filter(pk=run).first() if run is not None else None
    if run is not None and given is None:
        raise Refused(f"run {run} is none of {entry.name!r}. See: manage.py crons history {entry.name}")
    asked = _asked(moment, entry, current, tz, now, given or _newest_by_hand(entry, current, moment, known))
    changed, set_by = _changes(deeds, asked.at)
    schedule, zone = current, entry.zone
    if changed is not None:
        was = changed.before
        schedule, zone = _parsed(str(was.get("schedule") or "")), str(was.get("zone") or entry.zone)
    there = _tz(zone)
    found = given or known.filter(slot_at=asked.at).first()
    if found is None and moment is None and not entry.schedule:
        found = _newest_by_hand(entry, current, moment, known)
    is_slot = found is not None or (schedule is not None and _is_slot(schedule, asked.at, there))
    is_early = found is None and asked.at <= entry.first_seen_at
    written_off = _range_at(entry, asked.at) if found is None and is_slot else None
    first = found.recorded_at if found else written_off.recorded_at if written_off else None
    is_kept_slot = found is not None and found.kind == Kind.SLOT
    facts = Facts(
        now=now,
        asked=asked,
        entry=_entry(entry),
        schedule=schedule,
        schedule_zone=zone,
        is_slot=is_slot,
        grace=conf.grace,
        kept=min((each for each in conf.keep.values() if each is not None), default=None),
        run=_run(found, _attempts([found.pk])) if found else None,
        range=_range(written_off) if written_off else None,
        deeds=deeds,
        of_run=_events("run", [str(found.pk)], SIGNS) if found else (),
        changed=changed,
        set_by=set_by,
        renamed=renamed,
        former_name=name if name != entry.name else "",
        pause=_pause(entry, now),
        overlapped=_overlapped(entry, found),
        newer=_newer(entry, found, written_off),
        silence=_silence(entry, asked.at, first) if first and (is_kept_slot or written_off) else None,
        before=_nearby(entry, schedule, asked.at, there, -1) if not is_slot else None,
        after=_nearby(entry, schedule, asked.at, there, 1) if not is_slot or is_early else None,
        requested=_requested(entry, asked.at) if not is_slot else (),
        next_at=_next(entry, current, tz, now),
    )
    if asked.at > now or found is None or found.state != State.DONE:
        return _with_present(facts, entry, found, now)
    return facts


def _find(name: str) -> tuple[Entry, Deed | None]:
    """Return the entry called *name*, or that was called so once, and the deed that renamed it."""
    entries = Entry.objects.using(conf.database)
    entry = entries.filter(name=name).first() if is_text(name) else None
    if entry is not None:
        return entry, None
    former, renamed = name, None
    for _ in range(RENAMES if is_text(name) else 0):
        events = AuditEvent.objects.using(conf.database).filter(
            subject_type="entry", verb__in=["rename", "merge"], before__name=former
        )
        event = events.order_by("-pk").first()
        if event is None:
            break
        renamed, former = renamed or _deed(event), event.subject
        if (entry := entries.filter(name=former).first()) is not None:
            return entry, renamed
    raise ledger.unknown_entry(name, conf.database)


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


def _newest_by_hand(entry: Entry, schedule: Schedule | None, moment: object, known: Any) -> Run | None:
    """Return the newest run of an entry that has no schedule, where no moment was asked for."""
    if moment is not None or entry.schedule:
        return None
    newest: Run | None = known.order_by("-planned_at", "-pk").first()
    return newest


def _deeds(entry: Entry) -> tuple[Deed, ...]:
    """List what was done to the entry, under its former names too, oldest first."""
    own = _events("entry", [entry.name], DEEDS)
    former = [str(each.before["name"]) for each in own if each.verb in ("rename", "merge") and "name" in each.before]
    older = _events("entry", former, DEEDS) if former else ()
    scopes = _events("tag", [str(tag) for tag in entry.tags][:SIGNS], SIGNS) if entry.tags else ()
    return tuple(sorted([*older, *own, *scopes, *_events("all", ["all"], SIGNS)], key=lambda each: each.at))


def _events(kind: str, subjects: Sequence[str], limit: int) -> tuple[Deed, ...]:
    rows = AuditEvent.objects.using(conf.database).filter(subject_type=kind, subject__in=subjects)
    return tuple(_deed(each) for each in reversed(rows.order_by("-pk")[:limit]))


def _deed(event: AuditEvent) -> Deed:
    before, after = (each if isinstance(each, dict) else {} for each in (event.before, event.after))
    about = f"tag:{event.subject}" if event.subject_type == "tag" else event.subject_type
    return Deed(about, event.verb, event.at, event.actor, event.reason, before, after)


def _changes(deeds: Sequence[Deed], at: datetime) -> tuple[Deed | None, Deed | None]:
    """Return the first change of the schedule after *at*, and the last one before it."""
    those = [each for each in deeds if each.verb in CHANGES and _when(each.before) != _when(each.after)]
    # Changing closes the account: what is due at that very moment is still recorded under the old text.
    later = next((each for each in those if each.at >= at), None)
    earlier = [each for each in those if each.at < at]
    return later, earlier[-1] if earlier else None


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


def _range_at(entry: Entry, at: datetime) -> Range | None:
    """Return what wrote the slot *at* off: along (entry, first_at), of which the last that begins before is read."""
    rows = Range.objects.using(conf.database).filter(entry=entry, first_at__lte=at).order_by("-first_at")
    found = rows.first()
    return found if found is not None and found.last_at >= at else None


def _attempts(runs: Sequence[int]) -> tuple[AttemptFacts, ...]:
    rows = Attempt.objects.using(conf.database).filter(run__in=runs).order_by("-number")[:ATTEMPTS]
    return tuple(_attempt(each) for each in reversed(rows))


def _attempt(row: Attempt, entry: Entry | None = None) -> AttemptFacts:
    return AttemptFacts(
        id=row.pk,
        number=row.number,
        outcome=row.outcome,
        host=row.host,
        begun_at=row.begun_at,
        ended_at=row.ended_at,
        error=named_error(row.error)[:500],
        late_outcome=row.late_outcome,
        cancel_asked_at=row.cancel_requested_at,
        lease_until=row.lease_until,
        entry=entry.name if entry is not None else "",
        group=str(entry.policy.get("group") or "") if entry is not None else "",
        run=row.run_id,
        instance=row.instance,
    )


def _run(row: Run, attempts: tuple[AttemptFacts, ...] = ()) -> RunFacts:
    names = [name for name in RunFacts.__dataclass_fields__ if name != "attempts"]
    return RunFacts(**{name: getattr(row, name) for name in names}, attempts=attempts)


def _range(row: Range) -> RangeFacts:
    return RangeFacts(
        first_at=row.first_at,
        last_at=row.last_at,
        count=row.count,
        verdict=row.verdict,
        reason=row.reason,
        trigger=row.trigger,
        recorded_at=row.recorded_at,
        pause=_kept_pause(row.pause) if row.pause else None,
    )


def _kept_pause(kept: Mapping[str, Any]) -> PauseFacts:
    since, until = (_moment(kept.get(name)) for name in ("since", "until"))
    return PauseFacts(since, until, *(str(kept.get(name) or "") for name in ("by", "reason", "scope")))


def _moment(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text)) if text else None
    except ValueError:
        return None


def _entry(row: Entry) -> EntryFacts:
    try:
        policy = ledger.policy_of(row)
    except CronsError:
        policy = Policy()
    names = ("id", "name", "job", "schedule", "zone", "first_seen_at", "accounted_until", "retired_at")
    more = ("parked_reason", "declared_at", "declared_by", "vouched_until")
    return EntryFacts(
        **{name: getattr(row, name) for name in (*names, *more)},
        catch_up=policy.catch_up,
        executor=policy.executor,
        group=policy.group or "",
        allows_overlap=policy.overlap == "allow",
        retries=policy.retry.times,
        is_idempotent=policy.idempotent,
        deadline=policy.deadline,
    )


def _pause(entry: Entry, now: datetime) -> PauseFacts | None:
    """Return the pause in force."""
    if entry.paused_at is None or (entry.paused_until is not None and entry.paused_until <= now):
        return None
    return PauseFacts(entry.paused_at, entry.paused_until, entry.paused_by, entry.pause_reason, entry.pause_scope)


def _overlapped(entry: Entry, run: Run | None) -> RunFacts | None:
    """Return the run that a skipped slot found in its way; its detail names it."""
    if run is None or run.reason != Reason.OVERLAP or not run.detail.startswith(OVERLAPPED):
        return None
    number = run.detail.removeprefix(OVERLAPPED).partition(" ")[0]
    found = Run.objects.using(conf.database).filter(pk=number).first() if number.isdecimal() else None
    return _run(found, _attempts([found.pk])) if found is not None else None


def _newer(entry: Entry, run: Run | None, written_off: Range | None) -> RunFacts | None:
    """Return the newer slot that was run instead, or whose success left no use for another try."""
    rows = Run.objects.using(conf.database).filter(entry=entry)
    if run is not None and run.slot_at is not None and run.verdict == Verdict.SUPERSEDED:
        found = rows.filter(verdict="succeeded", slot_at__gt=run.slot_at).order_by("slot_at").first()
    elif run is not None and run.slot_at is not None and run.reason == Reason.CATCH_UP:
        found = rows.filter(slot_at__gt=run.slot_at).order_by("slot_at").first()
    elif written_off is not None and written_off.reason in (Reason.CATCH_UP, Reason.CAP):
        since = rows.filter(slot_at__gt=written_off.last_at, recorded_at=written_off.recorded_at)
        found = since.order_by("slot_at").first()
    else:
        return None
    return _run(found) if found is not None else None


def _silence(entry: Entry, at: datetime, recorded_at: datetime) -> Silence | None:
    """Say between which two looks at the clock the slot *at* fell, where the later one came late.

    Each look that finds something due leaves rows: the newest before it, of whichever entry, is the last sign of one.
    """
    if recorded_at - at <= conf.grace:
        return None
    rows = Run.objects.using(conf.database).exclude(kind=Kind.BACKFILL)
    before = rows.filter(planned_at__lt=at).order_by("-planned_at", "-pk").values_list("recorded_at", "entry__name")
    signs = [each for each in before[:SIGNS] if each[0] <= at]
    last_at, last_of = max(signs, default=(None, ""))
    meanwhile = rows.filter(planned_at__gte=at, planned_at__lt=recorded_at).order_by("planned_at", "pk")
    others = [each for each in meanwhile.values_list("recorded_at", flat=True)[:SIGNS] if each < recorded_at]
    return Silence(last_at, last_of, recorded_at, len(others))


def _nearby(entry: Entry, schedule: Schedule | None, at: datetime, tz: tzinfo, side: int) -> Nearby | None:
    """Return the slot before (-1) or after *at*, and what became of it."""
    if schedule is None:
        return None
    slot = schedule.latest(at, tz) if side < 0 else schedule.next_after(at, tz)
    if side > 0 and slot <= entry.first_seen_at:
        slot = schedule.next_after(entry.first_seen_at, tz)  # what was due before is no slot
    if not entry.first_seen_at < slot < FAR_FUTURE:
        return None
    run = Run.objects.using(conf.database).filter(entry=entry, slot_at=slot).first()
    if run is not None:
        return Nearby(slot, run.verdict or run.state, run.reason)
    written_off = _range_at(entry, slot)
    return Nearby(slot, written_off.verdict, written_off.reason) if written_off is not None else Nearby(slot, "")


def _requested(entry: Entry, at: datetime) -> tuple[RunFacts, ...]:
    """List the runs that somebody asked for in the minute that begins at *at*."""
    rows = Run.objects.using(conf.database).filter(
        entry=entry, planned_at__gte=at, planned_at__lt=at + timedelta(minutes=1) if at < FAR_FUTURE else at
    )
    return tuple(_run(each) for each in rows.order_by("planned_at", "pk")[:REQUESTED])


def _next(entry: Entry, schedule: Schedule | None, tz: tzinfo, now: datetime) -> datetime | None:
    if schedule is None or entry.retired_at is not None or entry.parked_reason:
        return None
    found = schedule.next_after(now, tz)
    return found if found < FAR_FUTURE else None


def _with_present(facts: Facts, entry: Entry, run: Run | None, now: datetime) -> Facts:
    """Add what holds now: who looks at the clock, and what is in the way of a run that is due."""
    beats = watch.living(now)
    schedulers = tuple(_scheduler(each, entry) for each in beats)
    in_the_way = _in_the_way(entry, beats, run)
    return replace(facts, schedulers=schedulers, in_the_way=in_the_way)


def _scheduler(beat: Heartbeat, entry: Entry) -> Scheduler:
    return Scheduler(
        kind=beat.kind,
        host=beat.host,
        pid=beat.pid,
        release=beat.release,
        started_at=beat.started_at,
        knows=None if beat.declares is None else entry.name in beat.declares,
        lacks_zone=entry.zone in (beat.lacks or []),
        is_draining=beat.draining,
        instance=beat.instance,
    )


def _in_the_way(entry: Entry, beats: Sequence[Heartbeat], run: Run | None) -> InTheWay:
    rows = Run.objects.using(conf.database).filter(active_key=entry.pk)
    going = rows.first()
    if going is not None and run is not None and going.pk == run.pk:
        going = None
    # The range is for PostgreSQL: of IS NOT NULL it thinks, until it has statistics, that it holds for all rows.
    leased = Q(lease_until__isnull=False, lease_until__range=(FAR_PAST, FAR_FUTURE))
    attempts = Attempt.objects.using(conf.database).filter(leased).select_related("run__entry")
    busy = [each for each in attempts.order_by("begun_at")[:GOING] if run is None or each.run_id != run.pk]
    group = entry.policy.get("group")
    return InTheWay(
        going=_run(going, _attempts([going.pk])) if going is not None else None,
        group_running=ledger.full_groups(conf.database).get(group, 0) if isinstance(group, str) else 0,
        busy=tuple(_attempt(each, each.run.entry) for each in busy),
        places=conf.max_running,
    )
