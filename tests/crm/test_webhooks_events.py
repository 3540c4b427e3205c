"""What is told of orders and stock: written where it happens, with it or not at all."""

import json
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from crm import orders, stock
from crm.graph.ids import number_of
from crm.models import Order, OrderItem, Product, StockMovement
from crm.orders import Line, Wish
from crm.problems import Refused
from crm.webhooks import endpoints, events
from crm.webhooks.models import WebhookDelivery, WebhookEvent

from .conftest import NOW

ALL = list(events.TYPES)


def endpoint(*types, customer="shop", url="https://hooks.example.com/in"):
    values = {"customer": customer, "url": url, "contact": "ops@example.com", "events": types or ALL}
    return endpoints.create(values, now=NOW)[0]


@pytest.fixture
def lamp(db):
    return Product.objects.create(name="Lamp", price=Decimal("10.50"), stock=11)


def told():
    return [json.loads(events.payload(event)) for event in WebhookEvent.objects.order_by("pk")]


def test_order_and_what_it_takes_are_told_with_ids_that_graphql_takes(lamp, make_customer):
    """The customer is an id: who may know more asks for it."""
    endpoint()
    customer = make_customer(name="Ada", email="ada@example.com")

    order = orders.create(Wish(customer.pk, [Line(lamp.pk, 2)]), now=NOW)

    changed, low, created = told()
    assert created["type"] == "order.created"
    assert created["timestamp"] == "2026-11-22T02:00:00Z"
    product = {"id": created["data"]["items"][0]["product"]["id"], "pk": lamp.pk}
    assert created["data"] == {
        "id": created["data"]["id"],
        "pk": order.pk,
        "status": "PENDING",
        "customer": {"id": created["data"]["customer"]["id"], "pk": customer.pk},
        "total": "21.00",
        "orderedAt": "2026-11-22T02:00:00Z",
        "itemCount": 1,
        "items": [{"product": product, "quantity": 2, "unitPrice": "10.50"}],
        "sequence": WebhookEvent.objects.get(type="order.created").pk,
    }
    sequence = changed["data"].pop("sequence")
    assert changed == {
        "type": "stock.changed",
        "timestamp": "2026-11-22T02:00:00Z",
        "data": {**product, "name": "Lamp", "stock": 9, "change": -2, "reason": "SALE"},
    }
    assert low["data"] == {**product, "name": "Lamp", "stock": 9, "threshold": 10, "sequence": sequence + 1}
    assert "ada@example.com" not in json.dumps(told())
    for name, row in (("Order", created["data"]), ("Product", product), ("Customer", created["data"]["customer"])):
        assert number_of(row["id"], name) == row["pk"]


def test_steps_of_an_order_are_told_in_order_and_only_steps(lamp, make_customer):
    endpoint("order.status_changed")
    order = orders.create(Wish(make_customer().pk, [Line(lamp.pk, 1)]), now=NOW)

    for status in ("paid", "paid", "cancelled"):
        orders.update(order.pk, status, now=NOW + timedelta(minutes=1))

    steps = [each["data"] for each in told()]
    assert [(each["previousStatus"], each["status"]) for each in steps] == [("PENDING", "PAID"), ("PAID", "CANCELLED")]
    assert steps[0]["sequence"] < steps[1]["sequence"]
    assert "items" not in steps[0]


def test_what_is_rolled_back_is_not_told(lamp, make_customer):
    endpoint()
    customer = make_customer()

    with pytest.raises(Refused):
        orders.create(Wish(customer.pk, [Line(lamp.pk, 99)]), now=NOW)
    with transaction.atomic():
        orders.create(Wish(customer.pk, [Line(lamp.pk, 1)]), now=NOW)
        transaction.set_rollback(True)

    assert told() == []
    assert not WebhookDelivery.objects.exists()


def test_each_endpoint_gets_what_it_asks_for_and_a_disabled_one_nothing(lamp, make_customer):
    made, low = endpoint("order.created"), endpoint("order.created", "stock.low", customer="other")
    endpoints.disable(endpoint(customer="gone").pk, "by hand", now=NOW)

    orders.create(Wish(make_customer().pk, [Line(lamp.pk, 2)]), now=NOW)

    rows = WebhookDelivery.objects.order_by("pk").values_list("event__type", "endpoint", "state", "next_try_at")
    assert list(rows) == [
        ("stock.low", low.pk, "waiting", NOW),
        ("order.created", made.pk, "waiting", NOW),
        ("order.created", low.pk, "waiting", NOW),
    ]


def test_without_an_endpoint_nothing_is_written_and_one_statement_asked(lamp, make_customer):
    customer = make_customer()

    with CaptureQueriesContext(connection) as captured:
        orders.create(Wish(customer.pk, [Line(lamp.pk, 1)]), now=NOW)

    assert len([each for each in captured.captured_queries if "webhook" in each["sql"]]) == 2  # stock and order
    assert not WebhookEvent.objects.exists()


def test_stock_is_low_once_not_with_each_sale_below(lamp, make_customer):
    endpoint("stock.low")
    customer = make_customer()

    for _ in range(3):
        orders.create(Wish(customer.pk, [Line(lamp.pk, 1)]), now=NOW)

    assert [each["data"]["stock"] for each in told()] == [9]


def test_restock_tells_of_each_product_once_however_often_it_is_asked_for(lamp):
    endpoint("stock.changed")
    low = Product.objects.create(name="Tray", price=1, stock=3)

    for _ in range(2):
        stock.update_low_stock(key="run-1", now=NOW)

    assert [(each["data"]["pk"], each["data"]["stock"], each["data"]["change"]) for each in told()] == [
        (low.pk, 13, 10)
    ]
    assert told()[0]["data"]["reason"] == "RESTOCK"


def test_largest_payload_has_less_than_20_kb(lamp, make_customer):
    """Also of an order that was typed in by hand, with more items than the API takes, of the longest names."""
    order = Order(pk=2**63 - 1, customer_id=2**63 - 1, ordered_at=NOW, total=Decimal("999999999999.99"))
    item = OrderItem(product_id=2**63 - 1, quantity=2**31 - 1, unit_price=Decimal("9999999999.99"))
    product = Product(pk=2**63 - 1, name="😀" * 200)
    movement = StockMovement(product=product, delta=-(2**31), stock_after=0, reason="correction", created_at=NOW)
    endpoint()

    events.orders_created([(order, [item] * 5_000)], now=NOW)
    events.stock_moved([movement], low=10, now=NOW)

    sizes = [len(events.payload(event)) for event in WebhookEvent.objects.all()]
    assert len(sizes) == 3
    assert max(sizes) < events.MOST_BYTES


def test_payload_is_the_same_byte_for_byte(lamp):
    endpoint("stock.changed")
    stock.move([(lamp, 1, "")], StockMovement.Reason.CORRECTION, now=NOW)

    first, second = WebhookEvent.objects.get(), WebhookEvent.objects.get()

    assert events.payload(first) == events.payload(second)


@pytest.mark.parametrize(
    ("changes", "problems"),
    [
        ({"events": []}, [(("events",), "REQUIRED")]),
        ({"events": ["order.made"]}, [(("events",), "INVALID")]),
        ({"customer": " "}, [(("customer",), "REQUIRED")]),
        ({"customer": "a\x1b[31m"}, [(("customer",), "INVALID")]),
        ({"contact": "nobody"}, [(("contact",), "INVALID")]),
        ({"url": "https://127.0.0.1/"}, [(("url",), "INVALID")]),
        ({"url": "https://[::ffff:10.0.0.1]/"}, [(("url",), "INVALID")]),
        ({"url": "http://a.test:8000/"}, [(("url",), "INVALID")]),
        ({"url": ""}, [(("url",), "REQUIRED")]),
        ({}, [(("url",), "TAKEN")]),
    ],
)
def test_endpoint_that_cannot_be_is_refused(db, changes, problems):
    endpoint()
    values = {"customer": "shop", "url": "https://hooks.example.com/in", "contact": "ops@example.com", "events": ALL}

    with pytest.raises(Refused) as refused:
        endpoints.create(values | changes, now=NOW)

    assert [(each.path, each.code) for each in refused.value.problems] == problems
