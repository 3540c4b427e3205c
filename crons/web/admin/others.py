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
from crons.web.admin.base import LookOnly, OfEntries, shown

WITHHELD = "What it says is shown to who has the permission crons.view_attempt: it may hold what a job wrote."


@admin.register(models.Incident)
class IncidentAdmin(OfEntries):
    """What is or was wrong."""

    list_display = ("rule", "entry", "summary", "count", "opened", "closed")
    list_filter = ("rule",)
    raw_id_fields = ("entry", "run")
    ordering = ("-pk",)

    @admin.display(description="opened")
    def opened(self, incident: models.Incident) -> str | SafeString:
        """Write when it was opened, in the entry's zone."""
        return _moment(incident.opened_at, incident.entry)

    @admin.display(description="closed")
    def closed(self, incident: models.Incident) -> str | SafeString:
        """Write when it was closed, or that it is not."""
        return _moment(incident.closed_at, incident.entry) or "still open"


@admin.register(models.Delivery)
class DeliveryAdmin(LookOnly):
    """Messages about incidents, each told once."""

    list_display = ("subject", "channel", "state", "tries", "next_try", "sent")
    list_filter = ("state", "channel")
    raw_id_fields = ("incident",)
    ordering = ("-pk",)

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """Leave the text out for who may not read what jobs wrote: the end of it stands in the message."""
        if request.user.has_perm("crons.view_attempt"):
            return super().get_fieldsets(request, obj)
        fields = [name for name in self.get_fields(request, obj) if name != "text"]
        return [(None, {"fields": fields, "description": WITHHELD})]

    @admin.display(description="next try")
    def next_try(self, delivery: models.Delivery) -> str | SafeString:
        """Write when it is tried again."""
        return _moment(delivery.next_try_at)

    @admin.display(description="sent")
    def sent(self, delivery: models.Delivery) -> str | SafeString:
        """Write when it was sent."""
        return _moment(delivery.sent_at)


@admin.register(models.Heartbeat)
class HeartbeatAdmin(LookOnly):
    """Schedulers that live."""

    list_display = ("kind", "host", "pid_shown", "release", "started", "seen", "stands")
    ordering = ("host", "-started_at")

    @admin.display(description="pid")
    def pid_shown(self, beat: models.Heartbeat) -> str:
        """Write the number without the marks of thousands."""
        return str(beat.pid)

    @admin.display(description="started")
    def started(self, beat: models.Heartbeat) -> str | SafeString:
        """Write since when it runs."""
        return _moment(beat.started_at)

    @admin.display(description="last seen")
    def seen(self, beat: models.Heartbeat) -> str | SafeString:
        """Write when it last gave a sign."""
        return _moment(beat.beat_at)

    @admin.display(description="state")
    def stands(self, beat: models.Heartbeat) -> SafeString:
        """Say whether it lives."""
        if is_gone(beat.instance, beat.boot_id):
            return shown(Cell("killed", "bad"))
        if beat.expected_by < timezone.now():
            return shown(Cell("silent", "bad"))
        return shown(Cell("stopping", "warn") if beat.draining else Cell("running"))


@admin.register(models.AuditEvent)
class AuditEventAdmin(LookOnly):
    """Who did what."""

    list_display = ("when", "actor", "verb", "subject_type", "subject", "reason")
    list_filter = ("verb",)
    search_fields = ("=actor", "=subject")
    ordering = ("-pk",)

    @admin.display(description="at")
    def when(self, event: models.AuditEvent) -> str | SafeString:
        """Write when it was done."""
        return _moment(event.at)


def _moment(moment: datetime | None, entry: models.Entry | None = None) -> str | SafeString:
    return at(moment, entry.zone if entry else conf.time_zone) if moment else ""
