"""The ledger's rows in Django's admin, to be looked at: nothing is added, changed or deleted here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from crons import models

if TYPE_CHECKING:
    ReadOnly = admin.ModelAdmin[Model]
else:
    ReadOnly = admin.ModelAdmin


class LookOnly(ReadOnly):
    """Rows are the ledger's to write: one changed by hand would make its promises untrue."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody may."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody may."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody may."""
        return False


@admin.register(models.Entry)
class EntryAdmin(LookOnly):
    """Jobs on their schedules."""

    list_display = ("name", "schedule", "zone", "owner", "wake_at", "accounted_until", "paused_at", "retired_at")
    list_filter = ("source", "owner")
    search_fields = ("name", "job", "description")


@admin.register(models.Run)
class RunAdmin(LookOnly):
    """Slots and requests, newest first."""

    list_display = ("id", "entry", "kind", "slot_at", "state", "verdict", "reason", "tries", "trigger", "recorded_at")
    list_filter = ("verdict", "state", "kind", "trigger")
    list_select_related = ("entry",)
    raw_id_fields = ("entry",)
    search_fields = ("entry__name", "detail")
    ordering = ("-id",)


@admin.register(models.Range)
class RangeAdmin(LookOnly):
    """Slots written off together."""

    list_display = ("entry", "first_at", "last_at", "count", "verdict", "reason")
    list_filter = ("verdict", "reason")
    list_select_related = ("entry",)
    raw_id_fields = ("entry",)
    ordering = ("-id",)


@admin.register(models.Attempt)
class AttemptAdmin(LookOnly):
    """Tries at runs."""

    list_display = ("id", "run", "number", "executor", "host", "begun_at", "ended_at", "outcome")
    list_filter = ("outcome", "executor", "host")
    list_select_related = ("run__entry",)
    raw_id_fields = ("run",)
    ordering = ("-id",)


@admin.register(models.Incident)
class IncidentAdmin(LookOnly):
    """What is or was wrong."""

    list_display = ("rule", "entry", "summary", "count", "opened_at", "closed_at")
    list_filter = ("rule",)
    list_select_related = ("entry",)
    raw_id_fields = ("entry", "run")
    ordering = ("-id",)


@admin.register(models.Heartbeat)
class HeartbeatAdmin(LookOnly):
    """Schedulers that live."""

    list_display = ("kind", "host", "pid", "release", "started_at", "beat_at", "draining")


@admin.register(models.AuditEvent)
class AuditEventAdmin(LookOnly):
    """Who did what."""

    list_display = ("at", "actor", "verb", "subject_type", "subject", "reason")
    list_filter = ("verb",)
    ordering = ("-id",)
