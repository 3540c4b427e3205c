"""The types of the API. Every one names its NodeID: without it the id is searched anew for each row.

A field that leads to another type asks for that type's scope: whoever may read orders need not see customers.
"""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, TypeVar

import strawberry
from django.db.models import Model, QuerySet
from strawberry import UNSET, Info, relay
from strawberry.relay.utils import to_base64

from crm import models
from crm.graph import filters, pages, peers
from crm.graph.execution import READ_ID, SHARES_ARGUMENTS
from crm.graph.filters import (
    OrderFilter,
    OrderItemFilter,
    OrderItemOrder,
    OrderOrder,
    OrderStatus,
)
from crm.graph.pages import Asked, Connection
from crm.graph.permissions import require

T = TypeVar("T")
_PK = "The number people see."

First = Annotated[int | None, strawberry.argument(description="How many rows, from the beginning or from *after* on.")]
After = Annotated[str | None, strawberry.argument(description="Only rows after this cursor.")]
Last = Annotated[int | None, strawberry.argument(description="How many rows, from the end or back from *before*.")]
Before = Annotated[str | None, strawberry.argument(description="Only rows before this cursor.")]


def rows_of(model: type[Model], description: str) -> Callable[[type[T]], type[T]]:
    """Declare a type whose values are rows of *model*.

    Its columns are read without a resolver: with strawberry_django's fields a page took a sixth longer.
    """

    def declare(origin: type[T]) -> type[T]:
        def is_type_of(cls: type[T], row: object, info: Any) -> bool:
            return isinstance(row, model)

        name = origin.__name__
        setattr(origin, READ_ID, staticmethod(lambda row: to_base64(name, row.pk)))
        origin.is_type_of = classmethod(is_type_of)  # type: ignore[attr-defined]
        return strawberry.type(origin, description=description)

    return declare


def connection(
    node: str, model: type[Any], inputs: tuple[type, type], *, scope: str, below: str = "", description: str
) -> Any:
    """Declare a list of *node*, of all rows of *model* or of those whose foreign key *below* is the parent.

    Args: *inputs* are its filter and its order; *scope* is what must be held to read it.
    """
    which, order = inputs
    rows: Any = Annotated[node, strawberry.lazy("crm.graph.types")]

    # UNSET, not None: for an argument with a default, strawberry does its work below each parent anew.
    def resolve(
        root: Any,
        info: Info,
        first: First = UNSET,
        after: After = UNSET,
        last: Last = UNSET,
        before: Before = UNSET,
        filters: Any = UNSET,
        ordering: Any = UNSET,
    ) -> Any:
        require(info, scope)
        given: list[Any] = [None if each is UNSET else each for each in (first, after, last, before)]
        asked = Asked(*given)
        if below:
            return pages.nested(root, info, below, lambda: _choose(model, filters, ordering), asked)
        return pages.root(*_choose(model, filters, ordering), asked)

    resolve.__annotations__ |= {
        "filters": Annotated[which | None, strawberry.argument(description="Which rows; all, if not given.")],
        "ordering": Annotated[
            list[order] | None,  # type: ignore[valid-type]
            strawberry.argument(description="Keys to order by, the first weighs most; by pk in the end."),
        ],
        "return": Connection[rows],
    }
    shares = {SHARES_ARGUMENTS: True}
    return strawberry.field(resolver=resolve, description=f"{description} Needs {scope}.", metadata=shares)


def related(node: str, name: str, *, scope: str, description: str) -> Any:
    """Declare the *node* that the foreign key *name* points to; *scope* is what must be held to read it."""

    def resolve(root: Any, info: Info) -> Any:
        require(info, scope)
        return peers.related(root, name)

    resolve.__annotations__["return"] = Annotated[node, strawberry.lazy("crm.graph.types")]
    return strawberry.field(resolver=resolve, description=f"{description} Needs {scope}.")


def _choose(model: type[Any], given: Any, ordering: Any) -> tuple[QuerySet[Any], tuple[str, ...]]:
    return model.objects.filter(filters.condition(given)), filters.order(ordering)


@rows_of(models.CustomerScore, description="How a customer compares with all who ordered within the year: 5 is best.")
class CustomerScore:
    recency: int = strawberry.field(description="The fifth by the last order, from 1; 5 has ordered last.")
    frequency: int = strawberry.field(description="The fifth by the number of orders, from 1.")
    monetary: int = strawberry.field(description="The fifth by what was spent, from 1.")
    last_ordered_at: datetime = strawberry.field(description="When the last of these orders was made.")
    orders: int = strawberry.field(description="How many orders of the year counted; cancelled ones do not.")
    spent: Decimal = strawberry.field(description="The sum of these orders.")
    as_of: datetime = strawberry.field(description="The end of that year; what came since is not counted.")


@rows_of(models.Customer, description="Someone who buys.")
class Customer(relay.Node):
    id: relay.NodeID[int]
    pk: int = strawberry.field(description=_PK)
    name: str = strawberry.field(description="Full name.")
    email: str = strawberry.field(description="E-mail address, unique whatever its case.")
    phone: str = strawberry.field(description="Phone number, or empty.")
    created_at: datetime = strawberry.field(description="When the customer signed up.")

    @strawberry.field(
        description="The newest scores; none for who has not ordered within the year before them. Needs orders:read."
    )
    def score(self, info: Info) -> CustomerScore | None:
        require(info, "orders:read")
        return peers.one_to_one(self, models.CustomerScore, "customer_id")

    orders = connection(
        "Order",
        models.Order,
        (OrderFilter, OrderOrder),
        scope="orders:read",
        below="customer",
        description="What the customer ordered.",
    )


@rows_of(models.Product, description="Something that is sold.")
class Product(relay.Node):
    id: relay.NodeID[int]
    pk: int = strawberry.field(description=_PK)
    name: str = strawberry.field(description="Name.")
    price: Decimal = strawberry.field(description="Price of one.")
    stock: int = strawberry.field(description="How many are there.")
    order_items = connection(
        "OrderItem",
        models.OrderItem,
        (OrderItemFilter, OrderItemOrder),
        scope="orders:read",
        below="product",
        description="Where it was ordered.",
    )


@rows_of(models.Order, description="What a customer ordered at one moment.")
class Order(relay.Node):
    id: relay.NodeID[int]
    pk: int = strawberry.field(description=_PK)
    status: OrderStatus = strawberry.field(description="How far it has come.")
    ordered_at: datetime = strawberry.field(description="When it was made.")
    total: Decimal = strawberry.field(description="The sum of its items.")
    customer = related("Customer", "customer", scope="customers:read", description="Who ordered.")
    items = connection(
        "OrderItem",
        models.OrderItem,
        (OrderItemFilter, OrderItemOrder),
        scope="orders:read",
        below="order",
        description="What was ordered.",
    )


@rows_of(models.OrderItem, description="One product in an order, at the price of that day.")
class OrderItem(relay.Node):
    id: relay.NodeID[int]
    pk: int = strawberry.field(description=_PK)
    quantity: int = strawberry.field(description="How many were ordered.")
    unit_price: Decimal = strawberry.field(description="Price of one on that day.")
    order = related("Order", "order", scope="orders:read", description="The order it is part of.")
    product = related("Product", "product", scope="products:read", description="What was ordered.")


@strawberry.type(description="Figures about the whole shop, of all that happened before a moment.")
class ReportTotals:
    customers: int = strawberry.field(description="Customers who signed up.")
    orders: int = strawberry.field(description="Orders made, cancelled ones included.")
    revenue: Decimal = strawberry.field(description="The sum of all orders that are not cancelled.")
    as_of: datetime = strawberry.field(description="The moment; what happened at it is not counted yet.")
