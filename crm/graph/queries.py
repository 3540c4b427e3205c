"""What can be asked."""

from datetime import UTC, datetime
from typing import Annotated, Any

import strawberry
from django.utils import timezone
from strawberry import Info, relay

from crm import models, reports
from crm.graph import filters, ids, peers, types
from crm.graph.errors import ClientError
from crm.graph.imports import ImportQuery
from crm.graph.permissions import require
from crm.imports.models import CustomerImport
from crons.contrib.graphql.schema import CronsQuery

MAX_IDS = 100

# Type → its rows, and what must be held to read them.
_NODES: dict[str, tuple[type[Any], str]] = {
    "Customer": (models.Customer, "customers:read"),
    "Order": (models.Order, "orders:read"),
    "OrderItem": (models.OrderItem, "orders:read"),
    "Product": (models.Product, "products:read"),
    "CustomerImport": (CustomerImport, "imports:read"),
}

Id = Annotated[strawberry.ID, strawberry.argument(description="The id of a node, unchanged.")]
Ids = Annotated[list[strawberry.ID], strawberry.argument(description=f"The ids of nodes, {MAX_IDS} at most.")]
Until = Annotated[datetime | None, strawberry.argument(description="With its offset. Now, if not given.")]


@strawberry.type
class Query(ImportQuery, CronsQuery):
    customers = types.connection(
        "Customer",
        models.Customer,
        (filters.CustomerFilter, filters.CustomerOrder),
        scope="customers:read",
        description="The customers.",
    )
    products = types.connection(
        "Product",
        models.Product,
        (filters.ProductFilter, filters.ProductOrder),
        scope="products:read",
        description="The products.",
    )
    orders = types.connection(
        "Order",
        models.Order,
        (filters.OrderFilter, filters.OrderOrder),
        scope="orders:read",
        description="The orders.",
    )

    @strawberry.field(description="A greeting, for anyone: says that the API answers.")
    def hello(self) -> str:
        return "Hello, GraphQL!"

    @strawberry.field(description="One customer, or null if there is none of this id. Needs customers:read.")
    def customer(self, info: Info, id: Id) -> types.Customer | None:
        return _one(info, "Customer", id)

    @strawberry.field(description="One product, or null if there is none of this id. Needs products:read.")
    def product(self, info: Info, id: Id) -> types.Product | None:
        return _one(info, "Product", id)

    @strawberry.field(description="One order, or null if there is none of this id. Needs orders:read.")
    def order(self, info: Info, id: Id) -> types.Order | None:
        return _one(info, "Order", id)

    @strawberry.field(description="Any node, or null if there is none of this id. Needs its type's scope.")
    def node(self, info: Info, id: Id) -> relay.Node | None:
        return _nodes(info, [id])[0]

    @strawberry.field(description="Nodes in the order of their ids, null where there is none. Needs their scopes.")
    def nodes(self, info: Info, ids: Ids) -> list[relay.Node | None]:
        return _nodes(info, ids)

    @strawberry.field(description="Figures about the whole shop. Needs reports:read.")
    def report_totals(self, info: Info, until: Until = None) -> types.ReportTotals:
        require(info, "reports:read")
        as_of = timezone.now() if until is None else filters.moment(until, "until")
        totals = reports.totals(as_of)
        return types.ReportTotals(
            customers=totals.customers, orders=totals.orders, revenue=totals.revenue, as_of=as_of.astimezone(UTC)
        )


def _one(info: Info, type_name: str, given: strawberry.ID) -> Any:
    model, scope = _NODES[type_name]
    require(info, scope)
    return model.objects.filter(pk=ids.number_of(given, type_name)).first()


def _nodes(info: Info, given: list[strawberry.ID]) -> list[Any]:
    """Give the rows of these ids; one statement for each type among them."""
    if len(given) > MAX_IDS:
        raise ClientError("BAD_USER_INPUT", f"ids has {len(given)} values; at most {MAX_IDS}. Ask in parts.")
    wanted = [ids.parse(each) for each in given]
    found: dict[tuple[str, int], Any] = {}
    for type_name in dict.fromkeys(type_name for type_name, _ in wanted):
        if type_name not in _NODES:
            raise ClientError(
                "BAD_USER_INPUT", f"No node is of type {type_name[:60]!r}. Pass the id of a node unchanged."
            )
        model, scope = _NODES[type_name]
        require(info, scope)
        rows = model.objects.in_bulk([number for name, number in wanted if name == type_name])
        peers.together(list(rows.values()))
        found |= {(type_name, number): row for number, row in rows.items()}
    return [found.get(each) for each in wanted]
