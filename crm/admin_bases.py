"""What the admin's classes of the CRM share, and how their lists say a moment."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from django.utils import timezone

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
    TabularInline = admin.TabularInline[Any, Any]
else:
    ModelAdmin, TabularInline = admin.ModelAdmin, admin.TabularInline


class PlainAdmin(ModelAdmin):
    """Lists of fifty, with the CRM's style."""

    list_per_page = 50

    class Media:
        css = {"all": ["crm/admin.css"]}


class ReadOnlyAdmin(PlainAdmin):
    """To be looked at only: what says what happened must not vanish or change by a click."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


def moment_shown(moment: datetime) -> str:
    """Give *moment* to the minute, on the clock of the business."""
    return f"{timezone.localtime(moment):%Y-%m-%d %H:%M}"
