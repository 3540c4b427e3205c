"""One pass over what is to be delivered: claimed by batches, posted by threads, recorded here.

A thread only posts; every statement is this one's. An endpoint has one request at a time, in the order of its events,
and one that fails is left alone until the next pass: so a slow one holds up no other.
"""

import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from queue import Empty, SimpleQueue

from django.db import connection, transaction
from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet, Subquery, Sum
from django.utils import timezone

from crm.webhooks import events, signing
from crm.webhooks.models import WebhookDelivery, WebhookEndpoint
from crm.webhooks.posting import Answer, Line, post
from crm.webhooks.recording import record

AT_ONCE = 16
# Begun no later than this into a pass; the last may take DEADLINE_SECONDS more, and the next pass is due a minute on.
PASS_SECONDS = 40.0
DEADLINE_SECONDS = 15.0
# Longer than a pass: whoever claimed something before that is gone.
LEASE = timedelta(minutes=3)
_BATCH = 20
_W = WebhookDelivery.State.WAITING

Clock = Callable[[], datetime]


@dataclass
class Swept:
    """What a pass did. *left*: what was still due when its time was over."""

    tried: int = 0
    delivered: int = 0
    failed: int = 0
    endpoints: int = 0
    paused: int = 0
    left: int = 0


@dataclass
class _Endpoint:
    row: WebhookEndpoint
    secrets: list[str]
    problem: str = ""
    claimed: deque[WebhookDelivery] = field(default_factory=deque)


@dataclass
class _Call:
    to: _Endpoint
    delivery: WebhookDelivery
    at: datetime
    line: Line
    until: float


def sweep(
    *,
    clock: Clock = timezone.now,
    for_seconds: float = PASS_SECONDS,
    deadline_seconds: float = DEADLINE_SECONDS,
    at_once: int = AT_ONCE,
    run: int | None = None,
    on_progress: Callable[[int, int | None], None] | None = None,
) -> Swept:
    """Send what is due, each to its endpoint, until nothing is or the time is over; give what became of it.

    *run* is noted in the log of tries. Killed at any moment, it leaves what it had claimed to another, after
    LEASE: the receiver then gets an event twice, with one id.
    """
    swept = Swept()
    ends = time.monotonic() + for_seconds
    waiting = deque(_Endpoint(row, []) for row in _due_endpoints(clock()))
    swept.endpoints = len(waiting)
    calls: dict[int, _Call] = {}
    answers: SimpleQueue[tuple[int, Answer]] = SimpleQueue()
    while True:
        while waiting and len(calls) < at_once and time.monotonic() < ends:
            to = waiting.popleft()
            if to.claimed or _claim(to, clock()):
                _begin(to, calls, answers, clock(), deadline_seconds)
        if not calls:
            break
        for call, answer in _ended(calls, answers, deadline_seconds):
            endpoint = record(call.delivery, answer, at=call.at, now=clock(), run=run)
            swept.tried += 1
            swept.delivered += answer.is_good
            swept.failed += not answer.is_good
            if on_progress:
                on_progress(swept.tried, None)
            if answer.is_good and endpoint and not endpoint.disabled_at and time.monotonic() < ends:
                call.to.row = endpoint  # by hand it may have got another address meanwhile
                waiting.append(call.to)  # at the end: after those that had no turn yet
            else:
                _release(call.to)
    for to in waiting:
        _release(to)
    swept.left = _count_left(clock())
    swept.paused = WebhookEndpoint.objects.filter(disabled_at=None, paused_until__gt=clock()).count()
    return swept


def _count_left(now: datetime) -> int:
    # Endpoint by endpoint, along the index: SQLite would read all deliveries that there are, each minute.
    mine = _due(now).filter(endpoint=OuterRef("pk")).order_by().values("endpoint")
    counted = _open_endpoints(now).annotate(left=Subquery(mine.annotate(n=Count("pk")).values("n")))
    return counted.aggregate(sum=Sum("left"))["sum"] or 0


def _open_endpoints(now: datetime) -> QuerySet[WebhookEndpoint]:
    return WebhookEndpoint.objects.filter(Q(paused_until=None) | Q(paused_until__lte=now), disabled_at=None)


def _due_endpoints(now: datetime) -> list[WebhookEndpoint]:
    """List those that something is due for: what works first, then what had its turn the longest time ago."""
    mine = _due(now).filter(endpoint=OuterRef("pk")).order_by()
    rows = _open_endpoints(now).filter(Exists(mine))
    return list(rows.order_by("failures", F("tried_at").asc(nulls_first=True), "pk"))


def _due(now: datetime) -> QuerySet[WebhookDelivery]:
    free = Q(claimed_until=None) | Q(claimed_until__lte=now)
    return WebhookDelivery.objects.filter(free, state=_W, next_try_at__lte=now)


def _claim(to: _Endpoint, now: datetime) -> bool:
    """Take what is due for the endpoint, at most a batch, and one alone where the last failed; say whether any was.

    Of two who claim at once each gets rows of its own: PostgreSQL passes over what another holds, SQLite has one writer
    at a time; and the update asks again.
    """
    claim = uuid.uuid4().hex
    with transaction.atomic():
        # First, as all do who write deliveries and their endpoint: so that no two wait for each other.
        enabled = WebhookEndpoint.objects.filter(pk=to.row.pk, disabled_at=None)
        row = enabled.select_for_update(no_key=True).first()
        if row is None:
            return False
        rows = _due(now).filter(endpoint=row).order_by("next_try_at", "pk")
        if connection.features.has_select_for_update_skip_locked:
            rows = rows.select_for_update(skip_locked=True)
        found = list(rows.values_list("pk", flat=True)[: 1 if row.failures else _BATCH])
        if not found:
            return False
        _due(now).filter(pk__in=found).update(claim=claim, claimed_until=now + LEASE)
        WebhookEndpoint.objects.filter(pk=row.pk).update(tried_at=now)
    to.row = row
    # By number: a clock may have jumped back between one event and the next.
    taken = WebhookDelivery.objects.filter(pk__in=found, claim=claim).select_related("event").order_by("event_id")
    to.claimed = deque(taken)
    try:
        to.secrets, to.problem = signing.secrets_of(row, now=now), ""
    except signing.NoSecret as error:
        to.problem = str(error)
    return bool(to.claimed)


def _release(to: _Endpoint) -> None:
    """Leave what was claimed and not begun to whoever comes next."""
    if to.claimed:
        mine = [each.pk for each in to.claimed]
        claim = to.claimed[0].claim
        WebhookDelivery.objects.filter(pk__in=mine, claim=claim).update(claim="", claimed_until=None)
        to.claimed.clear()


def _begin(
    to: _Endpoint, calls: dict[int, _Call], answers: "SimpleQueue[tuple[int, Answer]]", now: datetime, seconds: float
) -> None:
    delivery = to.claimed.popleft()
    line = Line()
    calls[delivery.pk] = _Call(to, delivery, now, line, time.monotonic() + seconds)
    if to.problem:
        answers.put((delivery.pk, Answer(error=to.problem)))
        return
    body = events.payload(delivery.event)
    said = signing.headers(delivery.event.uid, now, body, to.secrets)

    def call() -> None:
        answers.put((delivery.pk, post(to.row.url, body.encode(), said, seconds=seconds, line=line)))

    # A daemon: one that waits for a silent name server must not keep the process from ending.
    threading.Thread(target=call, name=f"webhook-{delivery.pk}", daemon=True).start()


def _ended(
    calls: dict[int, _Call], answers: "SimpleQueue[tuple[int, Answer]]", seconds: float
) -> Iterable[tuple[_Call, Answer]]:
    """Wait for an answer, or until somebody's time is over; take from *calls* what has ended."""
    try:
        pk, answer = answers.get(timeout=max(0.0, min(each.until for each in calls.values()) - time.monotonic()))
    except Empty:
        late = [pk for pk, each in calls.items() if each.until <= time.monotonic()]
        for pk in late:
            call = calls.pop(pk)
            call.line.cut()
            yield call, Answer(error=f"no answer within {seconds:g} s", milliseconds=int(seconds * 1000))
    else:
        # What ends after it was cut has been recorded already.
        if pk in calls:
            yield calls.pop(pk), answer
