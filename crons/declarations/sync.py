"""Declarations → rows: the only writer of what entries are; `serve` at its start, `sync` and `apply` call it.

`serve` adds and changes; only `sync` and `apply` retire: a scheduler of an old release, or with half of its apps,
must not take away what others declare.

Changing a schedule closes the account: what fell due under the old text is recorded under the old
text, and counting starts anew, in one transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from crons.columns import Garbled
from crons.conf import conf
from crons.declarations import retiring
from crons.declarations.retiring import Retire
from crons.exceptions import CronsError, DeclarationError, UnknownJob, ZoneMissingHere
from crons.jobs import Declaration, Job, registry
from crons.ledger import (
    account_for,
    account_of,
    hold,
    hold_declarations,
    hold_new,
    is_busy,
    keep_keys,
    locked,
    merge,
    take_back,
    verb,
    write_off,
    writing,
)
from crons.ledger.audit import kept, note
from crons.ledger.record import refuse_retired
from crons.models import AuditEvent, Entry, Run
from crons.planner import while_retired
from crons.schedules import parse, zone_data
from crons.sources import sources
from crons.sources.base import Hold
from crons.verdicts import State
from crons.watch.declarers import declared_by, living, note_declared, of_other_projects

# What of Entry.overrides says when: a person's text and zone, and what is declared meanwhile.
OVERRIDDEN = ("schedule", "zone", "declared", "declared_zone")
OUTDATED = "outdated"
# What is wrong with one entry alone; that the database is away, or refuses, concerns all of them.
UNWRITABLE = (DeclarationError, UnknownJob, ZoneMissingHere)
# How much of what cannot be read an audit event keeps.
LONGEST_FOUND = 1_000


@dataclass(frozen=True)
class Known:
    """What this code declares, what a living scheduler of another project does, and all that living ones do.

    *holds*: what begins paused, and why.
    """

    declared: Collection[str]
    foreign: Mapping[str, str]
    living: Collection[str]
    holds: Mapping[str, Hold]

    def former(self, declaration: Declaration) -> list[str]:
        """Return the former names of *declaration* that are nobody's now."""
        return [name for name in declaration.aliases if name not in self.declared and name not in self.foreign]


@dataclass
class Synced:
    """What a sync did, entry names by deed."""

    created: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    renamed: list[str] = field(default_factory=list)
    retired: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    undeclared: list[str] = field(default_factory=list)
    renames: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def sync(now: datetime, *, retire: Retire = Retire.NOTHING, by: str = "", kind: str = "sync") -> Synced:
    """Bring the rows in step with the declarations; each entry in a transaction of its own.

    Entries that this code does not declare are retired if *retire* says so, not deleted: their history stays.
    Args: *kind* is what this process is called where it is said who declared an entry last.
    """
    done = Synced()
    declared: dict[str, Declaration] = {}
    whole: list[str] = []
    for source in sources():
        reading = source.read()
        if not any(problem.is_broken for problem in reading.problems):
            whole.append(source.name)
        declared.update({each.name: each for each in reading.declarations})
        done.problems += [problem.text for problem in reading.problems]
    carried = [name for source in sources() for name in source.rename_rows(now)]
    by = by or f"crons {kind}"
    former = {alias for each in declared.values() for alias in each.aliases}
    holds = {name: hold for source in sources() for name, hold in source.holds().items()}
    known = Known(declared, of_other_projects(declared, former, now), declared_by(living(now)) or (), holds)
    written = dict(declared)
    for declaration in declared.values():
        try:
            deed = _write(declaration, now, known, by)
        except UNWRITABLE as error:
            # Its row stays as it was. Raised here, the error left all others unwritten, and `serve` did not start.
            done.problems.append(f"{declaration.name}: {error}")
            del written[declaration.name]
            continue
        if deed == OUTDATED:
            done.problems.append(_outdated(declaration.name))
            continue
        getattr(done, "renamed" if declaration.name in carried else deed).append(declaration.name)
    for source in sources():
        done.problems += source.let_go(now)
    # What could not be renamed has its former name, and is not gone for that.
    kept_names = {*declared, *(old for name in declared.keys() - written for old in known.former(declared[name]))}
    # A line that cannot be read today may be mended tomorrow: its source's entries are not taken for gone.
    gone = retiring.retire(kept_names, whole, known.foreign, retire, now, by)
    done.retired, done.undeclared, done.renames = gone.names, gone.undeclared, gone.renames
    done.problems += gone.problems
    done.renames += _still_apart(written.values(), known)
    note_declared(kind, now)
    return done


def _still_apart(declared: Iterable[Declaration], known: Known) -> Iterator[str]:
    """Say which former names still have rows of their own: those could not be merged while they ran."""
    former = {alias: each.name for each in declared for alias in known.former(each)}
    if former:
        rows = Entry.objects.using(conf.database).filter(name__in=former).order_by("name")
        for alias in rows.values_list("name", flat=True):
            yield (
                f"the history of {alias} joins that of {former[alias]} when no run of either is going: "
                "then run manage.py crons sync again"
            )


def _is_outdated(name: str, known: Known, using: str) -> bool:
    """Say whether *name* was renamed, and a running scheduler has the new name, which this code has not."""
    if not known.living:
        return False
    renames = AuditEvent.objects.using(using).filter(verb="rename", subject_type="entry", before__name=name)
    present = renames.order_by("-pk").values_list("subject", flat=True).first()
    return present is not None and present in known.living and present not in known.declared


def _outdated(name: str) -> str:
    return (
        f"{name} was renamed by newer code, which a running scheduler has: it is not created again, or each of its "
        "slots would run twice. Start this process with the newer code, or stop that scheduler first"
    )


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
        told = [{"schedule": text, "zone": zone} for text, zone in (before, wanted)]
        note("reschedule", "entry", name, by, now, using, before=told[0], after=told[1], reason=reason)
    return entry


def replan_changed_zones() -> list[str]:
    """Plan entries anew whose zone's rules are not those they were planned with; return their zones.

    A new release of the time zone data may move a wake-up that is already stored.
    """
    entries = Entry.objects.using(conf.database).filter(retired_at=None)
    known = entries.values_list("zone", "zone_hash").distinct()
    # Of a zone that this machine has no data of it cannot say that it has changed.
    marks = [(zone, kept, zone_data.fingerprint(zone)) for zone, kept in known]
    changed = [(zone, mark) for zone, kept, mark in marks if mark and mark != kept]
    for zone, mark in changed:
        entries.filter(zone=zone).update(zone_hash=mark, wake_at=None)
    return sorted(zone for zone, _ in changed)


@verb
def _write(declaration: Declaration, now: datetime, known: Known, by: str) -> str:
    job = registry.get(declaration.job)
    wanted = _columns(declaration, job)
    with writing() as using:
        hold_declarations(using)
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
            # Nobody can read from it what a person said, and while it stands the entry cannot be planned.
            wanted["overrides"] = {}
            found = {"overrides": kept(entry.overrides.text, LONGEST_FOUND)}
            note("mend", "entry", declaration.name, by, now, using, before=found, after={"overrides": {}})
        _keep_override(entry, wanted)
        if not wanted["zone_hash"] and wanted["zone"] == entry.zone:
            del wanted["zone_hash"]  # this machine lacks the zone: what its rules are others have written
        differing = [name for name, value in wanted.items() if _differs(getattr(entry, name), value)]
        if entry.retired_at is not None:
            _reopen(entry, wanted, now, using)
            if declaration.name in known.holds:
                _hold_new(entry, now, known, using)
        elif {"schedule", "zone", "policy", "tags"} & set(differing) or entry.parked_reason:
            _close_account(entry, wanted, now, using)
            if "policy" in differing:
                # What is on its way to a worker may have to go another way now.
                sent = Run.objects.using(using).filter(entry=entry, state=State.SENT).values_list("pk", flat=True)
                take_back(sent, now, "its job was declared anew")
        if deed == "unchanged" and (differing or entry.retired_at is not None or entry.parked_reason):
            deed = "changed"
        if deed == "unchanged":
            return deed
        if deed == "renamed":
            keep_keys(entry, using)
        for name, value in {**wanted, "name": declaration.name}.items():
            setattr(entry, name, value)
        entry.retired_at, entry.parked_reason = None, ""
        hold([entry], now, using)  # its tags may be others now, or everything paused since it was retired
        entry.version += 1
        entry.save(using=using)
    return deed


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
    if declaration.name in known.holds:
        entry.save(using=using)  # its pause refers to it
        _hold_new(entry, now, known, using)
    hold([entry], now, using)
    entry.save(using=using)


def _hold_new(entry: Entry, now: datetime, known: Known, using: str) -> None:
    """Pause *entry*, which begins to run, because something else runs it already."""
    # In the transaction that writes the entry: between two, a sync that is killed left it running twice.
    held = known.holds[entry.name]
    hold_new(entry, now, by=held.by, reason=held.reason, using=using)


def _reopen(entry: Entry, wanted: dict[str, Any], now: datetime, using: str) -> None:
    try:
        ranges = while_retired(account_of(entry), now)
    except (CronsError, ValueError, OverflowError):
        ranges = None  # its texts cannot be read: the slots are those of the new ones, as when it had been parked
    for name, value in wanted.items():
        setattr(entry, name, value)
    write_off(entry, while_retired(account_of(entry), now) if ranges is None else ranges, "sync", now, using)
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
