"""Rules about products: what one may be, and that its stock changes by movements only."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import transaction

from crm import bulk, stock
from crm.bulk import Result
from crm.models import Product, StockMovement
from crm.problems import Code, Problem, Refused, of_fields

_FIELDS = ("name", "price", "stock")


def create(values: Mapping[str, Any], *, now: datetime) -> Product:
    """Make a product of *values*: name, price, stock.

    Raises: Refused.
    """
    return create_many([values], now=now)[0].made()


def create_many(
    items: Sequence[Mapping[str, Any]], *, now: datetime, all_or_nothing: bool = False
) -> list[Result[Product]]:
    """Make a product of each of *items*; give what became of each, in their order.

    Raises: Refused for more than bulk.MOST.
    Cost: one transaction of three statements.
    """
    bulk.check_number(items)
    results = []
    for values in items:
        given = {name: values.get(name) for name in _FIELDS}
        product = Product(**given | {"stock": given["stock"] if given["stock"] is not None else 0})
        results.append(Result(product, of_fields(product, _FIELDS)))
    with transaction.atomic():
        bulk.write(results, lambda made: _insert(made, now), all_or_nothing=all_or_nothing)
    return results


def update(product_id: int, changes: Mapping[str, Any], *, now: datetime) -> Product:
    """Change what *changes* names and nothing else; a new stock leaves a movement of the difference.

    Raises: Refused.
    """
    with transaction.atomic():
        product = stock.locked([product_id]).get(product_id)
        if product is None:
            raise Refused([Problem(Code.NOT_FOUND, "There is no such product.", ("id",))])
        before = product.stock
        for name, value in changes.items():
            setattr(product, name, value)
        if problems := of_fields(product, changes):
            raise Refused(problems)
        wanted, product.stock = product.stock, before
        if others := [name for name in changes if name != "stock"]:
            product.save(update_fields=others)
        stock.move([(product, wanted - before, "")], StockMovement.Reason.CORRECTION, now=now)
    return product


def _insert(products: list[Product], now: datetime) -> None:
    counts = [product.stock for product in products]
    for product in products:
        product.stock = 0
    Product.objects.bulk_create(products)
    first = [(product, count, "") for product, count in zip(products, counts, strict=True)]
    stock.move(first, StockMovement.Reason.CORRECTION, now=now)
