"""What else the ledger keeps, to be looked at: incidents, messages, schedulers, who did what."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString

from crons import models
from crons.conf import conf
from crons.hosts.instances import is_gone
from crons.presentation import Cell
from crons.templatetags.crons_pages import at
from crons.watch import notice_of
from crons.web.admin.base import EntryRowsAdmin, ReadOnlyAdmin, cell_html

WITHHELD = "What it says is shown to who has the permission crons.view_attempt: it may hold what a job wrote."


@admin.register(models.Incident)
class IncidentAdmin(EntryRowsAdmin):
    """What is or was wrong."""

    list_display = ("rule", "entry", "summary", "count", "opened", "closed")
    list_filter = ("rule",)
    raw_id_fields = ("entry", "run")
    ordering = ("-pk",)

    @admin.display(description="opened")
    def opened(self, incident: models.Incident) -> str | SafeString:
        return _moment(incident.opened_at, incident.entry)

    @admin.display(description="closed")
    def closed(self, incident: models.Incident) -> str | SafeString:
        return _moment(incident.closed_at, incident.entry) or "still open"


@admin.register(models.Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    """Messages about incidents, each told once."""

    list_display = ("subject", "channel", "state", "tries", "next_try", "sent")
    list_filter = ("state", "channel")
    raw_id_fields = ("incident",)
    exclude = ("notice",)
    readonly_fields = ("text",)
    ordering = ("-pk",)

    @admin.display(description="text")
    def text(self, delivery: models.Delivery) -> str:
        return notice_of(delivery).as_text()

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """Leave the text out for who may not read what jobs wrote: the end of it stands in the message."""
        entry = obj.incident.entry if isinstance(obj, models.Delivery) else None
        if self.may(request, "crons.view_attempt", entry):
            return super().get_fieldsets(request, obj)
        fields = [name for name in self.get_fields(request, obj) if name != "text"]
        return [(None, {"fields": fields, "description": WITHHELD})]

    @admin.display(description="next try")
    def next_try(self, delivery: models.Delivery) -> str | SafeString:
        return _moment(delivery.next_try_at)

    @admin.display(description="sent")
    def sent(self, delivery: models.Delivery) -> str | SafeString:
        return _moment(delivery.sent_at)


@admin.register(models.Heartbeat)
class HeartbeatAdmin(ReadOnlyAdmin):
    """Schedulers that live."""

    list_display = ("kind", "host", "pid_shown", "release", "started", "seen", "stands")
    ordering = ("host", "-started_at")

    @admin.display(description="pid")
    def pid_shown(self, beat: models.Heartbeat) -> str:
        """Write the number without the marks of thousands."""
        return str(beat.pid)

    @admin.display(description="started")
    def started(self, beat: models.Heartbeat) -> str | SafeString:
        return _moment(beat.started_at)

    @admin.display(description="last seen")
    def seen(self, beat: models.Heartbeat) -> str | SafeString:
        return _moment(beat.beat_at)

    @admin.display(description="state")
    def stands(self, beat: models.Heartbeat) -> SafeString:
        if is_gone(beat.instance, beat.boot_id):
            return cell_html(Cell("killed", "bad"))
        if beat.expected_by < timezone.now():
            return cell_html(Cell("silent", "bad"))
        return cell_html(Cell("stopping", "warn") if beat.draining else Cell("running"))


@admin.register(models.AuditEvent)
class AuditEventAdmin(ReadOnlyAdmin):
    """Who did what."""

    list_display = ("when", "actor", "verb", "subject_type", "subject", "reason")
    list_filter = ("verb",)
    search_fields = ("=actor", "=subject")
    ordering = ("-pk",)

    @admin.display(description="at")
    def when(self, event: models.AuditEvent) -> str | SafeString:
        return _moment(event.at)


def _moment(moment: datetime | None, entry: models.Entry | None = None) -> str | SafeString:
    return at(moment, entry.zone if entry else conf.time_zone) if moment else ""
