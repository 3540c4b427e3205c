"""Pauses that hold now: of everything, of a tag, of one entry."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString

from crons import ledger
from crons.conf import conf
from crons.models import Pause
from crons.presentation import describe_scope
from crons.templatetags.crons_pages import at
from crons.web.admin.acts import END, OperatedAdmin, in_lists
from crons.web.admin.base import may_see


@admin.register(Pause)
class PauseAdmin(OperatedAdmin):
    """What somebody has paused, and that can be ended."""

    list_display = ("what", "since", "till", "by", "reason")
    list_display_links = None
    acts = (END,)
    actions = in_lists(*acts)

    def has_pause_entry_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request) and self.may(request, "crons.pause_entry")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Leave out those that have ended by themselves."""
        return may_see(request, ledger.active_pauses(timezone.now(), conf.database), self.viewing)

    @admin.display(description="paused")
    def what(self, pause: Pause) -> str:
        return describe_scope(pause)

    @admin.display(description="since")
    def since(self, pause: Pause) -> SafeString:
        return at(pause.paused_at, _zone(pause))

    @admin.display(description="until")
    def till(self, pause: Pause) -> str | SafeString:
        return at(pause.until, _zone(pause)) if pause.until else "somebody resumes it"


def _zone(pause: Pause) -> str:
    return pause.entry.zone if pause.entry else conf.time_zone
