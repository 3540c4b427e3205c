"""What is told: the kinds of events, and the rows that are written where one happens.

The rows are part of the transaction in which it happens: what is rolled back is not told, what is committed is, even
if this process ends a moment later. Nothing is sent from here; the job `deliver_webhooks` does that.
"""

import base64
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from django.db import transaction

from crm.models import Order, OrderItem, Product, StockMovement
from crm.webhooks.models import WebhookDelivery, WebhookEndpoint, WebhookEvent

ORDER_CREATED = "order.created"
ORDER_STATUS_CHANGED = "order.status_changed"
STOCK_CHANGED = "stock.changed"
STOCK_LOW = "stock.low"
TEST = "webhook.test"
# What an endpoint may ask for; a test goes to the endpoint that it is made for.
TYPES = {
    ORDER_CREATED: "an order was made",
    ORDER_STATUS_CHANGED: "an order was paid, shipped, completed or cancelled",
    STOCK_CHANGED: "a product's stock changed, by a sale, a return, a restock or a correction",
    STOCK_LOW: "a product's stock fell below the threshold",
}
MOST_BYTES = 20_000
# Of an order with more, typed in by hand, as many are told; itemCount says how many it has.
MOST_ITEMS = 100
_BATCH = 500


@dataclass(frozen=True)
class Happening:
    """Something to be told: of which type, about which row, and what."""

    type: str
    subject: str
    data: Mapping[str, Any]


def orders_created(made: Iterable[tuple[Order, Sequence[OrderItem]]], *, now: datetime) -> None:
    """Tell of orders and their items."""
    emit((Happening(ORDER_CREATED, f"order-{order.pk}", _order(order, items)) for order, items in made), now=now)


def order_status_changed(order: Order, before: str, *, now: datetime) -> None:
    """Tell that *order* has the status that it has, after it had *before*."""
    data = {**_order(order), "previousStatus": before.upper()}
    emit([Happening(ORDER_STATUS_CHANGED, f"order-{order.pk}", data)], now=now)


def stock_moved(movements: Iterable[StockMovement], *, low: int, now: datetime) -> None:
    """Tell of each movement, and of each product that it brought from *low* or more to less."""
    emit(_of_movements(movements, low), now=now)


def emit(happenings: Iterable[Happening], *, now: datetime) -> None:
    """Write an event for each of *happenings*, and a delivery for each endpoint that asks for it.

    In the caller's transaction, in which the rows that they are about are locked: so an event's number grows with what
    happened to its row. What nobody asks for leaves no row.

    Cost: one statement where nobody asks for any; two more for each 500 events.
    """
    wanted: dict[str, list[int]] = {}
    # Few: those who ask are chosen here, as not every database can look into JSON.
    for pk, types in WebhookEndpoint.objects.filter(disabled_at=None).order_by("pk").values_list("pk", "events"):
        for each in types:
            wanted.setdefault(each, []).append(pk)
    if not wanted:
        return
    asked_for = (each for each in happenings if each.type in wanted)
    with transaction.atomic():
        while some := list(islice(asked_for, _BATCH)):
            _write(some, wanted, now)


def emit_test(endpoint: WebhookEndpoint, *, now: datetime) -> WebhookEvent:
    """Write a test event for this endpoint alone, whatever it asks for."""
    test = Happening(TEST, f"endpoint-{endpoint.pk}", {"text": "This is a test. Nothing has happened."})
    with transaction.atomic():
        [event] = _write([test], {TEST: [endpoint.pk]}, now)
    return event


def payload(event: WebhookEvent) -> str:
    """Give what is posted of *event*: the same text, byte for byte, at each try."""
    said = {
        "type": event.type,
        "timestamp": event.created_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "data": {**event.data, "sequence": event.pk},
    }
    return json.dumps(said, ensure_ascii=True, separators=(",", ":"), sort_keys=True)


def _write(happenings: Sequence[Happening], wanted: Mapping[str, Sequence[int]], now: datetime) -> list[WebhookEvent]:
    events = WebhookEvent.objects.bulk_create(
        WebhookEvent(
            uid=f"msg_{uuid.uuid4().hex}", type=each.type, subject=each.subject, data=each.data, created_at=now
        )
        for each in happenings
    )
    WebhookDelivery.objects.bulk_create(
        (
            WebhookDelivery(event=event, endpoint_id=endpoint, next_try_at=now)
            for event in events
            for endpoint in wanted[event.type]
        ),
        batch_size=1_000,
    )
    return events


def _order(order: Order, items: Sequence[OrderItem] | None = None) -> dict[str, Any]:
    # Of the customer the id alone: who may know more asks for it, with a token that may.
    told: dict[str, Any] = {
        **_named("Order", order.pk),
        "status": order.status.upper(),
        "customer": _named("Customer", order.customer_id),
        "total": f"{order.total:.2f}",
        "orderedAt": order.ordered_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
    }
    if items is not None:
        told["itemCount"] = len(items)
        told["items"] = [
            {
                "product": _named("Product", item.product_id),
                "quantity": item.quantity,
                "unitPrice": f"{item.unit_price:.2f}",
            }
            for item in items[:MOST_ITEMS]
        ]
    return told


def _of_movements(movements: Iterable[StockMovement], low: int) -> Iterator[Happening]:
    for each in movements:
        about = f"product-{each.product_id}"
        data = {
            **_product(each.product),
            "stock": each.stock_after,
            "change": each.delta,
            "reason": each.reason.upper(),
        }
        yield Happening(STOCK_CHANGED, about, data)
        if each.stock_after < low <= each.stock_after - each.delta:
            yield Happening(STOCK_LOW, about, {**_product(each.product), "stock": each.stock_after, "threshold": low})


def _product(product: Product) -> dict[str, Any]:
    return {**_named("Product", product.pk), "name": product.name}


def _named(type_name: str, pk: int) -> dict[str, Any]:
    """Give a row's global id, as GraphQL takes it, and its number, as people say it."""
    return {"id": base64.b64encode(f"{type_name}:{pk}".encode()).decode(), "pk": pk}
