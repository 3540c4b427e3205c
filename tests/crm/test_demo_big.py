"""The big shop: the same on every database, whole however often it was killed, and mixed with nobody's rows."""

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import models

from crm import demo_big, orders
from crm.customers import delete_inactive
from crm.models import Customer, Order, OrderItem, Product
from tests.crm.killing import at_every_statement

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
ARGUMENTS = ("demo_big", "--customers=2000", f"--now={NOW.isoformat()}")


def digest() -> str:
    found = hashlib.sha256()
    for model in (Customer, Product, Order, OrderItem):
        for row in model.objects.order_by("pk").values_list():
            found.update(
                repr([value.isoformat() if isinstance(value, datetime) else str(value) for value in row]).encode()
            )
    return found.hexdigest()[:16]


def test_shop_is_the_same_on_every_database(capsys):
    call_command(*ARGUMENTS)

    assert digest() == "7a264105f77db20e"


def test_shop_is_one(settings):
    """Totals are those of the items, nobody buys before having signed up or in the future; of each fate are some."""
    settings.CRM_CLEANUP_MAX_COUNT = 10_000

    call_command(*ARGUMENTS)

    cleanup = delete_inactive(now=NOW, dry_run=True)
    total = models.Sum(models.F("items__quantity") * models.F("items__unit_price"))
    sums = Order.objects.annotate(sum=total).values_list("total", "sum")
    assert [each for each in sums if each[0] != each[1]] == []
    assert (Customer.objects.count(), Product.objects.count(), Order.objects.count()) == (2000, 200, 6000)
    assert not Order.objects.filter(ordered_at__lt=models.F("customer__created_at")).exists()
    assert not Order.objects.filter(ordered_at__gte=NOW).exists()
    assert 100 < cleanup.deleted < 500
    assert set(cleanup.skipped) == {"signed up within the year", "ordered within the year", "has an open order"}
    assert 5 < Product.objects.filter(stock__lt=10).count() < 40
    assert 5 < Order.objects.filter(status="pending", ordered_at__gte=NOW - timedelta(days=7)).count() < 60


def test_killed_shop_goes_on_to_the_same_end(monkeypatch):
    """With the moment that it was begun with, whatever it is by now."""
    monkeypatch.setattr(demo_big, "CHUNK", 400)
    ends = set()

    for _ in at_every_statement(lambda: write(NOW)):
        write(NOW if not Customer.objects.exists() else NOW + timedelta(days=9))
        ends.add(digest())

    assert len(ends) == 1


def write(now: datetime) -> None:
    demo_big.write(demo_big.begun(200, now), lambda *_: None)


def test_whole_shop_can_be_used_and_is_left_alone(capsys):
    """Numbers go on after those that were written by hand."""
    call_command(*ARGUMENTS)
    product = Product.objects.filter(stock__gt=5).first()
    assert product
    order = orders.create(orders.Wish(1, [orders.Line(product.pk)]), now=NOW)
    capsys.readouterr()

    call_command(*ARGUMENTS)

    assert order.pk == 6001
    assert capsys.readouterr().out == "The shop is whole; its last moment is 2026-11-22 02:00:00 +0000.\n"
    assert Order.objects.count() == 6001


def test_shop_is_mixed_with_nobodys_rows(make_customer):
    with pytest.raises(
        CommandError, match="There are customers already, and not those of a shop of 2,000: the first is"
    ):
        make_customer() and call_command(*ARGUMENTS)
    Customer.objects.all().delete()
    Product.objects.create(name="Oak Tray", price=1)

    with pytest.raises(CommandError, match="There are products already"):
        call_command(*ARGUMENTS)

    with pytest.raises(CommandError, match="199 customers are no big shop"):
        call_command("demo_big", "--customers=199")
    assert Customer.objects.count() == 0
