"""What can be archived: which rows of a table are of age, what keeps one, and how one becomes a record and a row again.

A record is all that leaves together: an order with its items.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db.models import ForeignObjectRel, Model, Q, QuerySet

from crm import bulk, tombstones
from crm.archives.files import ArchiveRefused
from crm.archives.models import Archive
from crm.models import Customer, CustomerScore, Order, OrderItem, Product, StockMovement

OPEN_ORDER = "the order is open"
UNCONFIRMED = "its confirmation is not settled"
_ORDER_KEY = re.compile(r"order-([0-9]{1,18})")


@dataclass(frozen=True)
class Table:
    """Rows that leave by age: *at* names the column that says when a row happened."""

    name: str
    setting: str
    at: str
    model: type[Model]

    @property
    def kept_for(self) -> timedelta | None:
        """How long a row stays; None: for ever."""
        days = getattr(settings, self.setting)
        return timedelta(days=days) if days else None

    def rows(self) -> QuerySet[Any]:
        """Select all rows, the oldest first."""
        return self.model._default_manager.order_by(self.at, "pk")

    def keeping(self, rows: Sequence[Any]) -> dict[int, str]:
        """Say of those of *rows* that must stay, by id, why."""
        raise NotImplementedError

    def records(self, rows: Sequence[Any]) -> list[dict[str, Any]]:
        """Give the record of each of *rows*, in their order."""
        raise NotImplementedError

    def delete(self, ids: list[int], archive: str = "") -> None:
        """Delete the rows, and what leaves with them; *archive* is where they are now."""
        raise NotImplementedError

    def insert(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Write the rows of *records*."""
        raise NotImplementedError

    def missing(self, records: Sequence[Mapping[str, Any]]) -> dict[int, str]:
        """Say of those of *records* that cannot come back, by id, what they need and is gone."""
        raise NotImplementedError

    def id_of(self, record: Mapping[str, Any]) -> int:
        """Give the id of the row that *record* is about."""
        return int(record[self.model._meta.model_name or ""]["id"])

    def restored(self, records: Sequence[Mapping[str, Any]], *, now: datetime) -> None:
        """Do what else is to be done where *records* have come back."""

    def cents(self, record: Mapping[str, Any]) -> int:
        """Give what *record* adds to the revenue, in cents."""
        return 0


class _Orders(Table):
    """Orders that are over, with their items."""

    def keeping(self, rows: Sequence[Any]) -> dict[int, str]:
        found = referred(rows, Order, leaving=(OrderItem,))
        unsettled = (Order.Confirmation.WAITING, Order.Confirmation.SENDING)
        found |= {row.pk: UNCONFIRMED for row in rows if row.confirmation in unsettled}
        return found | {row.pk: OPEN_ORDER for row in rows if row.status in Order.OPEN}

    def records(self, rows: Sequence[Any]) -> list[dict[str, Any]]:
        items: dict[int, list[dict[str, Any]]] = {row.pk: [] for row in rows}
        for item in OrderItem.objects.filter(order__in=items).order_by("pk"):
            items[item.order_id].append(_plain(item))
        return [{"order": _plain(row), "items": items[row.pk]} for row in rows]

    def delete(self, ids: list[int], archive: str = "") -> None:
        bulk.delete(OrderItem.objects.filter(order__in=ids))
        bulk.delete(Order.objects.filter(pk__in=ids), leaving=(OrderItem,))

    def insert(self, records: Sequence[Mapping[str, Any]]) -> None:
        Order.objects.bulk_create(_row(Order, record["order"]) for record in records)
        OrderItem.objects.bulk_create(_row(OrderItem, item) for record in records for item in record["items"])

    def missing(self, records: Sequence[Mapping[str, Any]]) -> dict[int, str]:
        customers = _present(Customer, (record["order"]["customer_id"] for record in records))
        products = _present(Product, (item["product_id"] for record in records for item in record["items"]))
        found = {
            self.id_of(record): "its product is gone"
            for record in records
            if not products.issuperset(item["product_id"] for item in record["items"])
        }
        gone = (record for record in records if record["order"]["customer_id"] not in customers)
        return found | {self.id_of(record): "its customer is gone" for record in gone}

    def cents(self, record: Mapping[str, Any]) -> int:
        return _cents(record["order"])


class Customers(Table):
    """Customers with all their orders. Which of them leave is the cleanup's rule, not their age's."""

    def records(self, rows: Sequence[Any]) -> list[dict[str, Any]]:
        orders: dict[int, list[dict[str, Any]]] = {row.pk: [] for row in rows}
        items: dict[int, list[dict[str, Any]]] = {row.pk: [] for row in rows}
        for order in Order.objects.filter(customer__in=orders).order_by("pk"):
            orders[order.customer_id].append(_plain(order))
        for item in OrderItem.objects.filter(order__customer__in=items).order_by("pk").select_related("order"):
            items[item.order.customer_id].append(_plain(item))
        # But for kept_until: who came back has one, and is the same customer all the same.
        plain = [{name: value for name, value in _plain(row).items() if name != "kept_until"} for row in rows]
        return [
            {"customer": each, "orders": orders[row.pk], "items": items[row.pk]}
            for row, each in zip(rows, plain, strict=True)
        ]

    def delete(self, ids: list[int], archive: str = "") -> None:
        self.delete_rows(ids)

    @staticmethod
    def delete_rows(ids: list[int]) -> None:
        """Delete the customers with their orders, a statement a table."""
        bulk.delete(OrderItem.objects.filter(order__in=Order.objects.filter(customer__in=ids).order_by()))
        bulk.delete(Order.objects.filter(customer__in=ids), leaving=(OrderItem,))
        bulk.delete(CustomerScore.objects.filter(customer__in=ids))
        bulk.delete(Customer.objects.filter(pk__in=ids), leaving=(Order, CustomerScore))

    def insert(self, records: Sequence[Mapping[str, Any]]) -> None:
        Customer.objects.bulk_create(_row(Customer, record["customer"]) for record in records)
        Order.objects.bulk_create(_row(Order, order) for record in records for order in record["orders"])
        OrderItem.objects.bulk_create(_row(OrderItem, item) for record in records for item in record["items"])

    def missing(self, records: Sequence[Mapping[str, Any]]) -> dict[int, str]:
        products = _present(Product, (item["product_id"] for record in records for item in record["items"]))
        return {
            self.id_of(record): "its product is gone"
            for record in records
            if not products.issuperset(item["product_id"] for item in record["items"])
        }

    def restored(self, records: Sequence[Mapping[str, Any]], *, now: datetime) -> None:
        """Hold them back from the next cleanup, which would find them as inactive as the last one did."""
        ids = [self.id_of(record) for record in records]
        Customer.objects.filter(pk__in=ids).update(kept_until=now + HELD)
        tombstones.note_restored(ids, now=now)

    def cents(self, record: Mapping[str, Any]) -> int:
        return sum(_cents(order) for order in record["orders"])


class _Movements(Table):
    """Stock movements, but for those of orders that may still be cancelled: these put back what they took."""

    def keeping(self, rows: Sequence[Any]) -> dict[int, str]:
        orders = {row.pk: int(match[1]) for row in rows if (match := _ORDER_KEY.fullmatch(row.key))}
        still_open = Order.objects.filter(pk__in=set(orders.values()), status__in=Order.OPEN)
        still = set(still_open.values_list("pk", flat=True))
        return {pk: OPEN_ORDER for pk, order in orders.items() if order in still}

    def records(self, rows: Sequence[Any]) -> list[dict[str, Any]]:
        return [{"stockmovement": _plain(row)} for row in rows]

    def delete(self, ids: list[int], archive: str = "") -> None:
        bulk.delete(StockMovement.objects.filter(pk__in=ids))

    def insert(self, records: Sequence[Mapping[str, Any]]) -> None:
        StockMovement.objects.bulk_create(_row(StockMovement, record["stockmovement"]) for record in records)

    def missing(self, records: Sequence[Mapping[str, Any]]) -> dict[int, str]:
        products = _present(Product, (record["stockmovement"]["product_id"] for record in records))
        gone = (record for record in records if record["stockmovement"]["product_id"] not in products)
        return {self.id_of(record): "its product is gone" for record in gone}


ORDERS = _Orders(Archive.Table.ORDERS.value, "CRM_ARCHIVE_ORDERS_DAYS", "ordered_at", Order)
MOVEMENTS = _Movements(Archive.Table.MOVEMENTS.value, "CRM_ARCHIVE_MOVEMENTS_DAYS", "created_at", StockMovement)
# What leaves by its age; customers leave by the rule of their cleanup.
TABLES: dict[str, Table] = {table.name: table for table in (ORDERS, MOVEMENTS)}
RESTORABLE = TABLES | {"customers": Customers(Archive.Table.CUSTOMERS.value, "", "created_at", Customer)}
# For so long what was asked back is left alone.
HELD = timedelta(days=30)


def after(rows: QuerySet[Any], at: str, key: tuple[datetime, int] | None) -> QuerySet[Any]:
    """Narrow *rows*, in order of *at* and id, to those that come after *key*."""
    if key is None:
        return rows
    moment, pk = key
    # The first condition alone can use the index; the second parts rows of one moment.
    return rows.filter(Q(**{f"{at}__gte": moment}), Q(**{f"{at}__gt": moment}) | Q(pk__gt=pk))


def referred(rows: Sequence[Any], of: type[Model], *, leaving: tuple[type[Model], ...]) -> dict[int, str]:
    """Say which of *rows* other tables than *leaving* refer to: deleting one would take that along, or be refused."""
    found: dict[int, str] = {}
    for relation in of._meta.get_fields(include_hidden=True):
        if isinstance(relation, ForeignObjectRel) and relation.related_model not in leaving:
            model, column = relation.related_model, relation.field.attname
            referring = model._default_manager.filter(**{f"{column}__in": [row.pk for row in rows]})
            name = f"{model._meta.verbose_name}: refers to it"
            found |= dict.fromkeys(referring.values_list(column, flat=True), name)
    return found


def _cents(order: Mapping[str, Any]) -> int:
    return 0 if order["status"] == Order.Status.CANCELLED else int(Decimal(order["total"]).scaleb(2))


def _plain(row: Model) -> dict[str, Any]:
    return {each.attname: _json(each.value_from_object(row)) for each in row._meta.concrete_fields}


def _json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()  # to the microsecond: Django's own encoder cuts it
    return str(value) if isinstance(value, Decimal) else value


def _row(model: type[Any], values: Mapping[str, Any]) -> Any:
    """Make a row of *values*; columns that came after the archive have their defaults."""
    known = {each.attname: each for each in model._meta.concrete_fields}
    if unknown := sorted(values.keys() - known.keys()):
        raise ArchiveRefused(
            f"The archive has {', '.join(unknown)} of {model._meta.verbose_name}, and this release's table has no "
            "such column. Nothing was restored from there on. Restore with the release that wrote it."
        )
    return model(**{name: known[name].to_python(value) for name, value in values.items()})


def _present(model: type[Any], ids: Iterable[int]) -> set[int]:
    return set(model._default_manager.filter(pk__in=set(ids)).values_list("pk", flat=True))
