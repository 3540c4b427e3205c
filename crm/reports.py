"""What the shop has come to: figures about all of it, up to a moment."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db.models import BigIntegerField, Count, F, Q, Subquery, Sum
from django.db.models.functions import Cast, Coalesce, Round

from crm.models import Archive, Customer, Order


@dataclass(frozen=True)
class Totals:
    """Customers, and orders of every status, also archived ones; *revenue* leaves out the cancelled ones."""

    customers: int
    orders: int
    revenue: Decimal


def totals(until: datetime) -> Totals:
    """Count the customers who signed up, and the orders made, before *until*.

    Half-open: what happened at *until* itself belongs to the next report.

    Args: *until* aware.
    Raises: ValueError if *until* has no zone: two readers would read two moments.
    Cost: two statements, each over all rows of its table, and a few rows about archives.
    """
    if until.utcoffset() is None:
        raise ValueError(f"until is {until.isoformat()}, a moment without a zone; expected an aware datetime.")
    # As a condition of the figures, not of the rows: else SQLite goes along an index of moments, to look up each order.
    before = Q(ordered_at__lt=until)
    # In whole cents: SQLite keeps decimals as floats, and a sum of many floats is off by some.
    cents = Cast(Round(F("total") * 100), BigIntegerField())
    revenue = Sum(cents, filter=before & ~Q(status=Order.Status.CANCELLED), default=0)
    # In the same statement: an order that is on its way to an archive meanwhile counts once.
    orders = Order.objects.order_by().aggregate(
        number=Count("pk", filter=before) + _archived("out", until),
        cents=revenue + _archived("cents_out", until),
    )
    return Totals(
        customers=Customer.objects.filter(created_at__lt=until).count(),
        orders=orders["number"],
        revenue=Decimal(int(orders["cents"])).scaleb(-2),
    )


def _archived(column: str, until: datetime) -> Coalesce:
    """Add up *column* of the archives of orders before *until*: what left for its age was ordered all the same.

    Orders of customers who have left are not among them: those are no part of the shop any more.
    """
    archives = Archive.objects.filter(table=Archive.Table.ORDERS, until__lte=until).order_by()
    every = archives.values("table").annotate(every=Sum(column)).values("every")
    return Coalesce(Subquery(every, output_field=BigIntegerField()), 0)
