"""Rules about orders."""

from decimal import Decimal

from django.db.models import DecimalField, F, OuterRef, Subquery, Sum
from django.db.models.functions import Coalesce

from crm.models import Order, OrderItem


def update_total(order_id: int) -> None:
    """Make the total of the order the sum of its items, in one statement."""
    amount = DecimalField(max_digits=14, decimal_places=2)
    items = OrderItem.objects.filter(order=OuterRef("pk")).order_by().values("order")
    total = items.annotate(total=Sum(F("quantity") * F("unit_price"), output_field=amount)).values("total")
    Order.objects.filter(pk=order_id).update(total=Coalesce(Subquery(total), Decimal(0), output_field=amount))
