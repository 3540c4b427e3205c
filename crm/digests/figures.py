"""What a report says, counted: plain values that JSON keeps as they are, money as text with two decimals.

The order of everything shown is that of a list: PostgreSQL keeps no order of keys.
"""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import BigIntegerField, Count, F, Q, Sum
from django.db.models.functions import Cast, Coalesce, Round, TruncDate

from crm.digests import automation
from crm.digests.periods import Period, before, midnight
from crm.models import Customer, Order, OrderItem, Product
from crm.stock import LOW

VERSION = 1
CHART_DAYS = 14
MOST_PRODUCTS, MOST_LOW = 5, 8
_NOT_CANCELLED = ~Q(status=Order.Status.CANCELLED)


def of(period: Period) -> dict[str, Any]:
    """Count *period*, the one before it, and the days that lead up to its end.

    What happened is counted by when it happened; an order's status, a stock and the automation's runs are as they are
    now. Revenue leaves out cancelled orders.
    Cost: about a dozen statements, each along an index of the window, besides one for the stocks.
    """
    return {
        "version": VERSION,
        "kind": period.kind,
        "period": period.name,
        "zone": period.zone.key,
        "first_day": period.first_day.isoformat(),
        "shop": _shop(period.since, period.until),
        "before": _shop(before(period).since, period.since),
        "days": _days(period),
        "top_products": _top_products(period),
        "low_stock": _low_stock(),
        "automation": automation.figures(period.since, period.until),
    }


def is_empty(data: dict[str, Any]) -> bool:
    """Say whether nothing happened that somebody should read of: no order, no customer, nothing that went wrong."""
    shop = data["shop"]
    return not (shop["orders"] or shop["new_customers"] or automation.is_troubled(data["automation"]))


def _shop(since: datetime, until: datetime) -> dict[str, Any]:
    rows = Order.objects.filter(ordered_at__gte=since, ordered_at__lt=until).order_by()
    found = {
        status: (number, cents)
        for status, number, cents in rows.values_list("status").annotate(number=Count("pk"), cents=_sum(F("total")))
    }
    paid = [found[status] for status in found if status != Order.Status.CANCELLED]
    number, cents = sum(each[0] for each in paid), sum(int(each[1]) for each in paid)
    return {
        "orders": sum(each[0] for each in found.values()),
        "by_status": [[status.value, found[status][0]] for status in Order.Status if status in found],
        "revenue": _money(cents),
        "average": str((Decimal(cents) / number / 100).quantize(Decimal("0.01"))) if number else None,
        "new_customers": Customer.objects.filter(created_at__gte=since, created_at__lt=until).count(),
    }


def _days(period: Period) -> list[list[Any]]:
    """Give day, orders and revenue of each of the last CHART_DAYS days."""
    last = (period.until - timedelta(microseconds=1)).astimezone(period.zone).date()
    days = [last - timedelta(days=number) for number in range(CHART_DAYS)][::-1]
    rows = (
        Order.objects.filter(
            _NOT_CANCELLED, ordered_at__gte=midnight(days[0], period.zone), ordered_at__lt=period.until
        )
        .order_by()
        .values_list(TruncDate("ordered_at", tzinfo=period.zone))
        .annotate(number=Count("pk"), cents=_sum(F("total")))
    )
    found = {day: (number, int(cents)) for day, number, cents in rows}
    return [[day.isoformat(), number, _money(cents)] for day in days for number, cents in [found.get(day, (0, 0))]]


def _top_products(period: Period) -> list[dict[str, Any]]:
    rows = (
        OrderItem.objects.filter(order__ordered_at__gte=period.since, order__ordered_at__lt=period.until)
        .exclude(order__status=Order.Status.CANCELLED)
        .order_by()
        .values("product", "product__name")
        .annotate(sold=Sum("quantity"), cents=_sum(F("quantity") * F("unit_price")))
        .order_by("-cents", "product")[:MOST_PRODUCTS]
    )
    return [{"name": row["product__name"], "sold": row["sold"], "revenue": _money(int(row["cents"]))} for row in rows]


def _low_stock() -> dict[str, Any]:
    low = Product.objects.filter(stock__lt=LOW)
    lowest = low.order_by("stock", "pk").values_list("name", "stock")[:MOST_LOW]
    return {"below": LOW, "count": low.count(), "lowest": [list(each) for each in lowest]}


def _sum(amount: Any) -> Coalesce:
    # In whole cents: SQLite keeps decimals as floats, and a sum of many floats is off by some.
    return Coalesce(Sum(Cast(Round(amount * 100), BigIntegerField())), 0)


def _money(cents: int) -> str:
    return str(Decimal(cents).scaleb(-2).quantize(Decimal("0.01")))
