"""What the database refuses by itself: jobs and imports do not go through forms."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import IntegrityError, transaction

from crm import orders
from crm.models import Customer, Order, OrderItem, Product, Restock, ServiceToken, StockMovement

from .conftest import NOW


def refused(model, **values):
    try:
        with transaction.atomic():
            model.objects.create(**values)
    except IntegrityError:
        return True
    return False


def test_email_is_unique_whatever_its_case(db):
    Customer.objects.create(name="Ada", email="ada@example.com")

    assert refused(Customer, name="Ada", email="ADA@Example.com")
    with pytest.raises(ValidationError, match=r"A customer with this e-mail address exists\."):
        Customer(name="Ada", email="ADA@example.com").full_clean()


@pytest.mark.parametrize("phone", ["+15551234567", "555-123-4567", ""])
def test_phone_number_is_taken(phone):
    Customer(name="Ada", email="ada@example.com", phone=phone).clean_fields()


@pytest.mark.parametrize("phone", ["5551234567", "+1 555", "555-123-45678", "+15551234567\n", "phone", "+123٤567"])
def test_what_is_no_phone_number_is_refused(phone):
    with pytest.raises(ValidationError, match="Enter a phone number as"):
        Customer(name="Ada", email="ada@example.com", phone=phone).clean_fields()


def test_database_refuses_what_no_row_may_hold(make_customer):
    customer = make_customer()
    order = Order.objects.create(customer=customer)
    lamp = Product.objects.create(name="Lamp", price=1, stock=0)
    OrderItem.objects.create(order=order, product=lamp, unit_price=1)

    assert refused(Customer, name="", email="a@example.com")
    assert refused(Customer, name="A", email="")
    assert refused(Product, name="", price=1)
    assert refused(Product, name="Lamp", price=Decimal("-0.01"))
    assert refused(Product, name="Lamp", price=1, stock=-1)
    assert refused(Order, customer=customer, status="lost")
    assert refused(Order, customer=customer, total=-1)
    assert refused(OrderItem, order=order, product=lamp, unit_price=1)  # twice in one order
    assert refused(OrderItem, order=Order.objects.create(customer=customer), product=lamp, unit_price=1, quantity=0)


def test_database_refuses_what_no_movement_may_be(db):
    lamp = Product.objects.create(name="Lamp", price=1, stock=3)
    desk = Product.objects.create(name="Desk", price=1, stock=3)
    values = {"product": lamp, "delta": 10, "reason": "restock", "stock_after": 13, "created_at": NOW}
    StockMovement.objects.create(**values, key="run-1")

    assert refused(StockMovement, **values, key="run-1")
    assert not refused(StockMovement, **values, key="run-2")
    assert not refused(StockMovement, **values | {"product": desk}, key="run-1")
    assert not refused(StockMovement, **values)  # without a key nothing is to happen once
    assert not refused(StockMovement, **values)
    assert refused(StockMovement, **values | {"delta": 0})
    assert refused(StockMovement, **values | {"stock_after": -1})
    assert refused(StockMovement, **values | {"reason": "theft"})


def test_key_restocks_once(db):
    Restock.objects.create(key="run-1", created_at=NOW)

    assert refused(Restock, key="run-1", created_at=NOW)
    assert refused(Restock, key="", created_at=NOW)
    assert refused(Restock, key="run-2", created_at=NOW, count=-1)


def test_database_refuses_what_no_token_may_be(db):
    values = {"name": "jobs", "prefix": "abcd1234", "secret_hash": "0" * 64, "scopes": []}
    values |= {"created_at": NOW, "expires_at": NOW + timedelta(days=1)}
    ServiceToken.objects.create(**values)

    assert refused(ServiceToken, **values)  # the prefix is taken
    assert refused(ServiceToken, **values | {"prefix": ""})
    assert refused(ServiceToken, **values | {"prefix": "abcd1235", "name": ""})
    assert refused(ServiceToken, **values | {"prefix": "abcd1235", "secret_hash": ""})
    assert refused(ServiceToken, **values | {"prefix": "abcd1235", "expires_at": NOW - timedelta(days=1)})


def test_status_is_open_until_completed_or_cancelled():
    assert set(Order.Status) - set(Order.OPEN) == {Order.Status.COMPLETED, Order.Status.CANCELLED}


def test_total_is_the_sum_of_the_items(make_customer):
    order = Order.objects.create(customer=make_customer())
    for price, quantity in (("9.90", 3), ("0.05", 1)):
        product = Product.objects.create(name="Lamp", price=price)
        OrderItem.objects.create(order=order, product=product, unit_price=Decimal(price), quantity=quantity)

    orders.update_total(order.pk)
    order.refresh_from_db()
    assert order.total == Decimal("29.75")

    order.items.all().delete()
    orders.update_total(order.pk)
    order.refresh_from_db()
    assert order.total == Decimal(0)


def test_migrations_say_what_the_models_say(db):
    call_command("makemigrations", "crm", check=True, dry_run=True)


def test_form_keeps_the_domain_of_an_address_in_small_letters(db):
    """As GraphQL does; the admin's form cleans a row this way."""
    customer = Customer(name="A", email="Ada@EXÄMPLE.de")

    customer.full_clean()

    assert customer.email == "Ada@exämple.de"
