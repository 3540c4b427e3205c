"""Sending: a due run is offered to processes elsewhere; whichever begins it first has it.

A message is a hint, never a claim: the run keeps its place in the ledger, is sent again while nobody has
begun it, and ends as missed when its time is over. So a message may be lost, doubled or late.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

from crons.attempts import RunMessage
from crons.ledger import queries, rows
from crons.ledger.begin import key_of
from crons.ledger.queue import Queue, Sought, lock_places
from crons.ledger.transactions import lock_free, verb, writing
from crons.models import Deployment, Run
from crons.verdicts import Kind, State

FIRST_PAUSE = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(minutes=15)
SENT = ["state", "wake_at", "sends", "detail"]


def pause_after(sends: int) -> timedelta:
    """Say how long a run that was sent so often is left to be begun before it is sent again."""
    doublings = min(max(sends - 1, 0), 10)
    return min(FIRST_PAUSE * (1 << doublings), LONGEST_PAUSE)


@verb
def send(now: datetime, room: Mapping[str, int], *, only_run: int | None = None) -> list[RunMessage]:
    """Mark as sent what is due to be begun elsewhere, and return what to send; it is sent after the commit.

    Args: *room* is how many messages each executor, by alias, takes now. Of an entry whose runs may not
    overlap one run is under way at a time, so that slots keep their order; of a group as many as it has places.
    """
    wanted = {alias: count for alias, count in room.items() if count > 0}
    if not wanted:
        return []
    with writing() as using:
        places = _places_to_send(now, using)
        chosen = Queue(now, Sought(wanted, None, only_run, sending=True), places, using).choose()
        adopted = Deployment.objects.using(using).values_list("identity", flat=True).first() or ""
        messages = []
        for run, policy in chosen:
            run.sends += 1
            run.state, run.wake_at = State.SENT, now + pause_after(run.sends)
            run.detail = f"sent to {policy.executor}"[:255]
            name, key = run.entry.name, key_of(run)
            way = (policy.executor, policy.timeout, policy.route)
            messages.append(RunMessage(run.pk, adopted, name, key, run.sends, *way, run.tries))
        rows.update([run for run, _ in chosen], SENT, using)
    return messages


@verb
def take_back(runs: Collection[int], again_at: datetime, detail: str, *, unsent: bool = False) -> list[int]:
    """Let runs that were sent be sent again from *again_at* on, if nobody has begun them; say which those were.

    Args: *unsent* says that their messages were not handed over: those do not count, or the pause after a night
    without a broker would be the longest.
    """
    with writing() as using:
        sent = Run.objects.using(using).filter(pk__in=list(runs), state=State.SENT).order_by("pk")
        found = list(sent.select_for_update())
        _return(found, again_at, detail, using, unsent=unsent)
    return [run.pk for run in found]


def take_back_held(entries: Collection[int], now: datetime, using: str) -> None:
    """Take back what a pause of *entries* holds: what is called sent is in the way of what people ask for meanwhile.

    For use inside a transaction that locks the entries; who begins one of the runs just now sees the pause.
    """
    sent = Run.objects.using(using).filter(entry__in=list(entries), state=State.SENT).exclude(kind=Kind.MANUAL)
    _return(list(lock_free(sent.order_by("pk"), using, "self")), now, "paused before a worker began it", using)


def _return(runs: list[Run], again_at: datetime, detail: str, using: str, *, unsent: bool = False) -> None:
    for run in runs:
        # A retry is not a first try: it is given up for a newer success, and has no last moment to start.
        run.state = State.WAITING if run.tries or run.asked_at else State.DUE
        run.wake_at, run.detail = again_at, detail[:255]
        # Not none: by that the run keeps its place before the slots that come after it.
        run.sends = max(run.sends - unsent, 1)
    rows.update(runs, SENT, using)


def _places_to_send(now: datetime, using: str) -> dict[str, int]:
    """Return how many more messages each group with a limit can use.

    A first message counts as one running; what nobody has begun by the second holds nobody up.
    """
    places = lock_places(using)
    sent = queries.groups_sent(now, using) if places else Counter()
    return {group: count - sent[group] for group, count in places.items()}
