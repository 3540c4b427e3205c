"""The page of the archives: what lies where, which run moved it, and how long each table keeps its rows."""

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.contrib.humanize.templatetags.humanize import intcomma
from django.http import HttpRequest
from django.http.response import HttpResponse
from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.utils.html import format_html

from crm.admin_bases import ReadOnlyAdmin, moment_shown
from crm.archives import log_files
from crm.archives.files import path_of
from crm.archives.models import Archive
from crm.archives.tables import TABLES


@admin.register(Archive)
class ArchiveAdmin(ReadOnlyAdmin):
    """To be looked at only: an archive comes back by manage.py restore_archive, and nothing here can lose one."""

    list_display = ["name", "state", "window", "records_shown", "size", "moved", "run_link"]
    list_filter = ["table", "state"]
    search_fields = ["name", "=run_key"]
    search_help_text = "Name, such as orders/2023-04, or the run's key"
    fields = readonly_fields = (
        "name", "state", "window", "records_shown", "rows", "kept", "file", "size", "sha256", "run_link", "run_key",
        "moved", "finished_at", "restored_at", "held_until", "bring_back",
    )  # fmt: skip
    change_list_template = "admin/crm/archive/change_list.html"

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        names = [*((name, table.setting) for name, table in TABLES.items()), (log_files.NAME, log_files.SETTING)]
        kept = [(Archive.Table(name).label, setting, getattr(settings, setting)) for name, setting in names]
        page: HttpResponse = super().changelist_view(request, {"kept": kept} | (extra_context or {}))
        return page

    @admin.display(description="window", ordering="since")
    def window(self, archive: Archive) -> str:
        return f"{moment_shown(archive.since)} – {moment_shown(archive.until)}"

    @admin.display(description="records", ordering="records")
    def records_shown(self, archive: Archive) -> str:
        rest = "" if archive.out == archive.records else f", {intcomma(archive.out)} out of their table"
        return f"{intcomma(archive.records)}{rest}"

    @admin.display(description="size", ordering="size_bytes")
    def size(self, archive: Archive) -> str:
        return filesizeformat(archive.size_bytes)

    @admin.display(description="moved", ordering="created_at")
    def moved(self, archive: Archive) -> str:
        return moment_shown(archive.created_at)

    @admin.display(description="run", ordering="run")
    def run_link(self, archive: Archive) -> str:
        if archive.run is None:
            return "by hand"
        return format_html('<a href="{}">run {}</a>', reverse("crons:run", args=[archive.run]), archive.run)

    @admin.display(description="file")
    def file(self, archive: Archive) -> str:
        return str(path_of(archive.name))

    @admin.display(description="to bring it back")
    def bring_back(self, archive: Archive) -> str:
        return format_html("<code>manage.py restore_archive {}</code>", archive.name)
