"""Scoring all customers: first their values are counted, then each gets the fifths that his are in.

Both by batches, each a short transaction with the note of how far it is: killed at any statement, or stopped because
the site wakes up, it goes on there. Between batches it leaves the database to others for as long as it had it.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import OperationalError, connection, transaction
from django.db.models import BigIntegerField, Count, F, Max, QuerySet, Sum
from django.db.models.functions import Cast, Round

from crm.customers import a_year_before
from crm.models import Customer, CustomerScore, Order, Scoring
from crm.scores import fifths

NO_ORDER = "no order within the year"
ANONYMISED = "anonymised"
BATCH = 500
_SMALLEST_BATCH = 50
_LONGEST_PAUSE_SECONDS = 0.2
# Of PostgreSQL: a statement that takes longer is in somebody's way, and is tried again with a smaller batch.
_STATEMENT_TIMEOUT, _LOCK_TIMEOUT = "5s", "2s"
_Stage = Scoring.Stage


@dataclass(frozen=True)
class Working:
    """How an attempt works: as whom, in which steps, until when, and who is told.

    *on_batch* is told (examined, changed, skipped) of each batch of the second stage, in its transaction; *is_over*:
    no further batch is to begin.
    """

    run: int | None = None
    on_progress: Callable[[int, int | None], None] = lambda done, of: None
    on_batch: Callable[[int, int, Mapping[str, int]], None] = lambda examined, changed, skipped: None
    is_over: Callable[[], bool] = lambda: False
    pause: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    batch_size: int = BATCH


def score(until: datetime, *, now: Callable[[], datetime], working: Working) -> Scoring:
    """Score the customers who signed up before *until* by their orders of the calendar year before it.

    Half-open: an order at *until* itself, or in the future, belongs to the next scoring. Cancelled ones do not count.
    Returns: the scoring; its stage says whether it is done, overtaken by one of a later moment, or to be gone on with.
    Raises: OperationalError where the database is too busy even for a small batch; what is done stays.
    Cost: two reads of each customer's orders; memory for a batch and some thousands of numbers.
    """
    row, size = _begin(until, now(), working.run), working.batch_size
    while row.stage in (_Stage.COUNTING, _Stage.SCORING) and not working.is_over():
        began = working.clock()
        try:
            with transaction.atomic():
                _bound_waits()
                row = Scoring.objects.select_for_update().get(pk=row.pk)
                _step(row, size, now, working)
                row.save()
        except OperationalError:
            if size <= _SMALLEST_BATCH:
                raise
            size = max(size // 2, _SMALLEST_BATCH)
            row.refresh_from_db()  # what the batch has changed in memory was rolled back
        else:
            working.on_progress(row.counted + row.examined, 2 * row.customers)
        working.pause(min(working.clock() - began, _LONGEST_PAUSE_SECONDS))
    return row


def look(until: datetime, *, working: Working) -> tuple[Scoring, Counter[str]]:
    """Give the scoring as it would be, counted by the code that counts one, and who would be left out; nothing is done.

    *scored* is how many would be.
    """
    row, skipped = _new(until, until, None), Counter[str]()
    while row.stage == _Stage.COUNTING:
        skipped += _count(row, working.batch_size)
        working.on_progress(row.counted, row.customers)
    row.examined, row.scored = row.counted, row.counted - skipped.total()
    return row, skipped


def lines_of(row: Scoring, skipped: Mapping[str, int] | None = None) -> list[str]:
    """Say what a scoring came to; with *skipped*, what it would come to."""
    zone = ZoneInfo(settings.TIME_ZONE)
    since, until = (f"{each.astimezone(zone):%Y-%m-%d %H:%M:%S %z}" for each in (row.since, row.until))
    verb = "Scored" if skipped is None else "Would score"
    lines = [f"{verb} {row.scored} of {row.examined} customers, by their orders from {since} to {until}."]
    lines += [f"Left out {number}: {reason}." for reason, number in (skipped or {}).items()]
    return lines + [f"{name}: the fifths end at {values}." for name, values in limits_said(row)]


def limits_said(row: Scoring) -> Iterator[tuple[str, str]]:
    """Yield each measure and the values at which its fifths end, from the worst on, for people."""
    for name, unit in (("recency", "days ago"), ("frequency", "orders"), ("monetary", "")):
        values = [abs(each) for each in row.limits.get(name, [])]
        shown = [f"{Decimal(each).scaleb(-2):,}" if name == "monetary" else f"{each:,}" for each in values]
        if shown:
            yield name, f"{'; '.join(shown)} {unit}".rstrip()


def _begin(until: datetime, now: datetime, run: int | None) -> Scoring:
    """Give the row of the scoring as of *until*; a new one overtakes those before it that are not done."""
    row = Scoring.objects.filter(until=until).first()
    if row is None:
        new = _new(until, now, run)
        with transaction.atomic():
            row, is_new = Scoring.objects.get_or_create(
                until=until, defaults={each: getattr(new, each) for each in ("since", "customers", "run", "started_at")}
            )
            if is_new:
                _open_ones().filter(until__lt=until).update(stage=_Stage.OVERTAKEN, ended_at=now, tallies={}, limits={})
    if row.stage not in (_Stage.DONE, _Stage.OVERTAKEN):
        # Begun anew, after a restore or by hand: scores must not go back to an earlier moment.
        if Scoring.objects.filter(until__gt=until).exists():
            row.stage, row.ended_at, row.tallies = _Stage.OVERTAKEN, now, {}
            row.save()
        elif row.run != run:
            Scoring.objects.filter(pk=row.pk).update(run=run)
    return row


def _new(until: datetime, now: datetime, run: int | None) -> Scoring:
    since = a_year_before(until, ZoneInfo(settings.TIME_ZONE))
    customers = Customer.objects.filter(created_at__lt=until).count()
    return Scoring(until=until, since=since, customers=customers, run=run, started_at=now, tallies={}, limits={})


def _open_ones() -> QuerySet[Scoring]:
    return Scoring.objects.filter(stage__in=[_Stage.COUNTING, _Stage.SCORING])


def _step(row: Scoring, size: int, now: Callable[[], datetime], working: Working) -> None:
    """Do a batch of what *row* is at, inside a transaction that has it locked."""
    if row.stage == _Stage.COUNTING:
        _count(row, size)
    elif row.stage == _Stage.SCORING:
        _score(row, size, now, working)


def _count(row: Scoring, size: int) -> Counter[str]:
    """Add the values of a batch to the tallies; after the last, find where the fifths end."""
    batch = _read(row, size)
    for each in batch.values:
        for name, value in each.measures(row.until).items():
            tally = row.tallies.setdefault(name, {})
            key = str(fifths.rounded(value))
            tally[key] = tally.get(key, 0) + 1
    row.counted += batch.examined
    if batch.last_id is None:
        tallies = {name: {int(key): count for key, count in tally.items()} for name, tally in row.tallies.items()}
        row.limits = {name: fifths.limits(tally) for name, tally in tallies.items()}
        row.tallies, row.stage, row.last_id = {}, _Stage.SCORING, 0
    else:
        row.last_id = batch.last_id
    return batch.skipped


def _score(row: Scoring, size: int, now: Callable[[], datetime], working: Working) -> None:
    """Write the scores of a batch; who has none any more, or is gone, loses those of before."""
    batch = _read(row, size)
    scores = [
        CustomerScore(
            customer_id=each.customer, as_of=row.until, last_ordered_at=each.last_at, orders=each.orders,
            spent=Decimal(each.cents).scaleb(-2),
            **{name: fifths.score(value, row.limits.get(name, [])) for name, value in each.measures(row.until).items()},
        )
        for each in batch.values
    ]  # fmt: skip
    if scores:
        columns = [each.attname for each in CustomerScore._meta.concrete_fields if not each.primary_key]
        CustomerScore.objects.bulk_create(
            scores, update_conflicts=True, unique_fields=["customer"], update_fields=columns
        )
    stale = CustomerScore.objects.filter(customer__gt=row.last_id, as_of__lt=row.until)
    if batch.last_id is None:
        stale.delete()
        row.stage, row.ended_at = _Stage.DONE, now()
        return
    stale.filter(customer__lte=batch.last_id).delete()
    row.last_id = batch.last_id
    row.examined += batch.examined
    row.scored += len(scores)
    working.on_batch(batch.examined, len(scores), batch.skipped)


@dataclass(frozen=True)
class _Values:
    """What a customer ordered within the year."""

    customer: int
    last_at: datetime
    orders: int
    cents: int

    def measures(self, until: datetime) -> dict[str, int]:
        """Give each measure as a number of which more is better."""
        return {"recency": -(until - self.last_at).days, "frequency": self.orders, "monetary": self.cents}


@dataclass(frozen=True)
class _Batch:
    """Customers in the order of their keys; *last_id* is None behind the last."""

    last_id: int | None
    examined: int
    values: list[_Values]
    skipped: Counter[str]


def _read(row: Scoring, size: int) -> _Batch:
    rows = Customer.objects.filter(pk__gt=row.last_id, created_at__lt=row.until).order_by("pk")
    people = dict(rows.values_list("pk", "anonymised_at")[:size])
    if not people:
        return _Batch(None, 0, [], Counter())
    last_id = max(people)
    orders = Order.objects.filter(customer__gt=row.last_id, customer__lte=last_id, ordered_at__gte=row.since)
    orders = orders.filter(ordered_at__lt=row.until).exclude(status=Order.Status.CANCELLED).order_by()
    # In whole cents: SQLite keeps decimals as floats, and a sum of many floats is off by some.
    cents = Sum(Cast(Round(F("total") * 100), BigIntegerField()))
    found = orders.values_list("customer").annotate(last_at=Max("ordered_at"), number=Count("pk"), cents=cents)
    ordered = {pk: _Values(pk, last_at, count, int(sum_)) for pk, last_at, count, sum_ in found if pk in people}
    values = [ordered[pk] for pk, anonymised_at in people.items() if anonymised_at is None and pk in ordered]
    anonymised = sum(each is not None for each in people.values())
    counts = {NO_ORDER: len(people) - anonymised - len(values), ANONYMISED: anonymised}
    return _Batch(last_id, len(people), values, Counter({why: count for why, count in counts.items() if count}))


def _bound_waits() -> None:
    """Have PostgreSQL end what takes long or waits long, until the transaction ends: then the site needs it more."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT set_config('statement_timeout', %s, true), set_config('lock_timeout', %s, true)",
                [_STATEMENT_TIMEOUT, _LOCK_TIMEOUT],
            )
