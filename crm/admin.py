"""The CRM in Django's admin. What a list shows of other tables comes by subquery: one statement a page."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.humanize.templatetags.humanize import intcomma
from django.db.models import Count, F, IntegerField, Model, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, StreamingHttpResponse
from django.utils import timezone
from django.utils.html import format_html

from crm import confirmations, exports, orders, stock, tokens, tombstones
from crm.admin_bases import PlainAdmin, ReadOnlyAdmin, TabularInline, moment_shown
from crm.archives import admin as archives_admin  # noqa: F401 (registers what it shows)
from crm.digests import admin as digests_admin  # noqa: F401 (registers what it shows)
from crm.imports import admin as imports_admin  # noqa: F401 (registers what it shows)
from crm.models import Customer, CustomerTombstone, Order, OrderItem, Product, Restock, ServiceToken, StockMovement
from crm.run_links import run_link
from crm.scores import admin as scores_admin  # noqa: F401 (registers what it shows)
from crm.webhooks import admin as webhooks_admin  # noqa: F401 (registers what it shows)
from crm.webhooks import events


def _counted(model: type[Model], foreign_key: str) -> Coalesce:
    """Count the rows of *model* that point at a row, by subquery: a join would multiply with other joins."""
    rows = model._default_manager.filter(**{foreign_key: OuterRef("pk")}).order_by().values(foreign_key)
    return Coalesce(Subquery(rows.annotate(n=Count("pk")).values("n"), output_field=IntegerField()), 0)


@admin.register(Customer)
class CustomerAdmin(PlainAdmin):
    list_display = ["name", "email", "phone", "signed_up", "last_order", "order_count"]
    search_fields = ["name", "email", "phone"]
    search_help_text = "Name, e-mail address or phone number"
    actions = ["export"]
    date_hierarchy = "created_at"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Customer]:
        newest = Order.objects.filter(customer=OuterRef("pk")).order_by("-ordered_at")
        rows: QuerySet[Customer] = super().get_queryset(request)
        return rows.annotate(_orders=_counted(Order, "customer"), _last=Subquery(newest.values("ordered_at")[:1]))

    @admin.action(description="Export the selected customers as CSV", permissions=["view"])
    def export(self, request: HttpRequest, queryset: QuerySet[Customer]) -> StreamingHttpResponse:
        return exports.response(exports.CUSTOMERS, queryset, request)

    @admin.display(description="signed up", ordering="created_at")
    def signed_up(self, customer: Customer) -> str:
        return moment_shown(customer.created_at)

    @admin.display(description="last order", ordering=F("_last").desc(nulls_last=True))
    def last_order(self, customer: Any) -> str:
        return moment_shown(customer._last) if customer._last else "never"

    @admin.display(description="orders", ordering="_orders")
    def order_count(self, customer: Any) -> str:
        return intcomma(customer._orders)


@admin.register(Product)
class ProductAdmin(PlainAdmin):
    list_display = ["name", "price_shown", "stock_shown"]
    search_fields = ["name"]

    def save_model(self, request: HttpRequest, obj: Product, form: Any, change: bool) -> None:
        """Save; a new stock leaves a movement, and one that was not touched stays what a sale has left meanwhile."""
        wanted = obj.stock
        obj.stock = stock.locked([obj.pk])[obj.pk].stock if change else 0
        super().save_model(request, obj, form, change)
        if "stock" in form.changed_data:
            difference = (obj, wanted - obj.stock, "")
            stock.move([difference], StockMovement.Reason.CORRECTION, now=timezone.now())

    @admin.display(description="price", ordering="price")
    def price_shown(self, product: Product) -> str:
        return intcomma(product.price)

    @admin.display(description="stock", ordering="stock")
    def stock_shown(self, product: Product) -> str:
        return intcomma(product.stock)


class OrderItemInline(TabularInline):
    model = OrderItem
    autocomplete_fields = ["product"]
    extra = 0

    def get_queryset(self, request: HttpRequest) -> QuerySet[OrderItem]:
        return super().get_queryset(request).select_related("product")


@admin.register(Order)
class OrderAdmin(PlainAdmin):
    list_display = ["__str__", "customer_name", "status_shown", "ordered", "items_shown", "total_shown"]
    list_filter = ["status", "confirmation"]
    list_select_related = ["customer"]
    search_fields = ["=id", "customer__name", "customer__email"]
    search_help_text = "Number of the order, name or e-mail address of the customer"
    autocomplete_fields = ["customer"]
    readonly_fields = ["total", "confirmation"]
    actions = ["export", "confirm_again", "confirmation_arrived"]
    date_hierarchy = "ordered_at"
    inlines = [OrderItemInline]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Order]:
        rows: QuerySet[Order] = super().get_queryset(request)
        return rows.annotate(_items=_counted(OrderItem, "order"))

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        orders.update_total(form.instance.pk)
        order = Order.objects.get(pk=form.instance.pk)
        if not change:
            events.orders_created([(order, list(order.items.all()))], now=timezone.now())
        elif "status" in form.changed_data:
            events.order_status_changed(order, form.initial["status"], now=timezone.now())

    @admin.action(description="Export the selected orders as CSV", permissions=["view"])
    def export(self, request: HttpRequest, queryset: QuerySet[Order]) -> StreamingHttpResponse:
        return exports.response(exports.ORDERS, queryset, request)

    @admin.action(description="Send the confirmation again", permissions=["change"])
    def confirm_again(self, request: HttpRequest, queryset: QuerySet[Order]) -> None:
        self._settle(request, queryset, "is sent again", arrived=False)

    @admin.action(description="Confirmation has arrived", permissions=["change"])
    def confirmation_arrived(self, request: HttpRequest, queryset: QuerySet[Order]) -> None:
        self._settle(request, queryset, "has arrived", arrived=True)

    def _settle(self, request: HttpRequest, queryset: QuerySet[Order], what: str, *, arrived: bool) -> None:
        settled = confirmations.settle(list(queryset.values_list("pk", flat=True)), arrived=arrived)
        for order in Order.objects.filter(pk__in=settled):
            self.log_change(request, order, f"Said that its confirmation {what}.")
            self.message_user(request, f"{order}: the confirmation {what}.", messages.SUCCESS)
        if left := queryset.count() - len(settled):
            text = f"{left} orders were left alone: their confirmations are not ones whose sender was cut off."
            self.message_user(request, text, messages.WARNING)

    @admin.display(description="customer", ordering="customer__name")
    def customer_name(self, order: Order) -> str:
        return order.customer.name

    @admin.display(description="status", ordering="status")
    def status_shown(self, order: Order) -> str:
        text = order.get_status_display()
        return format_html('<span class="crm-status crm-status-{}">{}</span>', order.status, text)

    @admin.display(description="ordered", ordering="ordered_at")
    def ordered(self, order: Order) -> str:
        return moment_shown(order.ordered_at)

    @admin.display(description="items", ordering="_items")
    def items_shown(self, order: Any) -> str:
        return intcomma(order._items)

    @admin.display(description="total", ordering="total")
    def total_shown(self, order: Order) -> str:
        return intcomma(order.total)


@admin.register(CustomerTombstone)
class CustomerTombstoneAdmin(ReadOnlyAdmin):
    list_display = ["deleted", "became", "reason", "orders_shown", "run"]
    list_filter = ["became"]
    search_fields = ["run_key"]
    search_help_text = "The customer's whole e-mail address or id, or part of the run"
    date_hierarchy = "deleted_at"

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[CustomerTombstone], search_term: str
    ) -> tuple[QuerySet[CustomerTombstone], bool]:
        found, may_repeat = super().get_search_results(request, queryset, search_term)
        if search_term:
            found = found | (queryset & tombstones.tombstones_of(search_term))
        return found, may_repeat

    @admin.display(description="deleted", ordering="deleted_at")
    def deleted(self, tombstone: CustomerTombstone) -> str:
        return moment_shown(tombstone.deleted_at)

    @admin.display(description="run", ordering="run_key")
    def run(self, tombstone: CustomerTombstone) -> str:
        return run_link(tombstone.run_key)

    @admin.display(description="orders deleted along", ordering="orders")
    def orders_shown(self, tombstone: CustomerTombstone) -> str:
        return intcomma(tombstone.orders)


@admin.register(StockMovement)
class StockMovementAdmin(ReadOnlyAdmin):
    list_display = ["moved", "product_name", "change", "reason", "stock_after", "made_by"]
    list_filter = ["reason"]
    list_select_related = ["product"]
    search_fields = ["=key"]
    search_help_text = "The run's key, or the order such as order-17"
    date_hierarchy = "created_at"
    fields = readonly_fields = ("product", "delta", "reason", "made_by", "stock_after", "created_at")

    @admin.display(description="moved", ordering="created_at")
    def moved(self, movement: StockMovement) -> str:
        return moment_shown(movement.created_at)

    @admin.display(description="product", ordering="product__name")
    def product_name(self, movement: StockMovement) -> str:
        return movement.product.name

    @admin.display(description="run or order", ordering="key")
    def made_by(self, movement: StockMovement) -> str:
        return run_link(movement.key)

    @admin.display(description="change", ordering="delta")
    def change(self, movement: StockMovement) -> str:
        return f"{movement.delta:+}"


@admin.register(Restock)
class RestockAdmin(ReadOnlyAdmin):
    list_display = ["key", "restocked", "count", "run"]
    search_fields = ["=key"]
    search_help_text = "The run's key"
    fields = readonly_fields = ("run", "created_at", "count")

    @admin.display(description="run", ordering="key")
    def run(self, restock: Restock) -> str:
        return run_link(restock.key)

    @admin.display(description="restocked", ordering="created_at")
    def restocked(self, restock: Restock) -> str:
        return moment_shown(restock.created_at)


@admin.register(ServiceToken)
class ServiceTokenAdmin(ReadOnlyAdmin):
    """Tokens can be seen and closed here; made and replaced where their text is shown to one person only."""

    list_display = ["prefix", "name", "state", "scopes_shown", "expires", "last_used"]
    search_fields = ["name", "=prefix"]
    search_help_text = "Name, or the eight letters after crm_"
    fields = readonly_fields = (
        "prefix", "name", "state", "scopes_shown", "trusted_only", "created_at", "expires_at", "revoked_at",
        "last_used_at",
    )  # fmt: skip
    actions = ["revoke"]

    @admin.action(description="Revoke the selected tokens at once", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ServiceToken]) -> None:
        for row in queryset.filter(revoked_at=None):
            self.log_change(request, tokens.revoke(row.prefix), "Revoked.")
            self.message_user(request, f"{row} is revoked: what uses it is refused from now on.", messages.WARNING)

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("crm.change_servicetoken"))

    @admin.display(description="state")
    def state(self, token: ServiceToken) -> str:
        return tokens.state_of(token, timezone.now())

    @admin.display(description="scopes")
    def scopes_shown(self, token: ServiceToken) -> str:
        return ", ".join(token.scopes)

    @admin.display(description="expires", ordering="expires_at")
    def expires(self, token: ServiceToken) -> str:
        return moment_shown(token.expires_at)

    @admin.display(description="last used", ordering=F("last_used_at").desc(nulls_last=True))
    def last_used(self, token: ServiceToken) -> str:
        return moment_shown(token.last_used_at) if token.last_used_at else "never"
