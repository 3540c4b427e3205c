"""What the shop has come to: figures about all of it, up to a moment."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db.models import BigIntegerField, Count, F, Q, Sum
from django.db.models.functions import Cast, Round

from crm.models import Customer, Order


@dataclass(frozen=True)
class Totals:
    """Customers and orders of every status; *revenue* leaves out the cancelled ones."""

    customers: int
    orders: int
    revenue: Decimal


def totals(until: datetime) -> Totals:
    """Count the customers who signed up, and the orders made, before *until*.

    Half-open: what happened at *until* itself belongs to the next report.

    Args: *until* aware.
    Raises: ValueError if *until* has no zone: two readers would read two moments.
    Cost: two statements, each over all rows of its table.
    """
    if until.utcoffset() is None:
        raise ValueError(f"until is {until.isoformat()}, a moment without a zone; expected an aware datetime.")
    # In whole cents: SQLite keeps decimals as floats, and a sum of many floats is off by some.
    cents = Cast(Round(F("total") * 100), BigIntegerField())
    orders = Order.objects.filter(ordered_at__lt=until).aggregate(
        number=Count("pk"), cents=Sum(cents, filter=~Q(status=Order.Status.CANCELLED), default=0)
    )
    return Totals(
        customers=Customer.objects.filter(created_at__lt=until).count(),
        orders=orders["number"],
        revenue=Decimal(int(orders["cents"])).scaleb(-2),
    )
