"""Scores in the admin, to be looked at: of each customer, and how each scoring went."""

from typing import Any

from django.contrib import admin
from django.contrib.humanize.templatetags.humanize import intcomma
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe

from crm.admin_bases import ReadOnlyAdmin, moment_shown
from crm.models import CustomerScore, Scoring
from crm.scores import scoring


@admin.register(CustomerScore)
class CustomerScoreAdmin(ReadOnlyAdmin):
    list_display = [
        "customer_name",
        "recency",
        "frequency",
        "monetary",
        "last_order",
        "orders_shown",
        "spent_shown",
        "as_of_shown",
    ]
    list_filter = ["recency", "frequency", "monetary"]
    list_select_related = ["customer"]
    search_fields = ["customer__name", "customer__email"]
    search_help_text = "Name or e-mail address of the customer"
    fields = readonly_fields = (
        "customer", "recency", "frequency", "monetary", "last_order", "orders_shown", "spent_shown", "as_of_shown",
    )  # fmt: skip
    show_full_result_count = False

    @admin.display(description="customer", ordering="customer__name")
    def customer_name(self, row: CustomerScore) -> str:
        return row.customer.name

    @admin.display(description="last order", ordering="last_ordered_at")
    def last_order(self, row: CustomerScore) -> str:
        return moment_shown(row.last_ordered_at)

    @admin.display(description="orders", ordering="orders")
    def orders_shown(self, row: CustomerScore) -> str:
        return intcomma(row.orders)

    @admin.display(description="spent", ordering="spent")
    def spent_shown(self, row: CustomerScore) -> str:
        return intcomma(row.spent)

    @admin.display(description="as of", ordering="as_of")
    def as_of_shown(self, row: CustomerScore) -> str:
        return moment_shown(row.as_of)


@admin.register(Scoring)
class ScoringAdmin(ReadOnlyAdmin):
    list_display = ["as_of", "stage", "progress", "scored", "run_link", "ended"]
    list_filter = ["stage"]
    fields = readonly_fields = (
        "as_of", "orders_from", "stage", "progress", "scored", "limits_shown", "run_link", "started", "ended",
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).defer("tallies")

    @admin.display(description="as of", ordering="until")
    def as_of(self, row: Scoring) -> str:
        return moment_shown(row.until)

    @admin.display(description="of orders from")
    def orders_from(self, row: Scoring) -> str:
        return moment_shown(row.since)

    @admin.display(description="customers")
    def progress(self, row: Scoring) -> str:
        return f"{row.counted:,} counted, {row.examined:,} looked at, of {row.customers:,}"

    @admin.display(description="fifths end at")
    def limits_shown(self, row: Scoring) -> str:
        said = [(f"{name}: {values}",) for name, values in scoring.limits_said(row)]
        return format_html_join(mark_safe("<br>"), "{}", said) or "-"

    @admin.display(description="run")
    def run_link(self, row: Scoring) -> str:
        if row.run is None:
            return "-"
        return format_html('<a href="{}">run {}</a>', reverse("crons:run", args=[row.run]), row.run)

    @admin.display(description="started")
    def started(self, row: Scoring) -> str:
        return moment_shown(row.started_at)

    @admin.display(description="ended", ordering="ended_at")
    def ended(self, row: Scoring) -> str:
        return moment_shown(row.ended_at) if row.ended_at else "not yet"
