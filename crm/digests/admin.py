"""Reports in the admin, each with the run that made it; who gets them; and what became of each mail."""

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from crm.admin_bases import PlainAdmin, ReadOnlyAdmin, moment_shown
from crm.digests import outbox, rendering
from crm.digests.models import Mail, Recipient, Report, SuppressedAddress
from crm.digests.wording import money, title
from crm.run_links import run_link


@admin.register(Report)
class ReportAdmin(ReadOnlyAdmin):
    list_display = ["period_shown", "kind", "revenue", "orders", "made", "made_by"]
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


@admin.register(Recipient)
class RecipientAdmin(PlainAdmin):
    list_display = ["name", "email", "frequency", "hour", "zone"]
    list_filter = ["frequency"]
    search_fields = ["name", "email"]
    fields = (
        "name", "email", "frequency", "hour", "zone", ("quiet_from", "quiet_until"), "also_empty", "unsubscribed_at",
    )  # fmt: skip
    readonly_fields = ["unsubscribed_at"]


@admin.register(SuppressedAddress)
class SuppressedAddressAdmin(PlainAdmin):
    list_display = ["email", "kind", "reason", "since"]
    list_filter = ["kind"]
    search_fields = ["email"]

    @admin.display(description="since", ordering="created_at")
    def since(self, row: SuppressedAddress) -> str:
        return moment_shown(row.created_at)


@admin.register(Mail)
class MailAdmin(ReadOnlyAdmin):
    """Each mail and what became of it; only what nobody knows the end of can be settled here."""

    list_display = ["about", "state_shown", "reason", "due", "sent", "planned_by"]
    list_filter = ["state", "kind"]
    search_fields = ["key", "=order", "recipient__email"]
    search_help_text = "Part of what it is about, such as 2026-11-21, an order's number, or a recipient's address"
    date_hierarchy = "created_at"
    fields = readonly_fields = (
        "about", "recipient", "report", "order", "state_shown", "reason", "due", "tries", "tried_at", "sent",
        "planned_by",
    )  # fmt: skip
    actions = ["arrived", "send_again"]

    @admin.action(description="Has arrived", permissions=["settle"])
    def arrived(self, request: HttpRequest, queryset: QuerySet[Mail]) -> None:
        self._settle(request, queryset, "has arrived", arrived=True)

    @admin.action(description="Send again", permissions=["settle"])
    def send_again(self, request: HttpRequest, queryset: QuerySet[Mail]) -> None:
        self._settle(request, queryset, "is sent again", arrived=False)

    def has_settle_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("crm.change_mail"))

    def _settle(self, request: HttpRequest, queryset: QuerySet[Mail], what: str, *, arrived: bool) -> None:
        settled = outbox.settle(list(queryset.values_list("pk", flat=True)), arrived=arrived)
        for mail in settled:
            self.log_change(request, mail, f"Said that it {what}.")
            self.message_user(request, f"{mail} {what}.", messages.SUCCESS)
        if left := queryset.count() - len(settled):
            text = f"{left} mails were left alone: what became of them is known."
            self.message_user(request, text, messages.WARNING)

    @admin.display(description="planned by run", ordering="run_key")
    def planned_by(self, mail: Mail) -> str:
        return run_link(mail.run_key)

    @admin.display(description="about", ordering="key")
    def about(self, mail: Mail) -> str:
        return mail.key

    @admin.display(description="state", ordering="state")
    def state_shown(self, mail: Mail) -> str:
        return format_html('<span class="crm-status crm-mail-{}">{}</span>', mail.state, mail.get_state_display())

    @admin.display(description="due", ordering="due_at")
    def due(self, mail: Mail) -> str:
        return moment_shown(mail.due_at)

    @admin.display(description="sent", ordering="sent_at")
    def sent(self, mail: Mail) -> str:
        return moment_shown(mail.sent_at) if mail.sent_at else ""
