"""Rules over an entry's own past: too long, hanging, without a success, without anything to do."""

# ruff: noqa: S608 (what is put into the text stands in this file and in usual.py; values are parameters)

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connections
from django.db.models import Max, OuterRef, Subquery, Sum
from django.db.models.functions import Length

from crons.columns import UNREAD
from crons.conf import conf
from crons.ledger import policy_or_default
from crons.ledger.sql import along, known
from crons.models import Attempt, AuditEvent, Entry, Incident, OutputChunk
from crons.presentation import describe_usual, length, utc, work_of
from crons.watch.look import READ, Look, Problem
from crons.watch.newest import DAY, Newest
from crons.watch.usual import MORE, Success, Usual, given, rows_of, successes_of

SLOW, HANGING = "slow", "hanging"
# Who writes something each five minutes does not hang, however quick it is as a rule.
QUIET = timedelta(minutes=5)
# Beyond two thirds of CRONS["OUTPUT_LIMIT_BYTES"] nothing is stored before the end: a character has four bytes at most.
OUTPUT_FULL = 6
SILENT, IDLE = "silent", "idle"
# So many runs in a row that had nothing to do are told of, where the job says nothing and there used to be something.
IN_A_ROW = 3
# What is counted anew from the moment at which somebody has brought it back.
BACK = ("resume", "return")
# Of an entry's ranges: what was skipped in a pause longer ago was followed by many others.
RANGES_READ = 50


@dataclass(frozen=True)
class Limit:
    """What an attempt is held against: *longest*, and where that comes from."""

    longest: timedelta
    usual: Usual | None = None

    def __str__(self) -> str:
        if self.usual is None:
            return f"expected={length(self.longest)}"
        return f"usually {describe_usual(self.usual.p50, self.usual.p95)}"


def too_long(look: Look) -> Iterator[Problem]:
    """The attempts that run for too long, those that write nothing meanwhile, and the newest success that took as long.

    Cost: one statement for the entries with an attempt of a minute or longer (each hundred of them); three more where
    any of them is too long.
    """
    running = [each for each in look.going[:READ] if not _is_stuck(each, look)]
    ended = _newest_first(each for each in look.newest if each.ended_at is not None and look.now - each.ended_at < DAY)
    asked = {each.run.entry_id for each in running if look.now - each.begun_at > MORE}
    asked |= {each.entry_id for each in ended if each.policy.expected is None and each.took > MORE}
    past = successes_of(asked)
    over = {each.pk: (each, limit) for each in running if (limit := _limit_of_running(each, past, look.now))}
    yield from _running(over, look)
    of_running = {each.run.entry_id for each, _ in over.values()}
    slow = {each: limit for each in ended if each.entry_id not in of_running and (limit := _limit_of_ended(each, past))}
    yield from _ended(slow)


def _running(over: Mapping[int, tuple[Attempt, Limit]], look: Look) -> Iterator[Problem]:
    silent_since = _silent_since([each for each, _ in over.values()]) if over else {}
    hanging = {
        pk
        for pk, since in silent_since.items()
        if since is not None and look.now - since >= max(over[pk][1].longest / 2, QUIET)
    }
    open_slow = _open_slow([over[pk][0].run.entry_id for pk in hanging]) if hanging else set()
    for pk, (attempt, limit) in over.items():
        entry, run_id = attempt.run.entry, attempt.run_id
        since = attempt.begun_at + limit.longest
        facts = [("attempt", f"{pk} on {attempt.host} (pid {attempt.pid})"), ("begun", utc(attempt.begun_at))]
        facts += [_fact(limit)]
        goes_on = f"has been running for {length(look.now - attempt.begun_at)} ({limit})"
        if pk in hanging:
            wrote_at = silent_since[pk]
            nothing = "has written nothing" if wrote_at in (None, attempt.begun_at) else "has written nothing lately"
            wrote = "nothing so far" if wrote_at in (None, attempt.begun_at) else f"last {utc(wrote_at)}"
            after = f"See what it waits for: manage.py crons log {run_id}; end it: manage.py crons cancel {run_id}"
            yield Problem.of(
                HANGING, f"{goes_on}, and {nothing}", entry, since=since, next_step=after, run_id=run_id,
                mark=HANGING, facts=(*facts, ("output and progress", wrote)),
            )  # fmt: skip
        # One that wrote before has been told of as slow: that is not over because it has become worse.
        if pk not in hanging or attempt.run.entry_id in open_slow:
            yield Problem.of(
                SLOW, goes_on, entry, since=since, next_step=_if_well(limit, run_id), run_id=run_id, mark=SLOW,
                facts=tuple(facts),
            )  # fmt: skip


def _ended(slow: Mapping[Newest, Limit]) -> Iterator[Problem]:
    if not slow:
        return
    told = Incident.objects.filter(rule=HANGING, run__in=[each.run_id for each in slow])
    as_hanging = set(told.values_list("run_id", flat=True))
    entries = Entry.objects.in_bulk([each.entry_id for each in slow])
    for each, limit in slow.items():
        if each.run_id in as_hanging or each.entry_id not in entries:
            continue
        text = f"its newest success took {length(each.took)} ({limit})"
        yield Problem.of(
            SLOW, text, entries[each.entry_id], since=each.ended_at, next_step=_if_well(limit, each.run_id),
            run_id=each.run_id, mark=SLOW, facts=(("took", length(each.took)), _fact(limit)),
        )  # fmt: skip


def _limit_of_running(attempt: Attempt, past: Mapping[int, Sequence[Success]], now: datetime) -> Limit | None:
    limit = _limit(policy_or_default(attempt.run.entry).expected, past.get(attempt.run.entry_id, ()))
    return limit if limit is not None and now - attempt.begun_at > limit.longest else None


def _limit_of_ended(newest: Newest, past: Mapping[int, Sequence[Success]]) -> Limit | None:
    others = [each for each in past.get(newest.entry_id, ()) if each.run_id != newest.run_id]
    limit = _limit(newest.policy.expected, others)
    return limit if limit is not None and newest.took > limit.longest else None


def _limit(expected: timedelta | None, past: Sequence[Success]) -> Limit | None:
    if expected is not None:
        return Limit(expected)
    usual = Usual.of([each.took for each in past]) if past else None
    return Limit(usual.limit, usual) if usual is not None and usual.limit is not None else None


def _newest_first(found: Iterator[Newest]) -> list[Newest]:
    return sorted(found, key=lambda each: (each.ended_at, each.entry_id), reverse=True)[:READ]


def _silent_since(attempts: Sequence[Attempt]) -> dict[int, datetime | None]:
    """Return since when each attempt has shown no sign; None where that is not known."""
    chunks = OutputChunk.objects
    last = chunks.filter(attempt=OuterRef("pk")).order_by("-seq")
    written = dict(
        Attempt.objects.filter(pk__in=[each.pk for each in attempts])
        .annotate(seq=Subquery(last.values("seq")[:1]), written_at=Subquery(last.values("written_at")[:1]))
        .values_list("pk", "written_at")
    )
    sizes = dict(
        chunks.filter(attempt__in=[each.pk for each in attempts])
        .order_by()
        .values("attempt")
        .annotate(size=Sum(Length("text")))
        .values_list("attempt", "size")
    )
    found: dict[int, datetime | None] = {}
    for each in attempts:
        signs = [each.begun_at, written.get(each.pk), getattr(work_of(each), "progress_at", None)]
        is_unknown = (each.pk in sizes and written.get(each.pk) is None) or UNREAD in signs
        is_unknown |= (sizes.get(each.pk) or 0) >= conf.output_limit_bytes // OUTPUT_FULL
        found[each.pk] = None if is_unknown else max(sign for sign in signs if sign is not None)
    return found


def _open_slow(entry_ids: Sequence[int]) -> set[int | None]:
    keys = [f"{SLOW}:{entry_id}" for entry_id in entry_ids]
    rows = Incident.objects.filter(open_key__in=keys)
    return set(rows.values_list("entry_id", flat=True))


def _is_stuck(attempt: Attempt, look: Look) -> bool:
    """Answer whether the rule of what is stuck speaks of it: its lease is over, or its timeout."""
    timeout = policy_or_default(attempt.run.entry).timeout
    if attempt.begun_at == UNREAD or (attempt.lease_until is not None and attempt.lease_until < look.now):
        return True
    return timeout is not None and attempt.begun_at + timeout < look.late


def _fact(limit: Limit) -> tuple[str, str]:
    if limit.usual is None:
        return "expected", f"at most {length(limit.longest)}"
    usual = limit.usual
    return "usually", f"{describe_usual(usual.p50, usual.p95)} (of its last {usual.count} successes)"


def _if_well(limit: Limit, run_id: int | None) -> str:
    see = f"See: manage.py crons log {run_id}"
    if limit.usual is None:
        return f"{see}. If that is well, raise expected= of the job"
    return f"{see}. If that is well, say so at the job: expected=timedelta(…)"


def silent(look: Look) -> Iterator[Problem]:
    """The entries that have not succeeded for as long as their `max_silence`, or never since they were first seen.

    While an entry is paused no time counts, and after a pause or a retirement it is counted anew. What was silent
    before it was paused stays so: a pause mends nothing.
    Cost: none besides that of all rules over the past; three statements where any is silent.
    """
    found = [each for each in look.newest if _is_silent(each, _heard_at(each), look.now)]
    found = sorted(found, key=lambda each: (_heard_at(each), each.entry_id))[: 2 * READ]
    if not found:
        return
    entries = Entry.objects.in_bulk([each.entry_id for each in found])
    back_at = _back_at(found, entries)
    for each in found:
        entry, since = entries.get(each.entry_id), max(_heard_at(each), back_at.get(each.entry_id, each.seen_at))
        if entry is not None and entry.retired_at is None and _is_silent(each, since, look.now):
            yield _silence(each, entry, since, look.now)


def idle(look: Look) -> Iterator[Problem]:
    """The entries whose newest runs report, one after the other, that they examined nothing.

    Cost: none where the newest success of each examined something; else one statement for each hundred others, and one.
    """
    asked = {each.entry_id: each for each in look.newest if each.examined == 0 and each.policy.max_idle != 0}
    past = successes_of(list(asked)[:READ], work=True)
    found = {pk: count for pk, runs in past.items() if (count := _idle_runs(asked[pk], runs))}
    entries = Entry.objects.in_bulk(list(found)) if found else {}
    for pk, entry in entries.items():
        count, newest = found[pk], past[pk][0]
        had = next((each for each in past[pk] if each.examined), None)
        before = f"; the one of {utc(had.begun_at)} examined {had.examined:,}" if had else ""
        text = f"its last {count} runs examined nothing{before}"
        yield Problem.of(
            IDLE, text, entry, since=past[pk][count - 1].ended_at, run_id=newest.run_id, mark=IDLE,
            next_step=f"See: manage.py crons log {newest.run_id}. If that is well, say so at the job: max_idle=0",
        )  # fmt: skip


def _heard_at(each: Newest) -> datetime:
    return each.succeeded_at or each.seen_at


def _is_silent(each: Newest, since: datetime, now: datetime) -> bool:
    longest = each.policy.max_silence
    until = now if each.paused_at is None else min(now, each.paused_at)
    return longest is not None and until - since > longest


def _silence(each: Newest, entry: Entry, since: datetime, now: datetime) -> Problem:
    assert each.policy.max_silence is not None
    longest = length(each.policy.max_silence)
    if each.succeeded_at is None:
        text = f"has not succeeded since it was first seen, {utc(each.seen_at)}"
        last = "none"
    else:
        text, last = f"has not succeeded since {utc(each.succeeded_at)}", utc(each.succeeded_at)
    first = f"manage.py crons why {entry.name}" if entry.schedule else f"run it: manage.py crons run {entry.name}"
    return Problem.of(
        SILENT,
        f"{text}; at least one success in {longest} is expected (max_silence)",
        entry,
        since=since,
        next_step=f"See: {first}; what became of its runs: manage.py crons history {entry.name}",
        run_id=each.run_id,
        mark=SILENT,
        facts=(("last success", last), ("expected", f"at least one in {longest}"), ("silent for", length(now - since))),
    )


def _back_at(found: Sequence[Newest], entries: Mapping[int, Entry]) -> dict[int, datetime]:
    """Return since when entries are back from their last pause or retirement, by their ids.

    A silence that was too long when the pause began is not forgiven.
    """
    by_name = {entry.name: pk for pk, entry in entries.items()}
    deeds = AuditEvent.objects.filter(subject_type="entry", subject__in=list(by_name), verb__in=BACK)
    back = {by_name[name]: at for name, at in deeds.order_by().values_list("subject").annotate(Max("at"))}
    # Of a pause that ends by itself, or of many entries, the last slot that was skipped says when.
    began: dict[int, datetime] = {}
    for pk, first, last in rows_of(_skipped, list(entries), READ, limit=RANGES_READ):
        first_at, last_at = known(first), known(last)
        if first_at is not None and last_at is not None:
            back[pk] = max(last_at, back.get(pk, last_at))
            began[pk] = max(first_at, began.get(pk, first_at))
    for each in found:
        longest, paused_at = each.policy.max_silence, began.get(each.entry_id)
        if longest is not None and paused_at is not None and paused_at - _heard_at(each) > longest:
            back.pop(each.entry_id, None)
    return back


def _skipped(using: str) -> str:
    """Write the statement: of each entry's newest ranges those that were skipped in a pause."""
    newest = f"""
        SELECT id, first_at, last_at, reason FROM crons_range n {along("crons_range_entry_last", using)}
        WHERE n.entry_id = e.value ORDER BY n.last_at DESC, n.id DESC LIMIT %(limit)s"""
    if connections[using].vendor == "sqlite":
        joined = f"CROSS JOIN crons_range g ON g.id IN (SELECT id FROM ({newest}))"
    else:
        joined = f"CROSS JOIN LATERAL ({newest}) g"
    return f"""
        SELECT e.value, COALESCE(g.first_at, NULL), COALESCE(g.last_at, NULL)
        FROM {given(using)} {joined} WHERE g.reason = 'paused'"""


def _idle_runs(each: Newest, runs: Sequence[Success]) -> int:
    """Count the newest runs that examined nothing; none where that is well."""
    count = next((number for number, run in enumerate(runs) if run.examined != 0), len(runs))
    if each.policy.max_idle is not None:
        return count if count >= each.policy.max_idle else 0
    return count if count >= IN_A_ROW and any(run.examined for run in runs) else 0
