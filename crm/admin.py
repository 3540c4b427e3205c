"""The CRM in Django's admin. What a list shows of other tables comes by subquery: one statement a page."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.contrib.humanize.templatetags.humanize import intcomma
from django.db.models import Count, F, IntegerField, Model, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html

from crm import customers, orders
from crm.models import Customer, CustomerTombstone, Order, OrderItem, Product


def _moment(moment: datetime) -> str:
    return f"{timezone.localtime(moment):%Y-%m-%d %H:%M}"


def _counted(model: type[Model], foreign_key: str) -> Coalesce:
    """Count the rows of *model* that point at a row, by subquery: a join would multiply with other joins."""
    rows = model.objects.filter(**{foreign_key: OuterRef("pk")}).order_by().values(foreign_key)
    return Coalesce(Subquery(rows.annotate(n=Count("pk")).values("n"), output_field=IntegerField()), 0)


class _Admin(admin.ModelAdmin):
    list_per_page = 50

    class Media:
        css = {"all": ["crm/admin.css"]}


@admin.register(Customer)
class CustomerAdmin(_Admin):
    list_display = ["name", "email", "phone", "signed_up", "last_order", "order_count"]
    search_fields = ["name", "email", "phone"]
    search_help_text = "Name, e-mail address or phone number"
    date_hierarchy = "created_at"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Customer]:
        newest = Order.objects.filter(customer=OuterRef("pk")).order_by("-ordered_at")
        return (
            super()
            .get_queryset(request)
            .annotate(_orders=_counted(Order, "customer"), _last=Subquery(newest.values("ordered_at")[:1]))
        )

    @admin.display(description="signed up", ordering="created_at")
    def signed_up(self, customer: Customer) -> str:
        return _moment(customer.created_at)

    @admin.display(description="last order", ordering=F("_last").desc(nulls_last=True))
    def last_order(self, customer: Customer) -> str:
        return _moment(customer._last) if customer._last else "never"

    @admin.display(description="orders", ordering="_orders")
    def order_count(self, customer: Customer) -> str:
        return intcomma(customer._orders)


@admin.register(Product)
class ProductAdmin(_Admin):
    list_display = ["name", "price_shown", "stock_shown"]
    search_fields = ["name"]

    @admin.display(description="price", ordering="price")
    def price_shown(self, product: Product) -> str:
        return intcomma(product.price)

    @admin.display(description="stock", ordering="stock")
    def stock_shown(self, product: Product) -> str:
        return intcomma(product.stock)


class OrderItemInline(admin.TabularInline):
    model = OrderItem
    autocomplete_fields = ["product"]
    extra = 0

    def get_queryset(self, request: HttpRequest) -> QuerySet[OrderItem]:
        return super().get_queryset(request).select_related("product")


@admin.register(Order)
class OrderAdmin(_Admin):
    list_display = ["__str__", "customer_name", "status_shown", "ordered", "items_shown", "total_shown"]
    list_filter = ["status"]
    list_select_related = ["customer"]
    search_fields = ["=id", "customer__name", "customer__email"]
    search_help_text = "Number of the order, name or e-mail address of the customer"
    autocomplete_fields = ["customer"]
    readonly_fields = ["total"]
    date_hierarchy = "ordered_at"
    inlines = [OrderItemInline]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Order]:
        return super().get_queryset(request).annotate(_items=_counted(OrderItem, "order"))

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        orders.update_total(form.instance.pk)

    @admin.display(description="customer", ordering="customer__name")
    def customer_name(self, order: Order) -> str:
        return order.customer.name

    @admin.display(description="status", ordering="status")
    def status_shown(self, order: Order) -> str:
        text = order.get_status_display()
        return format_html('<span class="crm-status crm-status-{}">{}</span>', order.status, text)

    @admin.display(description="ordered", ordering="ordered_at")
    def ordered(self, order: Order) -> str:
        return _moment(order.ordered_at)

    @admin.display(description="items", ordering="_items")
    def items_shown(self, order: Order) -> str:
        return intcomma(order._items)

    @admin.display(description="total", ordering="total")
    def total_shown(self, order: Order) -> str:
        return intcomma(order.total)


@admin.register(CustomerTombstone)
class CustomerTombstoneAdmin(_Admin):
    """Read only: what says why a customer vanished must not vanish or change by a click."""

    list_display = ["deleted", "reason", "orders_shown", "run_key"]
    search_fields = ["run_key"]
    search_help_text = "The customer's whole e-mail address or id, or part of the run"
    date_hierarchy = "deleted_at"

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[CustomerTombstone], search_term: str
    ) -> tuple[QuerySet[CustomerTombstone], bool]:
        found, may_repeat = super().get_search_results(request, queryset, search_term)
        if search_term:
            found = found | (queryset & customers.tombstones_of(search_term))
        return found, may_repeat

    @admin.display(description="deleted", ordering="deleted_at")
    def deleted(self, tombstone: CustomerTombstone) -> str:
        return _moment(tombstone.deleted_at)

    @admin.display(description="orders deleted along", ordering="orders")
    def orders_shown(self, tombstone: CustomerTombstone) -> str:
        return intcomma(tombstone.orders)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: CustomerTombstone | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: CustomerTombstone | None = None) -> bool:
        return False
