"""Rules about orders: they take from the stock, at the price of the day, and move on one way."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import transaction
from django.db.models import DecimalField, F, OuterRef, Subquery, Sum
from django.db.models.functions import Coalesce

from crm import bulk, confirmations, stock
from crm.bulk import Result
from crm.models import Customer, Order, OrderItem, Product, StockMovement
from crm.problems import Code, Problem, Refused, too_many
from crm.webhooks import events

MOST_ITEMS = 100
LARGEST_QUANTITY = 1_000_000

_S = Order.Status
NEXT = {
    _S.PENDING: (_S.PAID, _S.CANCELLED),
    _S.PAID: (_S.SHIPPED, _S.CANCELLED),
    _S.SHIPPED: (_S.COMPLETED, _S.CANCELLED),
    _S.COMPLETED: (),
    _S.CANCELLED: (),
}
_TOTAL_BELOW = Decimal(10**12)


@dataclass(frozen=True)
class Line:
    """So many of one product."""

    product_id: int
    quantity: int = 1


@dataclass(frozen=True)
class Wish:
    """What a customer wants to order."""

    customer_id: int
    items: Sequence[Line]


def create(wish: Wish, *, now: datetime) -> Order:
    """Make an order of *wish*, and take its items from the stock.

    Raises: Refused.
    """
    return create_many([wish], now=now)[0].made()


def create_many(wishes: Sequence[Wish], *, now: datetime, all_or_nothing: bool = False) -> list[Result[Order]]:
    """Make an order of each of *wishes*, as long as the stock lasts; give what became of each, in their order.

    Raises: Refused for more than bulk.MOST.
    Cost: one transaction of eight statements for up to a hundred items in all; more where webhooks tell of it.
    """
    bulk.check_number(wishes)
    with transaction.atomic():
        # Held, so that no cleanup takes one away before the order is there.
        held = Customer.objects.select_for_update(no_key=True).filter(pk__in={wish.customer_id for wish in wishes})
        customers = {customer.pk: customer for customer in held.order_by("pk")}
        products = stock.locked(line.product_id for wish in wishes for line in wish.items)
        left = {product.pk: product.stock for product in products.values()}
        results = [_drafted(wish, customers, products, left, now) for wish in wishes]
        bulk.write(results, lambda made: _insert(made, wishes, results, products, now), all_or_nothing=all_or_nothing)
    return results


def update(order_id: int, status: str, *, now: datetime) -> Order:
    """Move the order on to *status*; a cancelled one puts back what it took from the stock.

    Raises: Refused for a step that NEXT does not have. The status that it has already changes nothing.
    """
    with transaction.atomic():
        order = Order.objects.select_for_update().filter(pk=order_id).first()
        if order is None:
            raise Refused([Problem(Code.NOT_FOUND, "There is no such order.", ("id",))])
        before, status = _S(order.status), _S(status)
        if status == before:
            return order
        if status not in NEXT[before]:
            allowed = " or ".join(each.name for each in NEXT[before])
            hint = f"It may become {allowed}." if allowed else "It is over."
            message = f"The order is {before.name} and cannot become {status.name}. {hint}"
            raise Refused([Problem(Code.NOT_ALLOWED, message, ("status",))])
        order.status = status
        order.save(update_fields=["status"])
        if status == _S.CANCELLED:
            _put_back(order, now)
        events.order_status_changed(order, before, now=now)
    return order


def update_total(order_id: int) -> None:
    """Make the total of the order the sum of its items, in one statement."""
    amount = DecimalField(max_digits=14, decimal_places=2)
    items = OrderItem.objects.filter(order=OuterRef("pk")).order_by().values("order")
    total = items.annotate(total=Sum(F("quantity") * F("unit_price"), output_field=amount)).values("total")
    Order.objects.filter(pk=order_id).update(total=Coalesce(Subquery(total), Decimal(0), output_field=amount))


def _drafted(
    wish: Wish, customers: dict[int, Customer], products: dict[int, Product], left: dict[int, int], now: datetime
) -> Result[Order]:
    """Give the order of *wish*, not yet written, or its problems; what it takes is no longer *left*."""
    problems = []
    if wish.customer_id not in customers:
        problems.append(Problem(Code.NOT_FOUND, "There is no such customer.", ("customer_id",)))
    if not wish.items:
        problems.append(Problem(Code.REQUIRED, "Give at least one item.", ("items",)))
    if len(wish.items) > MOST_ITEMS:
        problems.append(too_many(len(wish.items), MOST_ITEMS, "items"))
    else:
        problems += _problems_of(wish.items, products, left)
    if problems:
        return Result(None, problems)
    total = sum((line.quantity * products[line.product_id].price for line in wish.items), Decimal(0))
    if total >= _TOTAL_BELOW:
        return Result(
            None, [Problem(Code.INVALID, f"The total is {total}; expected less than {_TOTAL_BELOW}.", ("items",))]
        )
    for line in wish.items:
        left[line.product_id] -= line.quantity
    asked = Order.Confirmation.WAITING
    return Result(Order(customer=customers[wish.customer_id], ordered_at=now, total=total, confirmation=asked))


def _problems_of(items: Sequence[Line], products: dict[int, Product], left: dict[int, int]) -> list[Problem]:
    found, seen = [], set()
    for index, line in enumerate(items):
        at, product = ("items", index), products.get(line.product_id)
        if product is None:
            found.append(Problem(Code.NOT_FOUND, "There is no such product.", (*at, "product_id")))
        elif line.product_id in seen:
            found.append(Problem(Code.INVALID, "This product is in the order already.", (*at, "product_id")))
        elif not 1 <= line.quantity <= LARGEST_QUANTITY:
            message = f"The quantity is {line.quantity}; expected 1 to {LARGEST_QUANTITY}."
            found.append(Problem(Code.INVALID, message, (*at, "quantity")))
        elif line.quantity > left[product.pk]:
            message = f"There are {left[product.pk]} of {product.name}; {line.quantity} were ordered."
            found.append(Problem(Code.OUT_OF_STOCK, message, (*at, "quantity")))
        seen.add(line.product_id)
    return found


def _insert(
    orders: list[Order],
    wishes: Sequence[Wish],
    results: Sequence[Result[Order]],
    products: dict[int, Product],
    now: datetime,
) -> None:
    Order.objects.bulk_create(orders)
    sold = [
        (result.row, products[line.product_id], line.quantity)
        for wish, result in zip(wishes, results, strict=True)
        if result.row is not None
        for line in wish.items
    ]
    items = OrderItem.objects.bulk_create(
        OrderItem(order=order, product=product, quantity=quantity, unit_price=product.price)
        for order, product, quantity in sold
    )
    taken = [(product, -quantity, _key(order)) for order, product, quantity in sold]
    stock.move(taken, StockMovement.Reason.SALE, now=now)
    of_order: dict[int, list[OrderItem]] = {order.pk: [] for order in orders}
    for item in items:
        of_order[item.order_id].append(item)
    events.orders_created([(order, of_order[order.pk]) for order in orders], now=now)
    confirmations.request([order.pk for order in orders])


def _put_back(order: Order, now: datetime) -> None:
    # By its movements, not its items: an order typed in by hand has taken nothing.
    taken = stock.taken_under(_key(order))
    products = stock.locked(taken)
    back = [(products[product_id], count, _key(order)) for product_id, count in taken.items()]
    stock.move(back, StockMovement.Reason.RETURN, now=now)


def _key(order: Order) -> str:
    return f"order-{order.pk}"
