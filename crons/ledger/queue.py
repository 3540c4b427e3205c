"""The queue: which of the runs that have come due are begun, or sent, next.

Runs and their entries are locked together, skipping what others hold: two schedulers that begin at once never wait
for each other, never choose the same run, and never two runs of one entry.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Exists, OuterRef

from crons.conf import conf
from crons.jobs import Policy
from crons.ledger import queries, rows
from crons.ledger.ending.verdict import end, write_ended
from crons.ledger.entries import garbled, is_let_through, is_readable, opening, policy_of
from crons.models import Deployment, Run
from crons.schedules import FAR_PAST
from crons.verdicts import Kind, State, Verdict

# So many runs at most are locked at a time, to see which of them are chosen.
LARGEST_BATCH = 500
POSTPONED = ["state", "wake_at", "sends"]


@dataclass(frozen=True)
class Sought:
    """Which due runs are wanted; *room* by executor. *jobs* None: of any job, for others begin them.

    *arrived*: a message has brought *only_run*, so it is not too early, whenever it would be sent again.
    *sending*: also what was sent before and has not been begun since.
    """

    room: Mapping[str, int]
    jobs: Collection[str] | None
    only_run: int | None = None
    arrived: bool = False
    sending: bool = False


class Queue:
    """The due runs that are sought, for one transaction; what was chosen decides what else may be.

    *places*: how many more runs each group with a limit takes.
    """

    def __init__(self, now: datetime, sought: Sought, places: Mapping[str, int], using: str) -> None:
        self._now = now
        self._sought = sought
        self._using = using
        self._left = Counter(sought.room)
        self._places = dict(places)
        self._under_way: dict[int, int] = {}
        self._passed: set[int] = set()

    def choose(self) -> list[tuple[Run, Policy]]:
        """Lock and return as many runs as there is room for; end those that need not or cannot be tried."""
        chosen: list[tuple[Run, Policy]] = []
        for runs in self._batches():
            if self._sought.sending:
                self._note_sent(runs)
            tried = [run.pk for run in runs if run.tries or run.state == State.WAITING]
            overtaken = queries.overtaken(tried, self._using)
            over, postponed = [], []
            for run in runs:
                policy = policy_of(run.entry)
                if unreadable := garbled(run):
                    end(run, Verdict.FAILED, self._now, detail=unreadable)
                    over.append(run)
                elif run.pk in overtaken:
                    end(run, Verdict.SUPERSEDED, self._now, detail="a newer slot succeeded before the retry")
                    over.append(run)
                elif not self._is_open(run, policy):
                    postponed.append(run)
                elif self._has_place(run, policy):
                    chosen.append((run, policy))
                    self._take_place(run, policy)
            write_ended(over, self._using)
            rows.update(postponed, POSTPONED, self._using)
        return chosen

    def _is_open(self, run: Run, policy: Policy) -> bool:
        """Say whether its window lets a run begin; one that it does not is due again when it opens, in memory.

        So waits a slot that found no place until its window closed, and one whose message came too late.
        """
        if policy.window is None or is_let_through(run):
            return True
        opens_at = opening(run.entry, policy, self._now)
        if opens_at <= self._now:
            return True
        if run.state == State.SENT:
            run.state = State.WAITING if run.tries else State.DUE
        # Not sent any more: a newer slot may take its place, and it is not overdue.
        run.wake_at, run.sends = opens_at, 0
        return False

    def _has_place(self, run: Run, policy: Policy) -> bool:
        is_next = policy.overlap == "allow" or self._under_way.get(run.entry_id, run.pk) == run.pk
        return is_next and self._left[policy.executor] > 0 and self._places.get(policy.group, 1) > 0

    def _take_place(self, run: Run, policy: Policy) -> None:
        self._left[policy.executor] -= 1
        if policy.group in self._places:
            self._places[policy.group] -= 1
        if policy.overlap != "allow":
            self._under_way[run.entry_id] = run.pk
            self._passed.add(run.entry_id)

    def _batches(self) -> Iterator[list[Run]]:
        """Yield locked runs, oldest first, until there is no room left or nothing that is wanted."""
        if (only := self._sought.only_run) is not None:
            # `run NAME` waits for the row: with SKIP LOCKED it would miss its own run.
            yield self._lock([only], wait=True)
            return
        at_once = {State.DUE: None, State.WAITING: False, **({State.SENT: None} if self._sought.sending else {})}
        yield from self._walk(at_once)
        # Retries by hand and backfilled slots come last: a backfill of a thousand slots must not delay today's.
        yield from self._walk({State.WAITING: True})

    def _walk(self, states: Mapping[State, bool | None]) -> Iterator[list[Run]]:
        """Go through the queues of *states* side by side, each along its index; True: only what was asked for."""
        # More than there is room for: a second run of one entry, or an overtaken one, is not chosen.
        size = 4 + 2 * self._left.total()
        places = dict.fromkeys(states, queries.Place())
        while places and any(count > 0 for count in self._left.values()):
            found: list[int] = []
            for state, place in list(places.items()):
                read = queries.queue(state, self._wanted(), place, size, self._using, asked=states[state])
                found += [each.run for each in read]
                if len(read) < size:
                    del places[state]
                else:
                    places[state] = read[-1]
            yield self._lock(found)
            size = max(size, min(2 * size, LARGEST_BATCH))

    def _wanted(self) -> queries.Wanted:
        return queries.Wanted(
            self._now,
            executors=[alias for alias, count in self._left.items() if count > 0],
            jobs=self._sought.jobs,
            full_groups=[group for group, count in self._places.items() if count <= 0],
            passed=self._passed,
            arrived=self._sought.arrived,
            sending=self._sought.sending,
        )

    def _lock(self, found: Collection[int], *, wait: bool = False) -> list[Run]:
        ids = queries.lock_wanted(found, self._wanted(), self._using, wait=wait) if found else []
        if not ids:
            return []
        # Check again now that the entries are locked: the statement above may have begun before another scheduler
        # began a run of the same entry, whose active_key would make this transaction fail.
        active = Run.objects.filter(active_key=OuterRef("entry_id"))
        runs = list(Run.objects.using(self._using).filter(~Exists(active), pk__in=ids).select_related("entry"))
        # An entry whose row is garbled does not run: its other runs are passed over too.
        self._passed |= {run.entry_id for run in runs if not is_readable(run.entry)}
        readable = [run for run in runs if run.entry_id not in self._passed]
        return sorted(readable, key=lambda run: (run.asked_at is not None, run.wake_at or FAR_PAST, run.pk))

    def _note_sent(self, runs: list[Run]) -> None:
        """Note the oldest run that was sent of each entry: `queue` may have begun before another scheduler's commit."""
        sent = queries.sent_of({run.entry_id for run in runs}, self._using)
        self._under_way |= dict(sorted(sent, reverse=True))


def seconds_late(run: Run, policy: Policy, now: datetime) -> int | None:
    """Return how late a slot is begun, where that is more than the grace; what somebody asked for is not late.

    Nor is what waited for its window, until that opened.
    """
    if run.slot_at is None or run.kind != Kind.SLOT or run.asked_at is not None or now - run.slot_at <= conf.grace:
        return None
    late = now - opening(run.entry, policy, run.slot_at)
    return int(late.total_seconds()) if late > conf.grace else None


def lock_places(using: str) -> dict[str, int]:
    """Return how many more runs each group with a limit takes; until the transaction ends nobody else begins any."""
    if not conf.groups:
        return {}
    # Counting is only right while nobody else begins: a limit over all hosts needs one lock for all.
    list(Deployment.objects.using(using).select_for_update())
    running = queries.groups_running(using)
    return {group: limit - running[group] for group, limit in conf.groups.items()}


def lock_places_to_send(now: datetime, using: str) -> dict[str, int]:
    """Return how many more messages each group with a limit can use.

    A first message counts as one running; what nobody has begun by the second holds nobody up.
    """
    places = lock_places(using)
    sent = queries.groups_sent(now, using) if places else Counter()
    return {group: count - sent[group] for group, count in places.items()}
