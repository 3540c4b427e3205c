"""Imports in the admin: a file is sent, followed, cancelled; its refused rows are downloaded."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html

from crm import exports
from crm.admin_bases import PlainAdmin, ReadOnlyAdmin, moment_shown
from crm.imports import running
from crm.imports.files import NotCsv
from crm.imports.models import CustomerImport
from crons.exceptions import CronsError

PROBLEMS = exports.Sheet(
    "refused-rows", (("id", "pk"), ("row", "row"), ("given", "given"), ("what is wrong", "problem"))
)

if TYPE_CHECKING:
    ModelForm = forms.ModelForm[CustomerImport]
else:
    ModelForm = forms.ModelForm


class FileForm(ModelForm):
    """The file, which is kept when it is looked at: so that it is read once."""

    by = ""
    file = forms.FileField(
        label="CSV file", help_text="In UTF-8; its first line is name,email,phone. At most 20 MB and 200,000 rows."
    )

    class Meta:
        model = CustomerImport
        fields = ()

    def clean_file(self) -> Any:
        """Keep the file, or say why it is none."""
        file = self.cleaned_data["file"]
        try:
            self.instance = running.keep(file.chunks(), file.name, by=self.by, now=timezone.now())
        except NotCsv as error:
            raise ValidationError(str(error)) from error
        return file


@admin.register(CustomerImport)
class CustomerImportAdmin(ReadOnlyAdmin):
    list_display = ["__str__", "started_by", "started", "state", "progress", "made", "refused_shown", "run_link"]
    list_filter = ["state"]
    fields = readonly_fields = (
        "name", "started_by", "created_at", "state", "progress", "made", "refused_shown", "run_link", "ended_at",
    )  # fmt: skip
    actions = ["cancel", "go_on"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Say yes to who may also make customers: that is what comes of it."""
        return bool(PlainAdmin.has_add_permission(self, request) and request.user.has_perm("crm.add_customer"))

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return self.has_add_permission(request)

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return ("file",) if obj is None else self.fields

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return () if obj is None else self.readonly_fields

    def get_form(self, request: HttpRequest, obj: Model | None = None, change: bool = False, **given: Any) -> Any:
        if obj is not None:
            return super().get_form(request, obj, change, **given)
        return type("FileForm", (FileForm,), {"by": request.user.get_username()})

    def save_model(self, request: HttpRequest, obj: CustomerImport, form: Any, change: bool) -> None:
        """Have the import begun; the form has kept it."""
        if run := self._begin(request, obj):
            text = format_html("{} rows are imported by {}.", obj.rows_total, self.run_link(obj, run))
            self.message_user(request, text, messages.SUCCESS)

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.download)
        return [path("<int:pk>/refused.csv", view, name="crm_customerimport_refused"), *super().get_urls()]

    def download(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Answer with the rows that were refused, each with its number, what came, and what was expected."""
        row = get_object_or_404(CustomerImport, pk=pk)
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        response: Any = exports.response(PROBLEMS, row.problems.all(), request)
        return response  # type: ignore[no-any-return]

    @admin.action(description="Cancel: import no more rows", permissions=["cancel"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[CustomerImport]) -> None:
        for row in queryset:
            if running.cancel(row.pk, now=timezone.now()):
                self.log_change(request, row, "Cancelled.")
                self.message_user(request, f"{row} is cancelled; what it has made stays.", messages.WARNING)

    @admin.action(description="Go on, where its run has failed", permissions=["cancel"])
    def go_on(self, request: HttpRequest, queryset: QuerySet[CustomerImport]) -> None:
        for row in queryset.filter(state__in=["waiting", "running"]):
            if run := self._begin(request, row):
                self.log_change(request, row, f"Gone on with, as run {run}.")
                text = format_html("{} goes on as {}.", row, self.run_link(row, run))
                self.message_user(request, text, messages.SUCCESS)

    def _begin(self, request: HttpRequest, row: CustomerImport) -> int | None:
        """Ask for a run; where none can be had, the file stays, and it is said what to do."""
        try:
            return running.request(row, by=request.user.get_username())
        except CronsError as error:
            why = str(error).rstrip(".")
            text = f"{row} is kept, but not begun: {why}. Then choose it in the list, and 'Go on'."
            self.message_user(request, text, messages.ERROR)
            return None

    @admin.display(description="started", ordering="created_at")
    def started(self, row: CustomerImport) -> str:
        return moment_shown(row.created_at)

    @admin.display(description="rows done")
    def progress(self, row: CustomerImport) -> str:
        return f"{row.rows_done:,} of {row.rows_total:,}"

    @admin.display(description="rows refused", ordering="refused")
    def refused_shown(self, row: CustomerImport) -> str:
        if not row.refused:
            return "0"
        url = reverse("admin:crm_customerimport_refused", args=[row.pk])
        return format_html('<a href="{}">{}, as a file</a>', url, row.refused)

    @admin.display(description="run")
    def run_link(self, row: CustomerImport, number: int | None = None) -> str:
        number = number or row.run
        if number is None:
            return "-"
        return format_html('<a href="{}">run {}</a>', reverse("crons:run", args=[number]), number)
