"""What else the ledger keeps, to be looked at: incidents, messages, schedulers, who did what."""

from __future__ import annotations

from django.contrib import admin

from crons import models
from crons.admin.base import LookOnly, OfEntries


@admin.register(models.Incident)
class IncidentAdmin(OfEntries):
    """What is or was wrong."""

    list_display = ("rule", "entry", "summary", "count", "opened_at", "closed_at")
    list_filter = ("rule",)
    raw_id_fields = ("entry", "run")
    ordering = ("-pk",)


@admin.register(models.Delivery)
class DeliveryAdmin(LookOnly):
    """Messages about incidents, each told once."""

    list_display = ("subject", "channel", "state", "tries", "next_try_at", "sent_at")
    list_filter = ("state", "channel")
    raw_id_fields = ("incident",)
    ordering = ("-pk",)


@admin.register(models.Heartbeat)
class HeartbeatAdmin(LookOnly):
    """Schedulers that live."""

    list_display = ("kind", "host", "pid", "release", "started_at", "beat_at", "draining")
    ordering = ("host", "-started_at")


@admin.register(models.AuditEvent)
class AuditEventAdmin(LookOnly):
    """Who did what."""

    list_display = ("at", "actor", "verb", "subject_type", "subject", "reason")
    list_filter = ("verb",)
    search_fields = ("=actor", "=subject")
    ordering = ("-pk",)
