"""Rules about customers. The only one that takes something away is guarded three times:
re-checked under lock, capped, and leaving a tombstone.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import IntegrityError, connection, models, transaction
from django.db.models import Case, CharField, Count, Exists, OuterRef, Q, Value, When
from django.db.models.functions import Cast, Concat, Lower

from crm import bulk, tombstones
from crm.archives import files
from crm.archives.moving import MOST_RECORDS, Archived, Moving, copy, delete, finish
from crm.archives.tables import Customers, referred
from crm.bulk import Result
from crm.environment import run_number
from crm.models import Customer, CustomerScore, CustomerTombstone, Order
from crm.problems import Code, Problem, Refused, of_fields

TOO_YOUNG = "signed up within the year"
ORDERED = "ordered within the year"
OPEN_ORDER = "has an open order"
SAVED_MEANWHILE = "saved while the cleanup ran"
HELD = "held by hand"
ANONYMISED = "anonymised already"
# What becomes of who is inactive, and how it is said.
POLICIES = {"delete": "deleted", "archive": "archived", "anonymise": "anonymised"}

_FIELDS = ("name", "email", "phone")
_TAKEN = Problem(Code.TAKEN, "A customer with this e-mail address exists.", ("email",))

# A share says nothing about a handful: one inactive customer of one is 100 %.
_SHARE_COUNTS_FROM = 50


class CleanupRefused(Exception):
    """More customers would go than one cleanup may take; none did."""


@dataclass(frozen=True)
class Cleanup:
    """What a cleanup did: `examined` is `deleted` plus everything in `skipped`.

    In a dry run `deleted` counts those that would have gone. What *policy* makes of them is counted there as well:
    archived or anonymised.
    """

    examined: int
    deleted: int
    skipped: dict[str, int] = field(default_factory=dict)
    dry_run: bool = False
    cut_at: datetime | None = None
    policy: str = "delete"

    @property
    def verb(self) -> str:
        """What became of them, as a line says it."""
        return POLICIES[self.policy].capitalize()


def create(values: Mapping[str, Any], *, now: datetime) -> Customer:
    """Make a customer of *values*: name, email, phone.

    Raises: Refused.
    """
    return create_many([values], now=now)[0].made()


def create_many(
    items: Sequence[Mapping[str, Any]], *, now: datetime, all_or_nothing: bool = False
) -> list[Result[Customer]]:
    """Make a customer of each of *items*; give what became of each, in their order.

    Of items with one address the first is made.

    Raises: Refused for more than bulk.MOST.
    Cost: one transaction of two statements; another pair where someone took an address in between.
    """
    bulk.check_number(items)
    results = []
    for values in items:
        given: dict[str, Any] = {each: values.get(each) for each in _FIELDS}
        customer = Customer(**given | {"phone": given["phone"] or ""}, created_at=now)
        results.append(Result(customer, of_fields(customer, _FIELDS)))
    _refuse_repeated(results)
    while True:
        _refuse_taken(results)
        try:
            with transaction.atomic():
                bulk.write(results, Customer.objects.bulk_create, all_or_nothing=all_or_nothing)
        except IntegrityError:
            # Someone took an address after the look; whose it was is found now, else it was another rule.
            if not _refuse_taken(results):
                raise
        else:
            return results


def update(customer_id: int, changes: Mapping[str, Any]) -> Customer:
    """Change what *changes* names, and nothing else.

    Raises: Refused.
    """
    with transaction.atomic():
        customer = Customer.objects.select_for_update().filter(pk=customer_id).first()
        if customer is None:
            raise Refused([Problem(Code.NOT_FOUND, "There is no such customer.", ("id",))])
        for name, value in changes.items():
            setattr(customer, name, "" if name == "phone" and value is None else value)
        if problems := of_fields(customer, changes):
            raise Refused(problems)
        try:
            with transaction.atomic():
                customer.save(update_fields=list(changes))
        except IntegrityError as error:
            if _taken([customer.email], but=[customer_id]):
                raise Refused([_TAKEN]) from error
            raise
    return customer


def delete_inactive(
    *,
    now: datetime,
    dry_run: bool = False,
    force: bool = False,
    key: str = "",
    batch_size: int = 500,
    on_progress: Callable[[int, int], None] | None = None,
) -> Cleanup:
    """Delete the customers without an order in the calendar year before *now*, with their closed orders.

    With CRM_CLEANUP_POLICY="archive" they and their orders go to a file, and can come back; with "anonymise" they stay
    without name, address and phone number, and their orders stay.
    Kept are customers who signed up within that year, ordered within it, have an open order of any age, or are held.
    An order or a sign-up exactly at the cut counts as within the year.

    Args: *key* names the run in the tombstones; *force* lifts the cap; *on_progress* is called with
        (candidates done, candidates) before the first batch and after each.
    Raises: CleanupRefused when more would go than CRM_CLEANUP_MAX_SHARE or CRM_CLEANUP_MAX_COUNT allow;
        a dry run raises it as well.
    Cost: two reads, then one short transaction of a constant number of statements per batch.
    """
    cut_at, policy = a_year_before(now, ZoneInfo(settings.TIME_ZONE)), settings.CRM_CLEANUP_POLICY
    candidates = list(inactive(cut_at, now).values_list("pk", flat=True))
    skipped = _kept_by_reason(cut_at, now)
    examined = len(candidates) + sum(skipped.values())
    if not force:
        _refuse_too_many(len(candidates), examined)
    if dry_run:
        return Cleanup(examined, len(candidates), skipped, dry_run=True, cut_at=cut_at, policy=policy)

    report = on_progress or (lambda done, of: None)
    report(0, len(candidates))
    leaving = _Leaving(cut_at, now, key, anonymise=policy == "anonymise")
    batches = [candidates[start : start + batch_size] for start in range(0, len(candidates), batch_size)]
    if policy == "archive":
        archived = _archive(leaving, batches, batch_size, report, len(candidates))
        deleted = archived.moved
        skipped |= archived.skipped
    else:
        deleted = 0
        for number, batch in enumerate(batches):
            deleted += leaving.take(batch)
            report(number * batch_size + len(batch), len(candidates))
    if saved := examined - deleted - sum(skipped.values()):
        skipped[SAVED_MEANWHILE] = skipped.get(SAVED_MEANWHILE, 0) + saved
    return Cleanup(examined, deleted, skipped, cut_at=cut_at, policy=policy)


def inactive(cut_at: datetime, now: datetime | None = None) -> models.QuerySet[Customer]:
    """Select the customers who signed up before *cut_at* and have no order since, nor an open one; *now*, default
    *cut_at*, is when nobody may hold them any more.
    """
    rows = Customer.objects.filter(~Exists(_orders_since(cut_at)), ~Exists(_open_orders()), created_at__lt=cut_at)
    is_free = Q(kept_until=None) | Q(kept_until__lte=now or cut_at)
    return rows.filter(is_free, anonymised_at=None).order_by("pk")


def a_year_before(moment: datetime, zone: ZoneInfo) -> datetime:
    """Give the same date and wall clock time one calendar year earlier in *zone*, as UTC.

    Where that does not exist or exists twice the earlier reading is taken, as it keeps more customers:
    29 February becomes 28 February, and an hour that a clock change repeats is read as its first.
    """
    local = moment.astimezone(zone)
    day = 28 if (local.month, local.day) == (2, 29) else local.day
    return local.replace(year=local.year - 1, day=day, fold=0).astimezone(UTC)


def deleted_under(key: str) -> int:
    """Count the customers whom the run *key* deleted, in all of its attempts."""
    return CustomerTombstone.objects.filter(run_key=key).count()


def _refuse_repeated(results: Sequence[Result[Customer]]) -> None:
    seen: dict[str, int] = {}
    for index, result in enumerate(results):
        if result.row is not None and not result.problems:
            first = seen.setdefault(result.row.email.lower(), index)
            if first != index:
                message = f"This e-mail address is already that of item {first} of this request."
                result.problems = [Problem(Code.TAKEN, message, ("email",))]


def _refuse_taken(results: Sequence[Result[Customer]]) -> bool:
    """Mark those whose address a customer has; say whether there were any."""
    good = {result.row.email.lower(): result for result in results if result.row is not None and not result.problems}
    taken = _taken(list(good))
    for email in taken:
        good[email].problems = [_TAKEN]
    return bool(taken)


def _taken(emails: list[str], *, but: Sequence[int] = ()) -> set[str]:
    """Give those of *emails*, in small letters, that customers have, whatever the case of their letters."""
    lower = {email.lower() for email in emails}
    rows = Customer.objects.order_by().exclude(pk__in=but).annotate(_lower=Lower("email")).filter(_lower__in=lower)
    return lower.intersection(rows.values_list("_lower", flat=True))


def _orders_since(cut_at: datetime) -> models.QuerySet[Order]:
    return Order.objects.filter(customer=OuterRef("pk"), ordered_at__gte=cut_at).order_by()


def _open_orders() -> models.QuerySet[Order]:
    return Order.objects.filter(customer=OuterRef("pk"), status__in=Order.OPEN).order_by()


def _kept_by_reason(cut_at: datetime, now: datetime) -> dict[str, int]:
    """Count the customers who stay, each under the first reason that keeps him."""
    reason = Case(
        When(created_at__gte=cut_at, then=Value(TOO_YOUNG)),
        When(Exists(_orders_since(cut_at)), then=Value(ORDERED)),
        When(Exists(_open_orders()), then=Value(OPEN_ORDER)),
        When(kept_until__gt=now, then=Value(HELD)),
        When(anonymised_at__isnull=False, then=Value(ANONYMISED)),
        output_field=models.CharField(),
    )
    rows = Customer.objects.order_by().annotate(reason=reason).filter(reason__isnull=False)
    counts = dict(rows.values_list("reason").annotate(Count("pk")))
    return {name: counts[name] for name in (TOO_YOUNG, ORDERED, OPEN_ORDER, HELD, ANONYMISED) if name in counts}


def _refuse_too_many(count: int, examined: int) -> None:
    share, most = settings.CRM_CLEANUP_MAX_SHARE, settings.CRM_CLEANUP_MAX_COUNT
    if count > most:
        limit = f"{most} (CRM_CLEANUP_MAX_COUNT)"
    elif count >= _SHARE_COUNTS_FROM and count > examined * share:
        limit = f"{share:.0%} of them (CRM_CLEANUP_MAX_SHARE)"
    else:
        return
    raise CleanupRefused(
        f"{count} of {examined} customers would be deleted, but one cleanup may delete at most {limit}. "
        "Nothing was deleted. Check for lost orders or a wrong clock; if this is meant, run "
        "manage.py clean_inactive_customers --force"
    )


@dataclass(frozen=True)
class _Leaving:
    """How the customers of one cleanup go."""

    cut_at: datetime
    now: datetime
    key: str
    anonymise: bool = False

    def still_inactive(self, batch: Sequence[int]) -> models.QuerySet[Customer]:
        """Lock the customers of *batch* and their orders; select those who are inactive all the same."""
        # Lock first, ask again after: PostgreSQL decides a locking SELECT's subqueries by what was committed
        # when it began, so an order committed while it waited for the lock would not be seen by it.
        _lock(Customer.objects.filter(pk__in=batch))
        _lock(Order.objects.filter(customer__in=batch))
        return inactive(self.cut_at, self.now).filter(pk__in=batch)

    def take(self, batch: list[int]) -> int:
        """Delete or anonymise those of *batch* who are still inactive, in one transaction; give their number."""
        with transaction.atomic():
            still = self.still_inactive(batch).annotate(order_count=Count("orders"))
            gone = list(still.values_list("pk", "email", "order_count"))
            ids = [pk for pk, _, _ in gone]
            if self.anonymise:
                self._write([(pk, email, 0) for pk, email, _ in gone], "anonymised")
                _anonymise(ids, now=self.now)
                return len(ids)
            self._write(gone, "deleted")
            Customers.delete_rows(ids)
        return len(ids)

    def _write(self, gone: list[tuple[int, str, int]], became: str) -> None:
        tombstones.write(gone, became=became, now=self.now, key=self.key)


@dataclass(frozen=True)
class _Archiving(Customers):
    """Customers on their way to a file: each is asked again, under lock, and leaves a tombstone that names it."""

    leaving: _Leaving | None = None

    def keeping(self, rows: Sequence[Any]) -> dict[int, str]:
        assert self.leaving is not None
        ids = [row.pk for row in rows]
        still = set(self.leaving.still_inactive(ids).values_list("pk", flat=True))
        return referred(rows, Customer, leaving=(Order, CustomerScore)) | {
            pk: SAVED_MEANWHILE for pk in ids if pk not in still
        }

    def delete(self, ids: list[int], archive: str = "") -> None:
        assert self.leaving is not None
        rows = Customer.objects.filter(pk__in=ids).annotate(order_count=Count("orders")).order_by("pk")
        gone = list(rows.values_list("pk", "email", "order_count"))
        tombstones.write(gone, became="archived", now=self.leaving.now, key=self.leaving.key, archive=archive)
        super().delete(ids, archive)

    def of(self, batches: Sequence[Sequence[int]]) -> Iterator[dict[str, Any]]:
        """Give the records of *batches* as they are now; who is gone has none."""
        for batch in batches:
            yield from self.records(list(Customer.objects.filter(pk__in=batch).order_by("pk")))


def _archive(
    leaving: _Leaving,
    batches: Sequence[Sequence[int]],
    batch_size: int,
    report: Callable[[int, int], None],
    candidates: int,
) -> Archived:
    """Copy the customers of *batches* to files, and then delete them; what a killed attempt began is ended first.

    Raises: ArchiveRefused.
    """
    table = _Archiving("customers", "", "created_at", Customer, leaving)
    day = f"{leaving.now.astimezone(ZoneInfo(settings.TIME_ZONE)):%Y-%m-%d}"
    moving = Moving(
        leaving.now,
        run=run_number(),
        key=leaving.key,
        batch_size=batch_size,
        on_progress=lambda done, _: report(done, candidates),
    )
    done = Archived(table.name)
    with files.locked(table.name):
        finish(table, moving, done)
        records = table.of(batches)
        while (first := next(records, None)) is not None:
            part = chain([first], islice(records, MOST_RECORDS - 1))
            delete(table, copy(table, day, (leaving.cut_at, leaving.now), part, moving), moving, done)
    return done


def _anonymise(ids: list[int], *, now: datetime) -> None:
    number = Cast("pk", CharField())
    Customer.objects.filter(pk__in=ids).update(
        name=Concat(Value("Anonymised customer "), number),
        # .invalid is nobody's, for good (RFC 2606).
        email=Concat(Value("anonymised-"), number, Value("@customers.invalid")),
        phone="",
        anonymised_at=now,
    )


def _lock(rows: models.QuerySet[Customer] | models.QuerySet[Order]) -> None:
    """Hold *rows* until the transaction ends, in one order for all (SQLite holds the whole database already)."""
    if not connection.features.has_select_for_update:
        return
    list(rows.select_for_update().order_by("pk").values_list("pk", flat=True))
