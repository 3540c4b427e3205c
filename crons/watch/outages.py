"""The rule *outage*: slots fell due and nothing recorded them in time. One incident for all entries of one outage.

While nothing looks at the clock, nothing can open it: whoever looks first afterwards finds what was recorded late,
missed slots as ranges and slots to be made up for as runs. It is over when those runs are, and says how many of each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count

from crons.conf import conf
from crons.ledger import FLAGGED, verb, writing
from crons.models import Entry, Incident, Range, Run
from crons.presentation import incident_opened, incident_reopened, length, utc
from crons.verdicts import BAD_VERDICTS, State, Verdict
from crons.watch import incidents
from crons.watch.alerts import Notice, enqueue
from crons.watch.rules import OUTAGE, RULES

KEY = "outage:all"
BATCH = 1_000
NAMED = 20
# What is not made up for by then, because it is paused or nobody knows its job, keeps no outage open.
PATIENCE = timedelta(days=1)
# Recording the slots of a hundred thousand entries takes less.
RECORDING = timedelta(minutes=10)


@dataclass
class Tally:
    """What an outage cost: kept with its incident.

    *first_at* is the first slot that nothing recorded in time, *until* when something did again; *missed* are slots
    that were written off; *by_entry* counts what fell due of the first entries. What is made up for is read from runs.
    """

    first_at: str = ""
    until: str = ""
    missed: int = 0
    by_entry: dict[str, int] = field(default_factory=dict)
    more_entries: bool = False
    told: bool = False

    @classmethod
    def of(cls, incident: Incident) -> Tally:
        """Read that of an incident; what somebody garbled counts for nothing."""
        kept = incident.data.get("tally")
        fields = cls.__dataclass_fields__
        given = {name: value for name, value in kept.items() if name in fields} if isinstance(kept, dict) else {}
        plain = cls()
        return cls(**{name: value for name, value in given.items() if isinstance(value, type(getattr(plain, name)))})

    def span(self, first_at: datetime, until: datetime) -> None:
        """Have it reach from *first_at* to *until*, at least."""
        self.first_at = min(filter(None, (self.first_at, first_at.isoformat())))
        self.until = max(self.until, until.isoformat())

    def count(self, entry: str, slots: int) -> None:
        """Note that *slots* of an entry were not recorded in time."""
        if entry in self.by_entry or len(self.by_entry) < NAMED:
            self.by_entry[entry] = self.by_entry.get(entry, 0) + slots
        else:
            self.more_entries = True


@dataclass(frozen=True)
class Ended:
    """How the runs that make up for an outage ended, and how many have not."""

    made_up: int = 0
    failed: int = 0
    missed: int = 0
    skipped: int = 0
    waiting: int = 0

    @classmethod
    def of(cls, incident: Incident, using: str) -> Ended:
        """Count those of an incident. Cost: one statement, of the runs of that outage alone."""
        runs = Run.objects.using(using).filter(outage=incident.pk).order_by()
        counts: Counter[str] = Counter()
        for state, verdict, count in runs.values_list("state", "verdict").annotate(Count("pk")):
            counts[_ending(state, verdict)] += count
        return cls(**counts)


def _ending(state: str, verdict: str) -> str:
    if state != State.DONE:
        return "waiting"
    # What was replaced by a newer slot, or came too late, was missed after all.
    known = {Verdict.SUCCEEDED: "made_up", Verdict.MISSED: "missed", Verdict.SKIPPED: "skipped"}
    return known.get(Verdict(verdict), "failed")


@verb
def take(now: datetime) -> bool:
    """Note what was recorded late and that nobody has looked at; say whether there may be more."""
    runs, ranges = Run.objects.using(conf.database), Range.objects.using(conf.database)
    if not (ranges.filter(**FLAGGED).exists() or runs.filter(**FLAGGED).exclude(verdict__in=BAD_VERDICTS).exists()):
        return False
    with writing() as using:
        ranges, runs = ranges.using(using).filter(**FLAGGED), runs.using(using).filter(**FLAGGED)
        written_off = list(ranges.select_for_update(skip_locked=True).order_by("inspect_at", "pk")[:BATCH])
        # What ended badly meanwhile is looked at as a failure, which counts it here too.
        rows = runs.exclude(verdict__in=BAD_VERDICTS).select_for_update(skip_locked=True)
        rows = rows.order_by("inspect_at", "pk").only("entry_id", "kind", "slot_at", "recorded_at", "outage")
        late = list(rows[:BATCH])
        note(late, written_off, now, using)
        Range.objects.using(using).filter(pk__in=[each.pk for each in written_off]).update(inspect_at=None)
        Run.objects.using(using).filter(pk__in=[each.pk for each in late]).update(inspect_at=None)
    return BATCH in (len(late), len(written_off))


def note(runs: Iterable[Run], written_off: Collection[Range], now: datetime, using: str) -> None:
    """Count those of *runs* that were recorded late, and slots *written_off*, to the outage. In a transaction."""
    late = [each for each in runs if each.outage is None and is_recorded_late(each)]
    if not late and not written_off:
        return
    incident = _lock_or_open(now, using)
    tally = Tally.of(incident)
    ids = {each.entry_id for each in late} | {each.entry_id for each in written_off}
    names = dict(Entry.objects.using(using).filter(pk__in=ids).values_list("pk", "name"))
    for gap in written_off:
        tally.span(gap.first_at, gap.recorded_at)
        tally.missed += gap.count
        tally.count(names.get(gap.entry_id, "?"), gap.count)
    for run in late:
        if run.slot_at is not None:
            tally.span(run.slot_at, run.recorded_at)
            tally.count(names.get(run.entry_id, "?"), 1)
    Run.objects.using(using).filter(pk__in=[each.pk for each in late]).update(outage=incident.pk)
    incident.changed_at = now
    _save(incident, tally, Ended.of(incident, using), using)


def is_recorded_late(run: Run) -> bool:
    """Say whether nothing looked at the clock in time for the slot of *run*."""
    return run.slot_at is not None and run.kind == "slot" and run.recorded_at - run.slot_at > conf.grace


@verb
def settle(now: datetime) -> None:
    """Tell of an outage that is open; close it when what it left to be made up for is over.

    Cost: one statement while there is none; two while its runs go on.
    """
    incident = Incident.objects.using(conf.database).filter(open_key=KEY).first()
    if incident is None or (Tally.of(incident).told and (_is_calming(incident, now) or not _is_over(incident, now))):
        return
    with writing() as using:
        incident = Incident.objects.using(using).select_for_update().filter(open_key=KEY).first()
        if incident is None:
            return
        tally, ended = Tally.of(incident), Ended.of(incident, using)
        returns = incident.data.get("returns", 0)
        is_over = _is_over(incident, now)
        # What is over by now, and was never told, needs one notice, not two.
        if not tally.told and (returns or not is_over):
            tally.told = True
            event = f"again:{returns}" if returns else "opened"
            enqueue(incident, event, _notice(incident, tally, ended), now, using)
        _save(incident, tally, ended, using)
        if is_over:
            incidents.close(incident, now, using, _notice(incident, tally, ended, is_over=True))


def _is_over(incident: Incident, now: datetime) -> bool:
    if now - incident.changed_at > PATIENCE:
        return True
    due = Entry.objects.using(conf.database).filter(wake_at__lt=now - conf.grace)
    if now - incident.changed_at < RECORDING and due.exists():
        return False  # somebody still records what fell due in it
    return not Run.objects.using(conf.database).filter(outage=incident.pk).exclude(state=State.DONE).exists()


def _is_calming(incident: Incident, now: datetime) -> bool:
    return incident.gone_at is not None and now - incident.gone_at < RULES[OUTAGE].calm


def _lock_or_open(now: datetime, using: str) -> Incident:
    """Lock the outage that is open, or open one: the last one again where that was over a moment ago."""
    found = Incident.objects.using(using).select_for_update().filter(open_key=KEY).first()
    if found is not None:
        found.gone_at = None
        return found
    calm = RULES[OUTAGE].calm
    closed = Incident.objects.using(using).select_for_update().filter(key=KEY, open_key=None, closed_at__gt=now - calm)
    last = closed.order_by("-closed_at", "-pk").first()
    if last is not None:
        last.closed_at, last.open_key, last.gone_at = None, KEY, None
        tally = Tally.of(last)
        tally.told = False
        last.data |= {"returns": last.data.get("returns", 0) + 1, "tally": asdict(tally)}
        last.save(using=using)
        incident_reopened(last, OUTAGE, using)
        return last
    about = {"rule": OUTAGE, "key": KEY, "severity": RULES[OUTAGE].severity, "opened_at": now, "changed_at": now}
    opened, is_new = Incident.objects.using(using).get_or_create(open_key=KEY, defaults=about)
    if is_new:
        incident_opened(opened, OUTAGE, using)
    return Incident.objects.using(using).select_for_update().get(pk=opened.pk)


def _save(incident: Incident, tally: Tally, ended: Ended, using: str) -> None:
    jobs = incidents.concerned(incident, tally.by_entry)
    incident.data |= {"tally": asdict(tally), "since": tally.first_at, "next_step": _next_step(tally), "jobs": jobs}
    incident.summary = f"{_sentence(tally, ended)}: {', '.join(tally.by_entry)}"[:255]
    incident.count = max(1, tally.missed + ended.missed)
    incident.entry = None
    if len(tally.by_entry) == 1 and not tally.more_entries:
        incident.entry = Entry.objects.using(using).filter(name=next(iter(tally.by_entry))).first()
    incident.save(using=using)


def _sentence(tally: Tally, ended: Ended) -> str:
    parts = [_slots(tally.missed + ended.missed, "missed")]
    if ended.made_up or not ended.waiting:
        parts.append(f"{ended.made_up} made up for")
    rest = {
        "begun late without success": ended.failed,
        "skipped": ended.skipped,
        "still to be made up for": ended.waiting,
    }
    return ", ".join([*parts, *(f"{count} {what}" for what, count in rest.items() if count)])


def _slots(count: int, what: str) -> str:
    return f"{count} slot {what}" if count == 1 else f"{count} slots {what}"


def _notice(incident: Incident, tally: Tally, ended: Ended, *, is_over: bool = False) -> Notice:
    again = bool(incident.data.get("returns"))
    change = "closed" if is_over else "worsened" if again else "opened"
    what = "outage over" if is_over else "outage again" if again else "outage"
    entry: Any = incident.entry
    of_one = f" of {entry.name}" if entry else ""
    first_at = incidents.since_of(incident)
    until = datetime.fromisoformat(tally.until) if tally.until else incident.opened_at
    lines = [f"  {name}: {_slots(count, 'fell due')}" for name, count in tally.by_entry.items()]
    lines += ["  … and others"] if tally.more_entries else []
    text = "\n".join(["Nothing recorded in time what fell due:", "", *lines])
    return Notice(
        change,
        OUTAGE,
        incident.severity,
        f"{what}{of_one}: {_sentence(tally, ended)}",
        facts=(("from", utc(first_at)), ("until", f"{utc(until)}, {length(until - first_at)}")),
        text=text,
        next_step=_next_step(tally),
        entry=entry.name if entry else "",
        owner=entry.owner if entry else "",
        tags=tuple(map(str, entry.tags)) if entry else (),
        since=first_at,
    )


def _next_step(tally: Tally) -> str:
    if not tally.missed or not tally.first_at:
        return ""
    name = next(iter(tally.by_entry), "NAME")
    since = datetime.fromisoformat(tally.first_at).strftime("%Y-%m-%dT%H:%MZ")
    return (
        f"Why: manage.py crons why {name} {since} ; run what was missed after all: "
        f"manage.py crons backfill NAME --since {since}"
    )
