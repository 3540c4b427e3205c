"""One declaration → one entry's row, in a transaction of its own.

Changing a schedule closes the account: what fell due under the old text is recorded under the old
text, and counting starts anew.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from crons.columns import Garbled
from crons.conf import conf
from crons.hosts.instances import host
from crons.jobs import Declaration, Job, registry
from crons.ledger import (
    account_for,
    account_of,
    apply_pauses,
    is_busy,
    keep_keys,
    lock_deployment,
    locked,
    merge,
    note,
    pause_new,
    refuse_retired,
    requeue_entry,
    storable,
    verb,
    write_off_retired,
    writing,
)
from crons.models import AuditEvent, Entry
from crons.schedules import parse, zone_data
from crons.sources import NewPause

# What of Entry.overrides says when: a person's text and zone, and what is declared meanwhile.
OVERRIDDEN = ("schedule", "zone", "declared", "declared_zone")
OUTDATED = "outdated"
# How much of what cannot be read an audit event keeps.
LONGEST_FOUND = 1_000


@dataclass(frozen=True)
class Known:
    """What this code declares, what a living scheduler of another project does, and all that living ones do.

    *paused*: what begins paused, and why.
    """

    declared: Collection[str]
    foreign: Mapping[str, str]
    living: Collection[str]
    paused: Mapping[str, NewPause]

    def former(self, declaration: Declaration) -> list[str]:
        """Return the former names of *declaration* that are nobody's now."""
        return [name for name in declaration.aliases if name not in self.declared and name not in self.foreign]


@verb
def write(declaration: Declaration, now: datetime, known: Known, by: str) -> str:
    job = registry.get(declaration.job)
    wanted = _columns(declaration, job)
    with writing() as using:
        lock_deployment(using)
        entries = Entry.objects.using(using).select_for_update()
        entry = entries.filter(name=declaration.name).first()
        deed = "unchanged"
        # Names that somebody else declares are no former ones.
        former = entries.filter(name__in=known.former(declaration)).order_by("id")
        for old in former if declaration.aliases else ():
            if entry is None:
                entry = old
                note("rename", "entry", declaration.name, by, now, using, before={"name": old.name})
            elif is_busy([old, entry], using):
                continue
            else:
                entry = merge(old, entry, now, by, using)
            deed = "renamed"
        if entry is None and _is_outdated(declaration.name, known, using):
            return OUTDATED
        if entry is None:
            _create(declaration, wanted, now, known, using)
            return "created"
        if isinstance(entry.overrides, Garbled):
            # A person's override that cannot be read: while it stands, the entry cannot be planned.
            wanted["overrides"] = {}
            found = {"overrides": storable(entry.overrides.text, LONGEST_FOUND)}
            note("mend", "entry", declaration.name, by, now, using, before=found, after={"overrides": {}})
        _keep_override(entry, wanted)
        if not wanted["zone_hash"] and wanted["zone"] == entry.zone:
            del wanted["zone_hash"]  # this machine lacks the zone: what its rules are others have written
        differing = [name for name, value in wanted.items() if _differs(getattr(entry, name), value)]
        was = {"schedule": entry.schedule, "zone": entry.zone}
        if entry.retired_at is not None:
            _reopen(entry, wanted, now, using)
            if declaration.name in known.paused:
                _pause_new(entry, now, known, using)
        elif {"schedule", "zone", "policy", "tags"} & set(differing) or entry.parked_reason:
            _close_account(entry, wanted, now, using)
            if "policy" in differing:
                # What was sent may be for another executor or queue now.
                requeue_entry(entry, now, "its job was declared anew", using)
        if deed == "unchanged" and (differing or entry.retired_at is not None or entry.parked_reason):
            deed = "changed"
        if deed == "unchanged":
            return deed
        _note_change(entry, was, now, by, using)
        if deed == "renamed":
            keep_keys(entry, using)
        for name, value in {**wanted, "name": declaration.name}.items():
            setattr(entry, name, value)
        entry.retired_at, entry.parked_reason = None, ""
        apply_pauses([entry], now, using)  # its tags may be others now, or everything paused since it was retired
        entry.version += 1
        entry.save(using=using)
    return deed


def _note_change(entry: Entry, was: dict[str, str], now: datetime, by: str, using: str) -> None:
    """Write down which release declares otherwise when *entry* runs: long after, somebody asks what was a slot then."""
    now_declared = {"schedule": entry.schedule, "zone": entry.zone}
    if entry.retired_at is None and was == now_declared:
        return
    deed = "change" if entry.retired_at is None else "return"
    after = {**now_declared, "host": host(), "release": conf.release}
    note(deed, "entry", entry.name, by, now, using, before=was, after=after)


def _differs(stored: object, value: object) -> bool:
    # What stands in for a garbled value is empty, and equals an empty one.
    return isinstance(stored, Garbled) or stored != value


def _columns(declaration: Declaration, job: Job) -> dict[str, Any]:
    zone = declaration.schedule.zone or conf.time_zone
    return {
        "job": job.name,
        "source": declaration.source,
        "source_ref": declaration.source_ref[:255],
        "args": dict(declaration.args),
        "schedule": declaration.schedule.text,
        "zone": zone,
        "zone_hash": zone_data.fingerprint(zone),
        "policy": job.policy.as_json(),
        "description": job.description[:255],
        "owner": job.owner[:100],
        "tags": list(job.tags),
    }


def _declared(entry: Entry) -> tuple[str, str]:
    """Return the schedule and zone that code declares for *entry*, as of the last sync."""
    schedule, zone = (entry.overrides.get(name) for name in ("declared", "declared_zone"))
    # Somebody may have garbled them by hand.
    return schedule if isinstance(schedule, str) else entry.schedule, zone if isinstance(zone, str) else entry.zone


def _keep_override(entry: Entry, wanted: dict[str, Any]) -> None:
    """Have what a person said of when stand over what is declared, and note that; alike, it is an override no more."""
    if "schedule" not in entry.overrides:
        return
    overrides = {key: value for key, value in entry.overrides.items() if key not in OVERRIDDEN}
    person, declared = (entry.schedule, entry.zone), (wanted["schedule"], wanted["zone"])
    if person != declared:
        overrides |= dict(zip(OVERRIDDEN, (*person, *declared), strict=True))
        wanted |= {"schedule": person[0], "zone": person[1], "zone_hash": zone_data.fingerprint(person[1])}
    wanted["overrides"] = overrides


def _create(declaration: Declaration, wanted: dict[str, Any], now: datetime, known: Known, using: str) -> None:
    entry = Entry(name=declaration.name, first_seen_at=now, accounted_until=now, **wanted)
    entry.wake_at = _next_wake(entry, now)
    if declaration.name in known.paused:
        entry.save(using=using)  # its pause refers to it
        _pause_new(entry, now, known, using)
    apply_pauses([entry], now, using)
    entry.save(using=using)


def _pause_new(entry: Entry, now: datetime, known: Known, using: str) -> None:
    """Pause *entry*, which begins to run, because something else runs it already."""
    # In the transaction that writes the entry: a sync that was killed between two left the job running twice.
    held = known.paused[entry.name]
    pause_new(entry, now, by=held.by, reason=held.reason, using=using)


def _reopen(entry: Entry, wanted: dict[str, Any], now: datetime, using: str) -> None:
    was_readable = write_off_retired(entry, now, now, using)
    for name, value in wanted.items():
        setattr(entry, name, value)
    if not was_readable:
        # The slots are those of the new texts, as when it had been parked.
        write_off_retired(entry, now, now, using)
    entry.accounted_until = max(entry.accounted_until, now)
    entry.wake_at = _next_wake(entry, entry.accounted_until)


def _close_account(entry: Entry, wanted: dict[str, Any], now: datetime, using: str) -> None:
    account_for([entry], now, "sync", using)
    for name, value in wanted.items():
        setattr(entry, name, value)
    if not entry.parked_reason:
        entry.accounted_until = max(entry.accounted_until, now)
    entry.wake_at = _next_wake(entry, entry.accounted_until)


def _next_wake(entry: Entry, after: datetime) -> datetime:
    account = account_of(entry)
    return account.schedule.next_after(after, account.tz)


def _is_outdated(name: str, known: Known, using: str) -> bool:
    """Say whether *name* was renamed, and a running scheduler has the new name, which this code has not."""
    if not known.living:
        return False
    renames = AuditEvent.objects.using(using).filter(verb="rename", subject_type="entry", before__name=name)
    present = renames.order_by("-pk").values_list("subject", flat=True).first()
    return present is not None and present in known.living and present not in known.declared


@verb
def reschedule(name: str, now: datetime, *, text: str | None, zone: str, by: str, reason: str = "") -> Entry:
    """Have one entry fall due as *text* says in *zone* from now on, whatever is declared; None: as declared.

    What fell due before is recorded under the old text. Later declarations wait until the override is dropped.
    Raises: UnknownJob; InvalidSchedule; Refused if the entry is retired.
    """
    with writing() as using:
        entry = locked(name, using)
        refuse_retired(entry)
        declared = _declared(entry)
        zone = zone or declared[1]
        wanted = declared if text is None else (parse(text, zone=zone).text, zone)
        before = (entry.schedule, entry.zone)
        if wanted == before:
            return entry
        overrides = {key: value for key, value in entry.overrides.items() if key not in OVERRIDDEN}
        if wanted != declared:
            overrides |= dict(zip(OVERRIDDEN, (*wanted, *declared), strict=True))
        columns = {"schedule": wanted[0], "zone": wanted[1], "zone_hash": zone_data.fingerprint(wanted[1])}
        _close_account(entry, {**columns, "overrides": overrides}, now, using)
        entry.parked_reason = ""
        entry.version += 1
        entry.save(using=using)
        times = [{"schedule": text, "zone": zone} for text, zone in (before, wanted)]
        note("reschedule", "entry", name, by, now, using, before=times[0], after=times[1], reason=reason)
    return entry
