"""Reports in the admin: to be read, each with the run that made it."""

from django.contrib import admin
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from crm.admin_bases import ReadOnlyAdmin, moment_shown
from crm.digests import rendering
from crm.digests.models import Report
from crm.digests.wording import money, title


@admin.register(Report)
class ReportAdmin(ReadOnlyAdmin):
    list_display = ["period_shown", "kind", "revenue", "orders", "made"]
    list_display_links = ["period_shown"]
    list_filter = ["kind"]
    search_fields = ["=period"]
    search_help_text = "A day or a week, such as 2026-11-21 or 2026-W47"
    date_hierarchy = "since"
    fields = readonly_fields = ("report", "made", "made_by")

    @admin.display(description="period", ordering="until")
    def period_shown(self, report: Report) -> str:
        return title(report.data)

    @admin.display(description="revenue")
    def revenue(self, report: Report) -> str:
        return money(report.data["shop"]["revenue"])

    @admin.display(description="orders")
    def orders(self, report: Report) -> str:
        return f"{report.data['shop']['orders']:,}"

    @admin.display(description="made", ordering="created_at")
    def made(self, report: Report) -> str:
        return moment_shown(report.created_at)

    @admin.display(description="")
    def report(self, report: Report) -> SafeString:
        return rendering.page(report.data)

    @admin.display(description="by run")
    def made_by(self, report: Report) -> str:
        if report.run is None:
            return report.run_key or "no run: called directly"
        return format_html('<a href="{}">run {}</a>', reverse("crons:run", args=[report.run]), report.run)
