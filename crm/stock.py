"""Rules about stock. Each change leaves a movement that says by how much, why, and what there was after it."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db import IntegrityError, connection, transaction
from django.db.models import F, QuerySet, Sum

from crm.models import Product, Restock, StockMovement
from crm.problems import Code, Problem, Refused, is_writable
from crm.webhooks import events

LOW = 10
RAISED_BY = 10
LONGEST_KEY = 200

_NOTE_LOW = """
    INSERT INTO crm_stockmovement (product_id, delta, reason, "key", stock_after, created_at)
    SELECT id, %s, %s, %s, stock + %s, %s FROM crm_product WHERE stock < %s ORDER BY id
"""


@dataclass(frozen=True)
class Restocked:
    """What a restock did: the products it raised, with the stock that each had after it.

    *replayed*: it was done earlier under the same key, and nothing was written now.
    """

    products: list[Product]
    replayed: bool = False


def low() -> QuerySet[Product]:
    """Select the products whose stock is low, in order of id."""
    return Product.objects.filter(stock__lt=LOW).order_by("pk")


def update_low_stock(*, key: str = "", now: datetime) -> Restocked:
    """Raise every stock below LOW by RAISED_BY, once for each *key*; without a key, at each call.

    A call that repeats a key gets what the first one did, also where both come at once. Sales at the same
    time are neither lost nor overlooked.

    Raises: Refused for a key that is too long or has control characters.
    Cost: one transaction of a constant number of statements for any number of products; more where webhooks tell of it.
    """
    if len(key) > LONGEST_KEY or not is_writable(key):
        wanted = f"Give at most {LONGEST_KEY} characters, and no control characters."
        raise Refused([Problem(Code.INVALID, f"The key has {len(key)} characters. {wanted}", ("key",))])
    key = key or f"restock-{uuid.uuid4()}"
    with transaction.atomic():
        try:
            # The unique key decides: of two at once the second waits here until the first has committed.
            with transaction.atomic():
                restock = Restock.objects.create(key=key, created_at=now)
        except IntegrityError:
            if not Restock.objects.filter(key=key).exists():
                raise
            return Restocked(_raised_under(key), replayed=True)
        _note_low(key, now)
        moved = StockMovement.objects.filter(key=key, reason=StockMovement.Reason.RESTOCK).order_by()
        Product.objects.filter(pk__in=moved.values("product")).update(stock=F("stock") + RAISED_BY)
        products = _raised_under(key)
        raised = (_movement(product, key, now) for product in products)
        events.stock_moved(raised, low=LOW, now=now)
        Restock.objects.filter(pk=restock.pk).update(count=len(products))
    return Restocked(products)


def locked(product_ids: Iterable[int]) -> dict[int, Product]:
    """Hold the products until the transaction ends, in one order for all; give those that exist, by id."""
    rows = Product.objects.select_for_update().filter(pk__in=set(product_ids)).order_by("pk")
    return {product.pk: product for product in rows}


def move(changes: Iterable[tuple[Product, int, str]], reason: StockMovement.Reason, *, now: datetime) -> None:
    """Change stocks, one after the other: each change is a product, by how much, and the key it happens once for.

    The caller has the products from locked() in this transaction, or has just made them.

    Raises: IntegrityError where a stock would end below zero, or the same was moved under its key before.
    Cost: three statements for up to a hundred changes; more where webhooks tell of it.
    """
    moved: dict[int, Product] = {}
    movements = []
    for product, delta, key in changes:
        if delta:
            product.stock += delta
            moved[product.pk] = product
            values = {"delta": delta, "reason": reason, "key": key, "stock_after": product.stock}
            movements.append(StockMovement(product=product, created_at=now, **values))
    if movements:
        Product.objects.bulk_update(moved.values(), ["stock"])
        StockMovement.objects.bulk_create(movements)
        events.stock_moved(movements, low=LOW, now=now)


def taken_under(key: str) -> dict[int, int]:
    """Give how many of each product are gone under *key*, by the product's id: what a return puts back."""
    movements = StockMovement.objects.filter(key=key).order_by()
    deltas = movements.values_list("product").annotate(delta=Sum("delta"))
    return {product: -delta for product, delta in deltas if delta < 0}


def _note_low(key: str, now: datetime) -> None:
    """Write the movements of all products whose stock is low, and hold those products.

    By hand: Django has no INSERT … SELECT, and reading first would cost a statement per thousand products.
    PostgreSQL asks again what the stock is once it has a row's lock, so what a sale took meanwhile counts.
    """
    lock = "FOR UPDATE" if connection.features.has_select_for_update else ""
    created_at = connection.ops.adapt_datetimefield_value(now)
    values = (RAISED_BY, StockMovement.Reason.RESTOCK.value, key, RAISED_BY, created_at, LOW)
    with connection.cursor() as cursor:
        cursor.execute(f"{_NOTE_LOW} {lock}", values)


def _movement(product: Product, key: str, now: datetime) -> StockMovement:
    values = {"delta": RAISED_BY, "reason": StockMovement.Reason.RESTOCK, "key": key, "stock_after": product.stock}
    return StockMovement(product=product, created_at=now, **values)


def _raised_under(key: str) -> list[Product]:
    """Give the products of a restock as they were after it, whatever was sold since."""
    moved = StockMovement.objects.filter(key=key, reason=StockMovement.Reason.RESTOCK)
    products = []
    for movement in moved.select_related("product").order_by("product_id"):
        movement.product.stock = movement.stock_after
        products.append(movement.product)
    return products
