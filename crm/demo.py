"""Demo data: the same seed and the same moment give the same rows, byte for byte."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random

from django.db import transaction

from crm.models import Customer, Order, OrderItem, Product

_FIRST = (
    "Amina", "Bao", "Carlos", "Dagny", "Ewa", "Farid", "Grace", "Hana", "Ivan", "Jun", "Kofi", "Lea",
    "Mateo", "Nadia", "Olu", "Priya", "Quentin", "Rosa", "Sven", "Tariq", "Uma", "Viktor", "Wanjiru",
)  # fmt: skip
_LAST = (
    "Adeyemi", "Berg", "Castillo", "Dubois", "Eriksen", "Fischer", "Garcia", "Haddad", "Ito", "Jansen",
    "Kaya", "Lindholm", "Mwangi", "Novak", "Okafor", "Petrov", "Quispe", "Rossi", "Sato", "Tanaka",
)  # fmt: skip
_MATERIALS = ("Oak", "Linen", "Copper", "Walnut", "Wool", "Slate", "Birch", "Cork", "Brass", "Felt")
_THINGS = ("Desk Lamp", "Notebook", "Tray", "Bookend", "Planter")


@dataclass(frozen=True)
class _Kind:
    """A kind of customer: its share of all; when, in days ago, and how much."""

    weight: int
    signed_up: tuple[int, int]
    ordered: tuple[int, int] = (0, 0)
    orders: tuple[int, int] = (0, 0)
    leaves_one_open: bool = False


_KINDS = (
    _Kind(62, signed_up=(30, 1095), ordered=(0, 1095), orders=(2, 9)),  # buys now and then
    _Kind(12, signed_up=(430, 1095), ordered=(380, 1095), orders=(1, 5)),  # not for over a year: inactive
    _Kind(5, signed_up=(400, 1095)),  # never bought: inactive
    _Kind(10, signed_up=(0, 300)),  # new, has not bought yet
    _Kind(7, signed_up=(1, 300), ordered=(0, 300), orders=(1, 3)),  # new, has bought
    _Kind(4, signed_up=(500, 1095), ordered=(400, 1095), orders=(1, 3), leaves_one_open=True),
)


@transaction.atomic
def create(*, customers: int, now: datetime, seed: int) -> dict[str, int]:
    """Write fifty products and *customers* customers with three years of orders; give the numbers of rows.

    Cost: a few bulk inserts; a thousand customers take about a second.
    """
    rng = Random(seed)
    products = Product.objects.bulk_create(_products(rng))
    people, orders, items = [], [], []
    for number in range(customers):
        (kind,) = rng.choices(_KINDS, [kind.weight for kind in _KINDS])
        customer = _customer(rng, number, now - _days(rng, kind.signed_up))
        people.append(customer)
        for order in _orders(rng, customer, kind, now):
            orders.append(order)
            items.extend(_items(rng, order, products))
    Customer.objects.bulk_create(people, batch_size=500)
    # Numbers of orders grow with time, as they do in a shop.
    Order.objects.bulk_create(sorted(orders, key=lambda order: order.ordered_at), batch_size=500)
    OrderItem.objects.bulk_create(items, batch_size=500)
    return {
        "products": len(products),
        "customers": len(people),
        "orders": len(orders),
        "order items": len(items),
    }


def _products(rng: Random) -> list[Product]:
    return [
        Product(
            name=f"{material} {thing}",
            price=Decimal(rng.randrange(490, 24_900)) / 100,
            stock=rng.randrange(120),
        )
        for material in _MATERIALS
        for thing in _THINGS
    ]


def _customer(rng: Random, number: int, signed_up_at: datetime) -> Customer:
    first, last = rng.choice(_FIRST), rng.choice(_LAST)
    return Customer(
        name=f"{first} {last}",
        email=f"{first}.{last}.{number}@example.com".lower(),
        phone=f"+1555{rng.randrange(10_000_000):07}" if rng.random() < 0.8 else "",
        created_at=signed_up_at,
    )


def _orders(rng: Random, customer: Customer, kind: _Kind, now: datetime) -> list[Order]:
    age_days = (now - customer.created_at).days
    newest, oldest = kind.ordered[0], max(kind.ordered[0], min(kind.ordered[1], age_days))
    moments = sorted(now - _days(rng, (newest, oldest)) for _ in range(rng.randint(*kind.orders)))
    # Nobody orders before having signed up.
    moments = [max(moment, customer.created_at) for moment in moments]
    orders = [Order(customer=customer, ordered_at=at, status=_status(rng, (now - at).days)) for at in moments]
    if kind.leaves_one_open:
        orders[0].status = rng.choice((Order.Status.PENDING, Order.Status.PAID))
    return orders


def _status(rng: Random, age_days: int) -> Order.Status:
    if rng.random() < 0.06:
        return Order.Status.CANCELLED
    if age_days > 21:
        return Order.Status.COMPLETED
    return rng.choice((Order.Status.PENDING, Order.Status.PAID, Order.Status.SHIPPED))


def _items(rng: Random, order: Order, products: list[Product]) -> list[OrderItem]:
    items = [
        OrderItem(order=order, product=product, quantity=rng.choice((1, 1, 1, 2, 3)), unit_price=product.price)
        for product in rng.sample(products, rng.choice((1, 1, 2, 2, 3, 4)))
    ]
    order.total = sum((item.quantity * item.unit_price for item in items), Decimal(0))
    return items


def _days(rng: Random, between: tuple[int, int]) -> timedelta:
    low, high = between
    return timedelta(seconds=rng.randint(low * 86_400, max(high, low + 1) * 86_400 - 1))
