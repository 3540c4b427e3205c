"""Rules about runs that should have begun or ended and have not, and why a run waits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet

from crons import ledger
from crons.conf import conf
from crons.exceptions import CronsError
from crons.models import Entry, Run
from crons.presentation import WaitsFor, describe_full_group, describe_wait, pause_in_force, waits_for, waits_for_window
from crons.verdicts import State
from crons.watch.look import Look, Problem, all_rows

# How many runs of an entry are counted, and of how many entries: a backlog must not slow down who asks for it.
COUNTED = 100
ENTRIES_READ = 10_000


@dataclass
class Waiting:
    """Runs of one entry, of which *run_id* is the first, that nobody begins; *count* of them, or *at_least* so many."""

    entry: Entry
    run_id: int
    since: datetime
    count: int = 1
    at_least: bool = False
    sends: int = 0
    detail: str = ""
    full_group: str = ""

    @property
    def why(self) -> str:
        """Say what may keep the first of them; of one that travels, what became of its last message."""
        if not self.sends:
            return f"no place has come free, or no running process knows the job {self.entry.job!r}"
        return f"no worker begins it, after {self.sends} message(s); of the last: {self.detail or 'nothing known'}"


def waiting(late: datetime, visible: Callable[[QuerySet[Any]], QuerySet[Any]] = all_rows) -> list[Waiting]:
    """List the entries whose runs should have begun before *late*, and none of whose has been going since.

    Slots, and what somebody asked for again or after all; where one after the other is run, they wait well.
    Cost: one statement; of an entry's backlog it reads the first run and counts a hundred.
    """
    found = ledger.first_late(late, COUNTED + 1, ENTRIES_READ, visible)
    return [_waiting(run) for run in found if not _opened_since(run, late)]


def _waiting(run: Any) -> Waiting:
    since = _could_begin_at(run) if run.sends or run.wake_at is None else run.wake_at
    count = min(run.waiting, COUNTED)
    full = _full_group(run.entry, json.loads(getattr(run, "going", None) or "{}"))
    return Waiting(run.entry, run.pk, since, count, run.waiting > count, run.sends, run.detail, full)


def _opened_since(run: Run, late: datetime) -> bool:
    """Say whether its window has opened just now: then what came back from a worker is not late, as its slot says."""
    return _could_begin_at(run) > max(late, run.planned_at)


def _could_begin_at(run: Run) -> datetime:
    try:
        return ledger.opening(run.entry, ledger.policy_of(run.entry), run.planned_at)
    except CronsError:
        return run.planned_at  # it is parked, which says why


def _full_group(entry: Entry, going: Mapping[str, int]) -> str:
    """Say which group of *entry* is at its limit; empty where none is."""
    group = entry.policy.get("group")
    limit = conf.groups.get(group) if isinstance(group, str) else None
    running = going.get(group, 0)
    return describe_full_group(group, running) if limit is not None and running >= limit else ""


def waiting_runs(look: Look) -> Iterator[Problem]:
    """The runs that nobody begins, though nothing of their entry is in the way."""
    for each in waiting(look.late, look.visible):
        least = "at least " if each.at_least else ""
        runs_wait = "a run waits" if each.count == 1 else f"{least}{each.count} runs wait"
        what = each.full_group or f"to be begun: {each.why}"
        text, after = f"{runs_wait} {what}", f"See: manage.py crons show {each.run_id}"
        yield Problem.of("waiting", text, each.entry, since=each.since, next_step=after, run_id=each.run_id)


def stuck(look: Look) -> Iterator[Problem]:
    """The attempts whose lease nobody renews, or that go on past their timeout: what they block waits for somebody."""
    for each in look.going:
        timeout = _timeout_of(each.run.entry)
        who = f"attempt {each.pk} on {each.host} (pid {each.pid})"
        if each.lease_until is not None and each.lease_until < look.now:
            since, text = each.lease_until, f"{who} has not renewed its lease: is that process stopped?"
        elif timeout is not None and each.begun_at + timeout < look.late:
            since, text = each.begun_at + timeout, f"{who} goes on past its timeout, and could not be ended"
        else:
            continue
        text = f"{text} {each.error}" if each.error else text
        after = f"See: manage.py crons show {each.run_id}"
        yield Problem.of("stuck", text, each.run.entry, since=since, next_step=after, run_id=each.run_id)


def _timeout_of(entry: Entry) -> timedelta | None:
    try:
        return ledger.policy_of(entry).timeout
    except CronsError:
        return None  # it is parked, which says why


def why_waiting(runs: Iterable[Run]) -> dict[int, str]:
    """Say of each run whose slot has come why it has not begun, by its id; runs are read with their entries.

    Cost: two queries, and one more where CRONS["GROUPS"] limits any.
    """
    now = ledger.database_now()
    runs = list(runs)
    ready = [run for run in runs if run.state in (State.DUE, State.WAITING) and run.wake_at and run.wake_at <= now]
    going = Run.objects.using(conf.database).filter(active_key__in={run.entry_id for run in ready})
    in_the_way = dict(going.values_list("active_key", "pk"))
    full = ledger.full_groups(conf.database)
    sent = [run for run in runs if run.state == State.SENT]
    closed = [run for run in runs if _is_before_window(run, now)]
    return {
        **{run.pk: _why_waiting(run, in_the_way.get(run.entry_id), full, now) for run in [*sent, *ready]},
        **{run.pk: describe_wait(run, WaitsFor.WINDOW, None, 0) for run in closed},
    }


def _is_before_window(run: Run, now: datetime) -> bool:
    return waits_for_window(run.state, run.sends, run.wake_at, ledger.policy_or_default(run.entry).window, now)


def _why_waiting(run: Run, going: int | None, full: Mapping[str, int], now: datetime) -> str:
    group = run.entry.policy.get("group")
    running = full.get(group, 0) if isinstance(group, str) else 0
    what = waits_for(
        state=run.state,
        kind=run.kind,
        asked_at=run.asked_at,
        paused_at=pause_in_force(run.entry, now),
        run_is_going=going is not None,
        group_is_full=running > 0,
    )
    return describe_wait(run, what, going, running)
