"""Retiring what the code declares no more: only `crons sync` and `apply` do, and they say what, to whoever reads mail.

An app that is missing in INSTALLED_APPS looks just like jobs that were deleted. So many at once, and those of what
seems to be another project, are left as they are until somebody says that it is meant.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from crons.conf import conf
from crons.ledger import account_for, cancel_open, note, verb, writing
from crons.models import Entry, Incident
from crons.presentation import incident_closed, incident_opened
from crons.schedules import FAR_FUTURE, NEVER
from crons.watch import RULES_KNOWN, declarers
from crons.watch.alerts import Notice, enqueue

RULE = "retired"
# More than so many entries that are also more than a quarter of all.
MANY, SHARE = 5, 4


class Retire(StrEnum):
    """What a sync does with entries that its code does not declare."""

    NOTHING = "nothing"
    FEW = "few"
    ALL = "all"


@dataclass(frozen=True)
class Retired:
    """The names of what was retired, of what is undeclared and was left, and what to say about either."""

    names: list[str] = field(default_factory=list)
    undeclared: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    renames: list[str] = field(default_factory=list)


def retire(
    declared: Collection[str],
    sources: Collection[str],
    elsewhere: Mapping[str, str],
    how: Retire,
    now: datetime,
    by: str,
) -> Retired:
    """Retire the entries of *sources* that are not among *declared*, as *how* says: all of them or none.

    Args: *elsewhere* says which living scheduler of another project declares an entry.
    """
    live = Entry.objects.using(conf.database).filter(retired_at=None).order_by("name")
    going = list(live.filter(source__in=sources).exclude(name__in=declared))
    if not going:
        return Retired()
    renames = list(_renames(going, live.filter(name__in=declared), now))
    names = [each.name for each in going]
    if how is Retire.NOTHING:
        return Retired(undeclared=names, renames=renames)
    problems: list[str] = []
    if how is Retire.FEW:
        foreign = {name: elsewhere[name] for name in names if name in elsewhere}
        names = [name for name in names if name not in foreign]
        problems += _foreign(foreign)
        if len(names) > MANY and len(names) * SHARE > live.count():
            problems.append(_too_many(names, live.count()))
            names = []
    done = _retire(names, renames, now, by) if names else []
    left = [each.name for each in going if each.name not in done]
    return Retired(done, left, problems, renames)


@verb
def _retire(names: list[str], renames: list[str], now: datetime, by: str) -> list[str]:
    with writing() as using:
        rows = Entry.objects.using(using).select_for_update().filter(name__in=names, retired_at=None)
        entries = list(rows.order_by("pk"))
        for entry in entries:
            account_for([entry], now, "sync", using)
            cancel_open(entry, now, using, detail="nobody declares the entry any more")
            entry.retired_at, entry.wake_at = now, FAR_FUTURE
            entry.version += 1
            entry.save(using=using, update_fields=["retired_at", "wake_at", "version"])
            before = {"job": entry.job, "schedule": entry.schedule, "zone": entry.zone}
            note("retire", "entry", entry.name, by, now, using, before=before, reason=declarers.last_declared(entry))
        if entries:
            _enqueue_mail(sorted(entries, key=lambda each: each.name), renames, now, by, using)
    return sorted(each.name for each in entries)


def _enqueue_mail(entries: list[Entry], renames: Iterable[str], now: datetime, by: str, using: str) -> None:
    """Put one mail about all of them into the outbox, in the transaction that retires them."""
    what = entries[0].name if len(entries) == 1 else f"{len(entries)} entries"
    subject = f"{what} retired"
    lines = [
        f"A sync, started by {by}, retired what its code does not declare: nothing of it runs now.",
        "",
        *(f"  {each.name} ({each.schedule or 'no schedule'}): {declarers.last_declared(each)}" for each in entries),
        "",
        *renames,
    ]
    next_step = (
        "Where that is a mistake, declare it again (is its app in INSTALLED_APPS?), then: manage.py crons sync. "
        "It comes back with its history; what fell due until then is skipped (retired)."
    )
    severity = RULES_KNOWN[RULE].severity
    about = {"opened_at": now, "changed_at": now, "closed_at": now, "count": len(entries), "severity": severity}
    summary = f"{subject}: {', '.join(each.name for each in entries)}"[:255]
    incident = Incident.objects.using(using).create(rule=RULE, summary=summary, **about)
    incident_opened(incident, subject, using)
    incident_closed(incident, using)
    notice = Notice("opened", RULE, severity, subject, text="\n".join(lines), next_step=next_step)
    enqueue(incident, RULE, notice, now, using)


def _foreign(foreign: Mapping[str, str]) -> Iterator[str]:
    if foreign:
        who = ", ".join(sorted(set(foreign.values())))
        yield (
            f"{who} declares {', '.join(sorted(foreign))}, and shares no job with this code: another project on this "
            "database? Nothing of it was retired. If it is to go all the same: manage.py crons sync --retire"
        )


def _too_many(names: list[str], count: int) -> str:
    return (
        f"{len(names)} of {count} entries are not declared by this code: {', '.join(names)}. So many are rather a "
        "mistake (an app missing in INSTALLED_APPS, another project's database) than meant: none of them was retired. "
        "If they are to go: manage.py crons sync --retire"
    )


def _renames(going: Collection[Entry], declared: Iterable[Entry], now: datetime) -> Iterator[str]:
    """Ask of each of *going* whether it was renamed: of one that is alike and new, or of all that may be it."""
    new = [each for each in declared if each.source == "code"]
    sure = {old.name: match for old in going if (match := _only_match(old, going, new, now))}
    taken = {name for _, name in sure.values()}
    left = [each for each in new if each.name not in taken]
    rivals = [each for each in going if each.name not in sure]
    for old in going:
        if old.name in sure:
            what, name = sure[old.name]
            yield (
                f"{old.name} is declared no more, and {name} is new with the same {what}: was it renamed? "
                f"Then write aliases=({old.name!r},) at {name}, and sync again: its history moves along."
            )
            continue
        for what, found in _alike(old, left, now):
            # Where many went and one came, most were deleted: a line for each would be noise.
            if len(found) > 1 or (found and sum(ALIKE[what](each, found[0]) for each in rivals) == 1):
                names = ", ".join(sorted(each.name for each in found))
                several = f"one of {names}" if len(found) > 1 else names
                yield (
                    f"{old.name} is declared no more: was it renamed to {several}, new with the same {what}? "
                    f"Then write aliases=({old.name!r},) there, and sync again: its history moves along."
                )
                break


def _only_match(old: Entry, going: Collection[Entry], new: Iterable[Entry], now: datetime) -> tuple[str, str] | None:
    """Return in what *old* is like just one of *new*, which is like no other of *going*, and the name of that one."""
    for (what, found), alike in zip(_alike(old, new, now), ALIKE.values(), strict=True):
        if len(found) == 1 and sum(alike(each, found[0]) for each in going) == 1:
            return what, found[0].name
    return None


def _alike(old: Entry, new: Iterable[Entry], now: datetime) -> Iterator[tuple[str, list[Entry]]]:
    """Give what an entry may have in common with *old*, and those of *new* that have it and came later."""
    last = old.declared_at
    # What came in the sync that declared *old* last stood beside it: it is not its new name.
    came = [each for each in new if (each.first_seen_at > last if last else each.first_seen_at >= now)]
    for what, alike in ALIKE.items():
        yield what, [each for each in came if alike(old, each)]


def _same_function(old: Entry, new: Entry) -> bool:
    # Of what is no function only the line is known.
    return old.source == new.source and ":" not in old.source_ref and old.source_ref == new.source_ref


def _same_times(old: Entry, new: Entry) -> bool:
    same = (old.schedule, old.zone, old.args) == (new.schedule, new.zone, new.args)
    return same and old.schedule != NEVER.text


ALIKE = {"function": _same_function, "schedule and arguments": _same_times}
