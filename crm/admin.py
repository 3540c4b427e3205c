"""The CRM in Django's admin."""

from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.contrib.humanize.templatetags.humanize import intcomma
from django.db.models import Count, F, IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils.html import format_html

from crm import customers, orders
from crm.models import Customer, CustomerTombstone, Order, OrderItem, Product

_BADGE_COLOURS = {
    # Text on background: each pair has a contrast of at least 4.5, in the light and the dark theme alike.
    Order.Status.PENDING: ("#7a4b00", "#ffecc7"),
    Order.Status.PAID: ("#0b4f8a", "#dcecfb"),
    Order.Status.SHIPPED: ("#4b2e83", "#e9e1f7"),
    Order.Status.COMPLETED: ("#1c5c2e", "#d9f0df"),
    Order.Status.CANCELLED: ("#555555", "#e8e8e8"),
}


def _number(value: int | Decimal | None) -> str:
    """Show *value* right-aligned with figures of one width, so that columns can be compared."""
    return format_html(
        '<span style="display:block;text-align:right;font-variant-numeric:tabular-nums">{}</span>',
        "—" if value is None else intcomma(value),
    )


def _counted(model: Any, foreign_key: str) -> Coalesce:
    """Count the rows of *model* that point at a row, by subquery: a join would multiply with other joins."""
    rows = model.objects.filter(**{foreign_key: OuterRef("pk")}).order_by().values(foreign_key)
    return Coalesce(Subquery(rows.annotate(n=Count("pk")).values("n"), output_field=IntegerField()), 0)


@admin.register(Customer)
class CustomerAdmin(admin.ModelAdmin):
    list_display = ["name", "email", "phone", "created_at", "last_order", "order_count"]
    list_filter = ["created_at"]
    search_fields = ["name", "email", "phone"]
    date_hierarchy = "created_at"
    list_per_page = 50

    def get_queryset(self, request: HttpRequest) -> QuerySet[Customer]:
        newest = Order.objects.filter(customer=OuterRef("pk")).order_by("-ordered_at")
        return (
            super()
            .get_queryset(request)
            .annotate(_orders=_counted(Order, "customer"), _last=Subquery(newest.values("ordered_at")[:1]))
        )

    @admin.display(description="orders", ordering="_orders")
    def order_count(self, customer: Customer) -> str:
        return _number(customer._orders)

    @admin.display(description="last order", ordering=F("_last").desc(nulls_last=True), empty_value="never")
    def last_order(self, customer: Customer) -> Any:
        return customer._last


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):
    list_display = ["name", "price_shown", "stock_shown"]
    search_fields = ["name"]
    list_per_page = 50

    @admin.display(description="price", ordering="price")
    def price_shown(self, product: Product) -> str:
        return _number(product.price)

    @admin.display(description="stock", ordering="stock")
    def stock_shown(self, product: Product) -> str:
        return _number(product.stock)


class OrderItemInline(admin.TabularInline):
    model = OrderItem
    autocomplete_fields = ["product"]
    extra = 0

    def get_queryset(self, request: HttpRequest) -> QuerySet[OrderItem]:
        return super().get_queryset(request).select_related("product")


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):
    list_display = ["__str__", "customer", "status_shown", "ordered_at", "items_shown", "total_shown"]
    list_filter = ["status", "ordered_at"]
    list_select_related = ["customer"]
    search_fields = ["=id", "customer__name", "customer__email"]
    search_help_text = "Number of the order, name or e-mail of the customer"
    autocomplete_fields = ["customer"]
    readonly_fields = ["total"]
    date_hierarchy = "ordered_at"
    inlines = [OrderItemInline]
    list_per_page = 50

    def get_queryset(self, request: HttpRequest) -> QuerySet[Order]:
        return super().get_queryset(request).annotate(_items=_counted(OrderItem, "order"))

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        orders.update_total(form.instance.pk)

    @admin.display(description="status", ordering="status")
    def status_shown(self, order: Order) -> str:
        text, background = _BADGE_COLOURS[Order.Status(order.status)]
        return format_html(
            '<span style="{}color:{};background:{}">{}</span>',
            "padding:.1em .6em;border-radius:1em;white-space:nowrap;",
            text,
            background,
            order.get_status_display(),
        )

    @admin.display(description="items", ordering="_items")
    def items_shown(self, order: Order) -> str:
        return _number(order._items)

    @admin.display(description="total", ordering="total")
    def total_shown(self, order: Order) -> str:
        return _number(order.total)


@admin.register(CustomerTombstone)
class CustomerTombstoneAdmin(admin.ModelAdmin):
    """Read only: what says why a customer vanished must not vanish or change by a click."""

    list_display = ["deleted_at", "reason", "orders_shown", "run_key", "email_hash"]
    list_filter = ["reason", "deleted_at"]
    search_fields = ["run_key"]
    search_help_text = "The customer's e-mail address or id, or the run"
    date_hierarchy = "deleted_at"

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[CustomerTombstone], search_term: str
    ) -> tuple[QuerySet[CustomerTombstone], bool]:
        found, may_repeat = super().get_search_results(request, queryset, search_term)
        if search_term:
            found = found | (queryset & customers.tombstones_of(search_term))
        return found, may_repeat

    @admin.display(description="orders deleted along", ordering="orders")
    def orders_shown(self, tombstone: CustomerTombstone) -> str:
        return _number(tombstone.orders)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: CustomerTombstone | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: CustomerTombstone | None = None) -> bool:
        return False
