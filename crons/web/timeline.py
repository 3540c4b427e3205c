"""The last 24 hours or 7 days of many entries, a lane each: what ran when, how it ended, how much at once."""

# ruff: noqa: S608 (nothing but numbers of this file and placeholders are put into the texts)

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connections

from crons.conf import conf
from crons.ledger.sql import along, fetch
from crons.models import Attempt, Entry, Range, Run
from crons.presentation import UNWANTED, length, local, words
from crons.verdicts import State, Verdict
from crons.watch import usual_of

LANES = 15
# Of one lane at most so many runs are read: those of each minute of a week.
READ = 10_080
# Up to so many runs a lane shows each with its begin and end; more are folded, all of a stretch of time into one bar.
SINGLE = 120
RANGES = 300
WIDTH = 1_000
SPANS = {"24h": (timedelta(days=1), timedelta(minutes=15)), "7d": (timedelta(days=7), timedelta(hours=2))}
# What shows over what, the gravest last.
ORDER = ["succeeded", "skipped", "running", "cancelled", "missed", "failed", "timed_out", "lost"]
LINKS = 20


@dataclass(frozen=True)
class Bar:
    """One run, or several that ended alike: where it lies in its lane, in thousandths, and what it says."""

    x: float
    width: float
    verdict: str
    text: str
    run_id: int | None = None
    lasts: tuple[float, float] = (0, 0)
    is_link: bool = False

    @property
    def tone(self) -> str:
        """Which shape and colour it has."""
        if self.verdict in ("missed", "skipped", "running", "succeeded"):
            return self.verdict
        return "failed" if self.verdict in UNWANTED else "skipped"


@dataclass
class Lane:
    """One entry: its bars, and the same in words. *more*: so many older runs of the window were not read."""

    entry: Entry
    bars: list[Bar] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    more: bool = False
    coming: list[float] = field(default_factory=list)
    next_at: datetime | None = None
    slots: int = 0
    folded: bool = False

    @property
    def says(self) -> str:
        """What the bars show, in words."""
        told = [f"{count} {words(verdict)}" for verdict, count in self.counts.most_common()]
        at_least = "at least " if self.more else ""
        return at_least + ", ".join(told) if told else "nothing in this time"

    @property
    def often(self) -> bool:
        """Whether it comes too often for its slots to be counted here."""
        return bool(self.coming) and not self.slots

    @property
    def rest(self) -> float:
        """How wide the time is in which such an entry comes."""
        return round(WIDTH - self.coming[0], 1)


@dataclass(frozen=True)
class Load:
    """How many runs went on at once in one stretch of time; *height* in hundredths of the highest."""

    x: float
    width: float
    count: int
    height: float
    text: str


@dataclass(frozen=True)
class Past:
    """The lanes of one page, what they add up to, and the moments that the axis names."""

    since: datetime
    until: datetime
    lanes: list[Lane]
    loads: list[Load]
    axis: list[datetime]

    @property
    def busiest(self) -> Load | None:
        """The stretch of time in which most went on."""
        return max(self.loads, key=lambda each: each.count, default=None)


def past(entries: list[Entry], now: datetime, span: str, zone: str) -> Past:
    """Read what became of *entries*, LANES at most, in the time that *span* names.

    Cost: six statements, each along an index, that read READ runs of each entry and kind and the ranges of all at most.
    """
    window, bucket = SPANS[span]
    since = now - window
    lanes = {each.pk: Lane(each) for each in entries}
    at_once: Counter[int] = Counter()
    if lanes:
        folded = _fold(lanes, since, now, bucket)
        single = [pk for pk, total in folded.items() if sum(row[2] for row in total) <= SINGLE]
        for pk, cells in folded.items():
            lane = lanes[pk]
            total = sum(row[2] for row in cells)
            lane.more = _reached(cells)
            for cell in cells:
                lane.counts[cell[1] or "running"] += cell[2]
            if total > SINGLE:
                lane.folded = True
                lane.bars += [_cell(cell, since, window, bucket, zone) for cell in cells]
        for each in _single(single, lanes, since, now, zone):
            lanes[each[0]].bars.append(each[1])
        _count_at_once(at_once, lanes, since, bucket)
        _add_usual(at_once, {pk: folded[pk] for pk, lane in lanes.items() if lane.folded}, bucket)
        _add_ranges(lanes, since, now, zone)
    for lane in lanes.values():
        lane.bars = _linked(lane.bars)
    return Past(since, now, list(lanes.values()), _loads(at_once, since, window, bucket, zone), _axis(since, span))


# Of one lane and stretch of time: its number, a verdict, how many runs, the newest of them.
Cell = tuple[int, str, int, int]
# Each is read from an index alone, but for what is still open; each entry by itself and up to a limit: who begins a
# thousand runs a minute makes no page slow.
PARTS = {
    "crons_run_entry_succeeded": ("'succeeded'", "verdict = 'succeeded'", "planned_at DESC, id DESC"),
    "crons_run_entry_verdict": ("verdict", "{not_well}", "verdict, planned_at DESC, id DESC"),
    "crons_run_open": ("''", "wake_at IS NOT NULL", "wake_at, id"),
    "crons_run_running": ("''", "state = 'running'", "id"),
}
# Named, because a database that is told only what they are not reads the index from the entry's first run on.
NOT_WELL = sorted(set(Verdict) - {Verdict.SUCCEEDED})


def _fold(lanes: Iterable[int], since: datetime, now: datetime, bucket: timedelta) -> dict[int, list[Cell]]:
    """Count the runs of each lane by stretch of time and verdict."""
    using = conf.database
    seconds = int(bucket.total_seconds())
    number = f"CAST(strftime('%%s', planned_at) AS INTEGER) / {seconds}"
    if connections[using].vendor != "sqlite":
        number = f"CAST(FLOOR(EXTRACT(EPOCH FROM planned_at) / {seconds}) AS BIGINT)"
    names = ", ".join(f"'{verdict}'" for verdict in NOT_WELL)
    not_well = f"verdict IN ({names}) AND NOT (verdict IN ('', 'succeeded'))"
    # Counted part by part: all in one, SQLite sorts what it has read in order.
    sql = " UNION ALL ".join(
        f"SELECT {int(pk)}, {number} AS stretch, ending, COUNT(*), MAX(id)"
        f" FROM (SELECT planned_at, id, {verdict} AS ending FROM crons_run {along(index, using)}"
        f" WHERE entry_id = {int(pk)} AND {term.format(not_well=not_well)}"
        f" AND planned_at >= %(since)s AND planned_at <= %(now)s ORDER BY {order} LIMIT {READ + 1}) AS part"
        " GROUP BY 2, 3"
        for index, (verdict, term, order) in PARTS.items()
        for pk in lanes
    )
    found: dict[int, list[Cell]] = defaultdict(list)
    for pk, place, verdict, count, newest in fetch(sql, {"since": since, "now": now}, using):
        if place is not None:  # written by hand, and no moment
            found[pk].append((int(place), verdict, count, newest))
    return found


def _reached(cells: list[Cell]) -> bool:
    """Answer whether of one kind there are more runs than were read."""
    well = sum(count for _, verdict, count, _ in cells if verdict == "succeeded")
    not_well = sum(count for _, verdict, count, _ in cells if verdict in NOT_WELL)
    return max(well, not_well) > READ or sum(count for _, _, count, _ in cells) - well - not_well > READ


def _single(ids: list[int], lanes: dict[int, Lane], since: datetime, now: datetime, zone: str) -> list[tuple[int, Bar]]:
    """Return a bar for each run of the lanes *ids*, from its first attempt's begin to its end; and what goes on."""
    runs = Run.objects.using(conf.database).only("entry_id", "planned_at", "ended_at", "verdict", "state", "detail")
    rows = list(runs.filter(entry__in=ids, planned_at__gte=since, planned_at__lte=now)[: SINGLE * LANES]) if ids else []
    # What began before and goes on: a run of three days is why nothing else of it began.
    going = list(runs.filter(entry__in=list(lanes), state=State.RUNNING)[: SINGLE * LANES])
    rows += [each for each in going if each.pk not in {row.pk for row in rows} and each.planned_at < since]
    attempts = Attempt.objects.using(conf.database).filter(run__in=[each.pk for each in rows], number=1)
    begun = dict(attempts.values_list("run_id", "begun_at"))
    made = []
    for run in rows:
        begin = begun.get(run.pk, run.planned_at)
        end = run.ended_at or (now if run.state == State.RUNNING else begin)
        verdict = run.verdict or ("running" if run.state == State.RUNNING else "due")
        took = f", took {length(end - begin)}" if run.pk in begun and run.ended_at else ""
        text = f"{words(verdict)} {local(begin, zone)}{took}"
        made.append((run.entry_id, _bar(begin, max(end, begin), since, now, verdict, text, run.pk)))
    return made


def _bar(
    begin: datetime, end: datetime, since: datetime, now: datetime, verdict: str, text: str, run_id: int | None
) -> Bar:
    window = (now - since).total_seconds()
    first = max((begin - since).total_seconds(), 0)
    last = min((end - since).total_seconds(), window)
    width = max((last - first) / window * WIDTH, 3)
    x = round(min(first / window * WIDTH, WIDTH - 3), 1)
    return Bar(x, round(width, 1), verdict, text, run_id, (begin.timestamp(), end.timestamp()))


def _cell(cell: Cell, since: datetime, window: timedelta, bucket: timedelta, zone: str) -> Bar:
    number, verdict, count, newest = cell
    begin = _begin(number, bucket)
    text = f"{count} {words(verdict or 'running')} from {local(begin, zone)}, {length(bucket)} long"
    return _bar(begin, begin + bucket, since, since + window, verdict or "running", text, newest)


def _begin(number: int, bucket: timedelta) -> datetime:
    return datetime.fromtimestamp(number * int(bucket.total_seconds()), UTC)


def _add_ranges(lanes: dict[int, Lane], since: datetime, now: datetime, zone: str) -> None:
    rows = Range.objects.using(conf.database).filter(entry__in=list(lanes), last_at__gte=since)
    for each in rows.order_by("-last_at", "-pk")[:RANGES]:
        lane = lanes[each.entry_id]
        text = f"{each.count} {words(each.verdict)} from {local(each.first_at, zone)} to {local(each.last_at, zone)}"
        lane.bars.append(_bar(each.first_at, each.last_at, since, now, each.verdict, text, None))
        lane.counts[each.verdict] += each.count


def _count_at_once(at_once: Counter[int], lanes: dict[int, Lane], since: datetime, bucket: timedelta) -> None:
    """Add, for each stretch of time, how many of the single runs went on at its fullest moment."""
    seconds = bucket.total_seconds()
    first = since.timestamp()
    edges: dict[int, list[tuple[float, int]]] = defaultdict(list)
    for lane in lanes.values():
        for bar in lane.bars:
            if lane.folded or bar.verdict in ("missed", "skipped", "due"):
                continue
            begin, end = bar.lasts
            begin = max(begin, first)
            for number in range(int(begin // seconds), max(int(-(-end // seconds)), int(begin // seconds) + 1)):
                edges[number] += [(begin, 1), (end, -1)]
    for number, moments in edges.items():
        going = most = 0
        for _, step in sorted(moments):
            going += step
            most = max(most, going)
        at_once[number] += most


def _add_usual(at_once: Counter[int], folded: dict[int, list[Cell]], bucket: timedelta) -> None:
    """Add how many of the folded lanes' runs went on at once on the average, by what each usually takes.

    The length of each would be read from its row: of 150,000 for 15 lanes of a week.
    """
    usual = usual_of(folded)
    for pk, cells in folded.items():
        each = usual[pk].p50 if pk in usual else timedelta()
        for number, verdict, count, _ in cells:
            if verdict not in ("missed", "skipped"):
                at_once[number] += min(max(-(-count * each // bucket), 1), 60)


def _loads(at_once: Counter[int], since: datetime, window: timedelta, bucket: timedelta, zone: str) -> list[Load]:
    highest = max(at_once.values(), default=0)
    found = []
    for number, count in sorted(at_once.items()):
        begin = _begin(number, bucket)
        x = (begin - since) / window * WIDTH
        if count > 0 and -WIDTH < x < WIDTH:
            text = f"{count} at once from {local(begin, zone)}, {length(bucket)} long"
            width = bucket / window * WIDTH
            height = count / highest * 100
            found.append(Load(round(max(x, 0), 1), round(width, 1), count, round(height, 1), text))
    return found


def _axis(since: datetime, span: str) -> list[datetime]:
    window, _ = SPANS[span]
    steps = 4 if span == "24h" else 7
    return [since + window / steps * number for number in range(steps + 1)]


def _linked(bars: list[Bar]) -> list[Bar]:
    """Put the gravest last, so that it shows; the newest of what is not well are links: a hundred stops help nobody."""
    in_order = sorted(bars, key=lambda bar: (ORDER.index(bar.verdict) if bar.verdict in ORDER else 0, bar.x))
    grave = [bar for bar in in_order if bar.run_id is not None and bar.verdict != "succeeded"]
    links = {id(bar) for bar in sorted(grave, key=lambda bar: -bar.x)[:LINKS]}
    return [replace(bar, is_link=True) if id(bar) in links else bar for bar in in_order]


def add_coming(lanes: list[Lane], slots: dict[int, list[datetime]], now: datetime, ahead: timedelta, most: int) -> None:
    """Put into each lane where its next slots lie."""
    for lane in lanes:
        mine: list[datetime] = slots.get(lane.entry.pk, [])
        lane.next_at = mine[0] if mine else None
        lane.coming = [round((at - now) / ahead * WIDTH, 1) for at in mine]
        lane.slots = len(mine) if len(mine) <= most else 0


def entries_of(rows: Any, asked: dict[str, str], after: str) -> Any:
    """Narrow *rows* to the live entries that were asked for, by name; those behind *after*."""
    rows = rows.filter(retired_at=None)
    if asked.get("owner"):
        rows = rows.filter(owner=asked["owner"])
    if asked.get("tag"):
        rows = rows.filter(tags__has_tag=asked["tag"])
    if asked.get("name"):
        rows = rows.filter(name__icontains=asked["name"])
    return rows.filter(name__gt=after).order_by("name") if after else rows.order_by("name")
