"""Rules over an entry's newest runs: slots begun late, slots missed though something looked, failures time and again.

Of each entry that may be among them the newest twenty runs are read, in one statement for all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import takewhile

from crons.ledger import newest, policy_or_default
from crons.ledger.newest import NewestRun
from crons.models import Entry, Incident, Run
from crons.presentation import length, utc
from crons.verdicts import BAD_VERDICTS, Kind, State, Verdict
from crons.watch.look import READ, Look, Problem
from crons.watch.rules import LATELY

# So many bad ones in a row are no trend.
IN_A_ROW = 5


def trends(look: Look) -> Iterator[Problem]:
    """The entries whose last slots were begun late or missed, or that fail time and again.

    Cost: four statements, each along an index and up to `READ` rows, and two where any is found.
    """
    unsteady = set(_incidents(look, rule="unsteady", open_key__isnull=False))
    ids = {*_lately(look, late_seconds__isnull=False), *_lately(look, verdict=Verdict.MISSED), *unsteady}
    ids |= set(_incidents(look, rule="failing", opened_at__gte=look.now - LATELY))
    if not ids:
        return
    runs = newest.newest_runs(ids)
    entries = Entry.objects.filter(pk__in=ids, retired_at=None).order_by("name")
    for entry in entries:
        each = runs.get(entry.pk, [])
        yield from _late(entry, each)
        yield from _missed(entry, each)
        yield from _unsteady(entry, each, is_open=entry.pk in unsteady)


def _lately(look: Look, **which: object) -> Iterator[int]:
    rows = Run.objects.filter(planned_at__gte=look.now - LATELY, **which)
    yield from rows.order_by("-planned_at", "-pk").values_list("entry_id", flat=True)[:READ]


def _incidents(look: Look, **which: object) -> Iterator[int]:
    rows = Incident.objects.filter(entry__isnull=False, **which).order_by("-opened_at")
    yield from (entry_id for entry_id in rows.values_list("entry_id", flat=True)[:READ] if entry_id is not None)


def _late(entry: Entry, runs: Sequence[NewestRun]) -> Iterator[Problem]:
    begun = [run for run in runs if run.kind == Kind.SLOT and run.tries]
    # What an outage had recorded late is said with the outage.
    late = list(takewhile(lambda run: run.late_seconds and run.outage is None, begun))
    if not late:
        return
    last = late[0]
    how_late = length(timedelta(seconds=last.late_seconds or 0))
    text = f"the slot {utc(last.planned_at)} was begun {how_late} late"
    text = f"its last {len(late)} slots were begun late; {text}" if len(late) > 1 else text
    yield _problem("late", text, entry, late)


def _missed(entry: Entry, runs: Sequence[NewestRun]) -> Iterator[Problem]:
    over = [run for run in runs if run.kind == Kind.SLOT and (run.tries or run.state == State.DONE)]
    missed = list(takewhile(lambda run: run.verdict == Verdict.MISSED and run.outage is None, over))
    if missed:
        slots = f"{len(missed)} slots in a row were" if len(missed) > 1 else f"the slot {utc(missed[0].planned_at)} was"
        text = f"{slots} recorded, and not begun in time: {missed[0].detail or 'no place came free'}"
        yield _problem("missed", text, entry, missed)


def _unsteady(entry: Entry, runs: Sequence[NewestRun], *, is_open: bool) -> Iterator[Problem]:
    most, of = policy_or_default(entry).unsteady
    if not most:
        return
    # Bad ones with good ones between are more than each by itself; what is open is over below three fifths of that.
    least = -(-most * 3 // 5) if is_open else most
    ended = [run for run in runs if run.verdict in BAD_VERDICTS or run.verdict == Verdict.SUCCEEDED][:of]
    bad = [run for run in ended if run.verdict in BAD_VERDICTS]
    in_a_row = list(takewhile(lambda run: run.verdict in BAD_VERDICTS, ended))
    # What only fails is said by the rule *failing*.
    if len(bad) >= least and len(in_a_row) < min(most, IN_A_ROW, len(ended)):
        text = f"{len(bad)} of its last {len(ended)} runs did not succeed, the last for: {bad[0].detail or 'no reason'}"
        yield _problem("unsteady", text, entry, bad, mark="unsteady")


def _problem(kind: str, text: str, entry: Entry, runs: Sequence[NewestRun], mark: str = "") -> Problem:
    at = runs[0].planned_at.strftime("%Y-%m-%dT%H:%MZ")
    return Problem.of(
        kind,
        text,
        entry,
        since=runs[-1].planned_at,
        next_step=f"Why: manage.py crons why {entry.name} {at}",
        run_id=runs[0].run_id,
        count=len(runs),
        mark=mark or kind,
    )
