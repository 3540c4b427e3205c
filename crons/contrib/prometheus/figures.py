"""What the ledger's rows say at this moment, for whoever draws and alerts by figures; never what a process remembers.

What is read does not grow with the history, nor with the entries: of them the first `LABELLED` have figures of their
own, and what came last is read back to `WINDOW`, or to the newest `NEWEST` rows where those are fewer.
"""

# ruff: noqa: S608 (what is put into the texts stands in this file and in ledger/sql.py; values are parameters)

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import connections

from crons import ledger
from crons.columns import UNREAD
from crons.ledger.sql import along, fetch, moment
from crons.ledger.transactions import reading
from crons.models import Entry
from crons.schedules import FAR_FUTURE, FAR_PAST
from crons.watch import Look, last_success_of, terms_of

LABELLED = 300
# The label of all others; an entry that is called so is counted with them.
OTHERS = "other"
WINDOW = timedelta(hours=1)
NEWEST = 5_000
# A figure of so many means: at least.
MOST = 10_000
STATES = ("due", "sent", "waiting", "running")


@dataclass(frozen=True)
class Beat:
    """The schedulers of one kind on one host, by the one that gave the latest sign of life."""

    kind: str
    host: str
    living: int
    age: timedelta
    skew_seconds: float


@dataclass
class Figures:
    """All of them; labels of entries are their names, or OTHERS."""

    now: datetime
    entries: int = 0
    paused: dict[str, bool] = field(default_factory=dict)
    parked: dict[str, bool] = field(default_factory=dict)
    last_success_at: dict[str, datetime] = field(default_factory=dict)
    # What came last.
    window: timedelta = WINDOW
    runs: Counter[tuple[str, str]] = field(default_factory=Counter)
    slots_without_run: Counter[tuple[str, str]] = field(default_factory=Counter)
    lateness: dict[str, timedelta] = field(default_factory=dict)
    durations: dict[str, list[timedelta]] = field(default_factory=lambda: defaultdict(list))
    # What is there now.
    queue: dict[str, int] = field(default_factory=dict)
    oldest: dict[str, timedelta] = field(default_factory=dict)
    planning_lag: timedelta = timedelta(0)
    pauses: dict[str, int] = field(default_factory=dict)
    incidents: Counter[tuple[str, str]] = field(default_factory=Counter)
    beats: list[Beat] = field(default_factory=list)


def read() -> Figures:
    """Read all figures.

    Raises: LedgerUnavailable, DatabaseError.
    Cost: nine statements, on PostgreSQL in a transaction that bounds its waits.
    """
    with reading() as using:
        agenda = ledger.agenda()
        figures = Figures(agenda.now)
        labels = _read_entries(figures)
        _read_runs(figures, labels, using)
        _read_ranges(figures, labels, using)
        _read_counts(figures, using)
        _read_incidents(figures, using)
        _read_schedulers(figures)
    moments = {"due": agenda.due_at, "sent": agenda.sent_at, "waiting": agenda.waiting_at}
    figures.oldest = {state: _since(at, figures.now) for state, at in moments.items()}
    figures.planning_lag = _since(agenda.plan_at, figures.now)
    return figures


def _since(at: datetime | None, now: datetime) -> timedelta:
    return max(now - at, timedelta(0)) if at is not None and at != UNREAD else timedelta(0)


def _read_entries(figures: Figures) -> Mapping[int, str]:
    """Read the entries that have figures of their own, and return their names: those that were declared first."""
    rows = Entry.objects.filter(retired_at=None).order_by("pk")
    found = list(rows.only("name", "paused_at", "paused_until", "parked_reason")[:LABELLED])
    for each in found:
        until = each.paused_until
        figures.paused[each.name] = each.paused_at is not None and (until is None or until > figures.now)
        figures.parked[each.name] = bool(each.parked_reason)
    labels = {each.pk: each.name for each in found}
    figures.last_success_at = {labels[pk]: at for pk, at in last_success_of(labels).items()}
    return labels


def _read_runs(figures: Figures, labels: Mapping[int, str], using: str) -> None:
    """Read the runs of the last slots and requests: how they ended, how late they began, how long they took."""
    a = "crons_attempt a ON a.id = r.current_attempt"
    if connections[using].vendor == "postgresql":  # which would rather read all attempts, with an hour's of them
        a = "LATERAL (SELECT * FROM crons_attempt WHERE id = r.current_attempt OFFSET 0) a ON TRUE"
    # Of a range with two ends PostgreSQL thinks, until it has statistics, that it holds for few rows.
    sql = f"""
        SELECT r.entry_id, r.verdict, r.tries, COALESCE(r.slot_at, NULL), COALESCE(r.planned_at, NULL),
            COALESCE(a.begun_at, NULL), COALESCE(a.ended_at, NULL)
        FROM (
            SELECT * FROM crons_run n {along("crons_run_planned", using)} WHERE n.planned_at > %(since)s
            AND n.planned_at < %(ever)s
            ORDER BY n.planned_at DESC, n.id DESC LIMIT %(newest)s
        ) r LEFT JOIN {a}"""
    rows = fetch(sql, _values(figures), using)
    oldest = None
    for entry, verdict, tries, slot, planned, begun, ended in rows:
        label = labels.get(entry, OTHERS)
        figures.runs[label, verdict or "open"] += 1
        slot_at, begun_at, ended_at = moment(slot), moment(begun), moment(ended)
        oldest = moment(planned)
        if begun_at and slot_at and tries == 1 and UNREAD not in (begun_at, slot_at):
            # The newest of each entry comes first; of the others the worst counts.
            late = max(begun_at - slot_at, timedelta(0))
            known = figures.lateness.get(label)
            figures.lateness[label] = late if known is None else max(known, late) if label == OTHERS else known
        if begun_at and ended_at and UNREAD not in (begun_at, ended_at):
            figures.durations[label].append(max(ended_at - begun_at, timedelta(0)))
    if len(rows) == NEWEST and oldest and oldest != UNREAD:
        figures.window = _since(oldest, figures.now)


def _read_ranges(figures: Figures, labels: Mapping[int, str], using: str) -> None:
    sql = f"""
        SELECT g.entry_id, g.verdict, g.count FROM crons_range g {along("crons_range_last", using)}
        WHERE g.last_at > %(since)s AND g.last_at < %(ever)s ORDER BY g.last_at DESC, g.id DESC LIMIT %(newest)s"""
    for entry, verdict, count in fetch(sql, _values(figures), using):
        figures.slots_without_run[labels.get(entry, OTHERS), verdict] += count


def _read_counts(figures: Figures, using: str) -> None:
    """Count what is there, each up to MOST, in one statement."""
    wakes = "wake_at IS NOT NULL AND wake_at BETWEEN %(past)s AND %(future)s"  # IS NOT NULL alone seems to be all rows
    queue, running = along("crons_run_queue", using), along("crons_run_running", using)
    in_force = "crons_pause WHERE (until IS NULL OR until > %(now)s)"
    counted = {f"queue {state}": f"crons_run {queue} WHERE state = '{state}' AND {wakes}" for state in STATES[:3]}
    counted |= {
        "queue running": f"crons_run {running} WHERE state = 'running'",
        "entries": "crons_entry WHERE retired_at IS NULL",
        "pauses entry": f"{in_force} AND entry_id IS NOT NULL",
        "pauses tag": f"{in_force} AND entry_id IS NULL AND tag <> ''",
        "pauses all": f"{in_force} AND entry_id IS NULL AND tag = ''",
    }
    sql = " UNION ALL ".join(
        f"SELECT '{what}', COUNT(*) FROM (SELECT 1 FROM {where} LIMIT {MOST}) c" for what, where in counted.items()
    )
    for what, count in fetch(sql, {"past": FAR_PAST, "future": FAR_FUTURE, "now": figures.now}, using):
        kind, _, of = what.partition(" ")
        if kind == "queue":
            figures.queue[of] = count
        elif kind == "pauses":
            figures.pauses[of] = count
        else:
            figures.entries = count


def _read_incidents(figures: Figures, using: str) -> None:
    sql = f"""
        SELECT rule, COUNT(*) FROM (SELECT rule FROM crons_incident WHERE open_key > '' LIMIT {MOST}) i
        GROUP BY rule ORDER BY rule"""
    for rule, count in fetch(sql, {}, using):
        figures.incidents[rule, terms_of(rule).severity] += count


def _read_schedulers(figures: Figures) -> None:
    look = Look(figures.now)
    of: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for beat in look.heartbeats:
        of[beat.kind, beat.host].append(beat)
    for (kind, host), beats in sorted(of.items()):
        latest = max(beats, key=lambda beat: beat.beat_at)
        living = sum(beat in look.schedulers for beat in beats)
        figures.beats.append(Beat(kind, host, living, _since(latest.beat_at, figures.now), latest.clock_skew_seconds))


def _values(figures: Figures) -> dict[str, Any]:
    return {"since": figures.now - WINDOW, "newest": NEWEST, "ever": FAR_FUTURE}
