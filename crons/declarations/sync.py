"""Declarations → rows: the only writer of what entries are; `serve` at its start, `sync` and `apply` call it.

`serve` adds and changes; only `sync` and `apply` retire: a scheduler of an old release, or with half of its apps,
must not take away what others declare.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from crons.conf import conf
from crons.declarations import retiring
from crons.declarations.entries import OUTDATED, Known, write
from crons.declarations.retiring import Retire
from crons.exceptions import DeclarationError, UnknownJob, ZoneMissingHere
from crons.jobs import Declaration
from crons.models import Entry
from crons.schedules import zone_data
from crons.sources import sources
from crons.watch.declarers import declared_by, living, note_declared, of_other_projects

# What is wrong with one entry alone; that the database is away, or refuses, concerns all of them.
UNWRITABLE = (DeclarationError, UnknownJob, ZoneMissingHere)


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
    paused = {name: why for source in sources() for name, why in source.paused_from_start().items()}
    known = Known(declared, of_other_projects(declared, former, now), declared_by(living(now)) or (), paused)
    written = dict(declared)
    for declaration in declared.values():
        try:
            deed = write(declaration, now, known, by)
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
        done.problems += source.end_pauses(now)
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


def _outdated(name: str) -> str:
    return (
        f"{name} was renamed by newer code, which a running scheduler has: it is not created again, or each of its "
        "slots would run twice. Start this process with the newer code, or stop that scheduler first"
    )


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
