"""Rules about customers. The only one that destroys something is guarded three times:
re-checked under lock, capped, and leaving a tombstone.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import IntegrityError, models, transaction
from django.db.models import Case, Count, Exists, OuterRef, Value, When
from django.db.models.functions import Lower
from django.utils.crypto import salted_hmac

from crm import bulk
from crm.bulk import Result
from crm.models import Customer, CustomerTombstone, Order, OrderItem
from crm.problems import Code, Problem, Refused, of_fields

TOO_YOUNG = "signed up within the year"
ORDERED = "ordered within the year"
OPEN_ORDER = "has an open order"
SAVED_MEANWHILE = "saved while the cleanup ran"

_FIELDS = ("name", "email", "phone")
_TAKEN = Problem(Code.TAKEN, "A customer with this e-mail address exists.", ("email",))

# A share says nothing about a handful: one inactive customer of one is 100 %.
_SHARE_COUNTS_FROM = 50


class CleanupRefused(Exception):
    """More customers would go than one cleanup may take; nothing was deleted."""


@dataclass(frozen=True)
class Cleanup:
    """What a cleanup did: `examined` is `deleted` plus everything in `skipped`.

    In a dry run `deleted` counts those that would have gone.
    """

    examined: int
    deleted: int
    skipped: dict[str, int] = field(default_factory=dict)
    dry_run: bool = False
    cut_at: datetime | None = None


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

    Kept are customers who signed up within that year, ordered within it, or have an open order of any age.
    An order or a sign-up exactly at the cut counts as within the year.

    Args: *key* names the run in the tombstones; *force* lifts the cap; *on_progress* is called with
        (candidates done, candidates) before the first batch and after each.
    Raises: CleanupRefused when more would go than CRM_CLEANUP_MAX_SHARE or CRM_CLEANUP_MAX_COUNT allow;
        a dry run raises it as well.
    Cost: two reads, then one short transaction of a constant number of statements per batch.
    """
    cut_at = a_year_before(now, ZoneInfo(settings.TIME_ZONE))
    candidates = list(inactive(cut_at).values_list("pk", flat=True))
    skipped = _kept_by_reason(cut_at)
    examined = len(candidates) + sum(skipped.values())
    if not force:
        _refuse_too_many(len(candidates), examined)
    if dry_run:
        return Cleanup(examined, len(candidates), skipped, dry_run=True, cut_at=cut_at)

    report = on_progress or (lambda done, of: None)
    report(0, len(candidates))
    deleted = 0
    for start in range(0, len(candidates), batch_size):
        batch = candidates[start : start + batch_size]
        deleted += _delete_batch(batch, cut_at=cut_at, now=now, key=key)
        report(start + len(batch), len(candidates))
    if saved := len(candidates) - deleted:
        skipped[SAVED_MEANWHILE] = saved
    return Cleanup(examined, deleted, skipped, cut_at=cut_at)


def inactive(cut_at: datetime) -> models.QuerySet[Customer]:
    """Select the customers who signed up before *cut_at* and have no order since, nor an open one."""
    return Customer.objects.filter(
        ~Exists(_orders_since(cut_at)), ~Exists(_open_orders()), created_at__lt=cut_at
    ).order_by("pk")


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


def tombstones_of(id_or_email: str) -> models.QuerySet[CustomerTombstone]:
    """Select the tombstones of the customer with this id or e-mail address, under old secret keys as well."""
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    hashes = [_hash(id_or_email, secret=key) for key in keys]
    column = "email_hash" if "@" in id_or_email else "id_hash"
    return CustomerTombstone.objects.filter(**{f"{column}__in": hashes})


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


def _kept_by_reason(cut_at: datetime) -> dict[str, int]:
    """Count the customers who stay, each under the first reason that keeps him."""
    reason = Case(
        When(created_at__gte=cut_at, then=Value(TOO_YOUNG)),
        When(Exists(_orders_since(cut_at)), then=Value(ORDERED)),
        When(Exists(_open_orders()), then=Value(OPEN_ORDER)),
        output_field=models.CharField(),
    )
    rows = Customer.objects.order_by().annotate(reason=reason).filter(reason__isnull=False)
    counts = dict(rows.values_list("reason").annotate(Count("pk")))
    return {name: counts[name] for name in (TOO_YOUNG, ORDERED, OPEN_ORDER) if name in counts}


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


def _delete_batch(batch: list[int], *, cut_at: datetime, now: datetime, key: str) -> int:
    """Delete those of *batch* that are still inactive, in one transaction; give their number."""
    with transaction.atomic():
        # Lock first, ask again after: PostgreSQL decides a locking SELECT's subqueries by what was committed
        # when it began, so an order committed while it waited for the lock would not be seen by it.
        _lock(Customer.objects.filter(pk__in=batch))
        orders = Order.objects.filter(customer__in=batch)
        _lock(orders)
        still = inactive(cut_at).filter(pk__in=batch).annotate(order_count=Count("orders"))
        gone = list(still.values_list("pk", "email", "order_count"))
        ids = [pk for pk, _, _ in gone]
        OrderItem.objects.filter(order__customer__in=ids).delete()
        orders.filter(customer__in=ids).delete()
        CustomerTombstone.objects.bulk_create(_tombstones(gone, now=now, key=key))
        Customer.objects.filter(pk__in=ids).delete()
    return len(ids)


def _lock(rows: models.QuerySet[Customer] | models.QuerySet[Order]) -> None:
    """Hold *rows* until the transaction ends, in one order for all (SQLite holds the whole database)."""
    list(rows.select_for_update().order_by("pk").values_list("pk", flat=True))


def _tombstones(gone: Iterable[tuple[int, str, int]], *, now: datetime, key: str) -> list[CustomerTombstone]:
    return [
        CustomerTombstone(
            id_hash=_hash(str(pk)),
            email_hash=_hash(email),
            reason="no order within a year",
            orders=order_count,
            run_key=key,
            deleted_at=now,
        )
        for pk, email, order_count in gone
    ]


def _hash(id_or_email: str, *, secret: str | bytes | None = None) -> str:
    # Keyed: e-mail addresses can be guessed, so a plain hash of one can be turned back.
    value = id_or_email.strip().lower()
    return salted_hmac("crm.customer_tombstone", value, secret=secret, algorithm="sha256").hexdigest()
