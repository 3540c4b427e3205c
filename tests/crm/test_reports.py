"""The figures of a report: what counts, from when on, and to the cent."""

from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from crm.models import Order
from crm.reports import Totals, totals

from .conftest import NOW

TICK = timedelta(microseconds=1)


@pytest.fixture
def customer(make_customer):
    return make_customer()


def order(customer, total="10.00", status="completed", ordered_at=NOW - TICK):
    return Order.objects.create(customer=customer, total=Decimal(total), status=status, ordered_at=ordered_at)


def test_shop_without_rows_has_totals_of_zero(db):
    found = totals(NOW)

    assert found == Totals(customers=0, orders=0, revenue=Decimal(0))
    assert str(found.revenue) == "0.00"


def test_revenue_leaves_out_cancelled_orders_and_counts_them(customer):
    for status in Order.Status.values:
        order(customer, "10.10", status)

    assert totals(NOW) == Totals(customers=1, orders=5, revenue=Decimal("40.40"))


def test_what_happens_at_until_belongs_to_the_next_report(customer, make_customer):
    order(customer, "1.00", ordered_at=NOW - TICK)
    order(customer, "2.00", ordered_at=NOW)
    make_customer(created_at=NOW - TICK)
    make_customer(created_at=NOW)

    assert totals(NOW) == Totals(customers=2, orders=1, revenue=Decimal("1.00"))
    assert totals(NOW + TICK) == Totals(customers=3, orders=2, revenue=Decimal("3.00"))


def test_revenue_is_exact_where_the_database_adds_floats(customer):
    """The largest total beside many of a cent: as floats these are no sum of cents any more."""
    Order.objects.bulk_create(
        Order(customer=customer, total=Decimal(total), ordered_at=NOW - TICK)
        for total in ["999999999999.99"] * 200 + ["0.01"] * 300
    )

    assert str(totals(NOW).revenue) == "200000000000001.00"


def test_orders_cancelled_all_of_them_are_no_revenue(customer):
    order(customer, status="cancelled")

    assert totals(NOW) == Totals(customers=1, orders=1, revenue=Decimal(0))


def test_totals_are_two_statements(customer):
    order(customer)

    with CaptureQueriesContext(connection) as captured:
        totals(NOW)

    assert len(captured) == 2


def test_moment_without_a_zone_is_refused():
    with pytest.raises(ValueError, match=r"^until is 2026-11-22T02:00:00, a moment without a zone;"):
        totals(datetime(2026, 11, 22, 2, 0))  # noqa: DTZ001 - that is the point
