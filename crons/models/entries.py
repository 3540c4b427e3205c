"""What is looked at: entries, and the pauses of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models

from crons.columns import RowJSONField
from crons.models.rows import LedgerRow

if TYPE_CHECKING:  # mypy's plugin knows what a DateTimeField holds, with null=True and without
    from django.db.models import DateTimeField as RowDateTimeField
else:
    from crons.columns import RowDateTimeField


class Entry(LedgerRow):
    """A job on a schedule with arguments: the thing a scheduler looks at. One row per name.

    *accounted_until*: every slot up to here has a run or a range; only planning moves it.
    *wake_at*: when to plan again; NULL means now, far in the future means never.
    *paused_…*: the pause in force, folded from the rows of Pause; *pause_scope* is empty for a pause of its own.
    *policy*: what the declaration said, so that planning needs no code; *overrides*: what a person changed.
    *declared_at*, *declared_by*: when a process last said that its code has this entry, and which; *vouched_until*:
    how long that holds for one without a heartbeat, such as a tick.
    """

    name = models.CharField(max_length=100, unique=True)
    job = models.CharField(max_length=100)
    source = models.CharField(max_length=20, default="code")
    source_ref = models.CharField(max_length=255, blank=True, default="")
    args = RowJSONField(default=dict)
    schedule = models.CharField(max_length=255, blank=True)
    zone = models.CharField(max_length=64)
    zone_hash = models.CharField(max_length=64, blank=True, default="")
    policy = RowJSONField(default=dict)
    overrides = RowJSONField(default=dict)
    description = models.CharField(max_length=255, blank=True, default="")
    owner = models.CharField(max_length=100, blank=True, default="")
    tags = RowJSONField(kind=list, default=list)
    first_seen_at = RowDateTimeField()
    retired_at = RowDateTimeField(null=True)
    declared_at = RowDateTimeField(null=True)
    declared_by = models.CharField(max_length=255, blank=True, default="", db_default="")
    vouched_until = RowDateTimeField(null=True)
    paused_at = RowDateTimeField(null=True)
    paused_until = RowDateTimeField(null=True)
    paused_by = models.CharField(max_length=150, blank=True, default="")
    pause_reason = models.CharField(max_length=255, blank=True, default="")
    pause_scope = models.CharField(max_length=150, blank=True, default="", db_default="")
    parked_reason = models.TextField(blank=True, default="")
    accounted_until = RowDateTimeField()
    wake_at = RowDateTimeField(null=True)
    version = models.PositiveBigIntegerField(default=0)

    class Meta:
        verbose_name_plural = "entries"
        indexes = [
            # With the id, so that a list of many that wake at one moment has an order.
            models.Index(fields=["wake_at", "id"], name="crons_entry_wake"),
            models.Index(fields=["name"], condition=models.Q(paused_at__isnull=False), name="crons_entry_paused"),
            models.Index(fields=["name"], condition=models.Q(retired_at__isnull=False), name="crons_entry_retired"),
            models.Index(fields=["name"], condition=~models.Q(parked_reason=""), name="crons_entry_parked"),
        ]
        permissions = [
            ("run_entry", "Can run entry now"),
            ("pause_entry", "Can pause and resume entry"),
        ]

    def __str__(self) -> str:
        return self.name


class Pause(LedgerRow):
    """What somebody has paused: an entry, a tag (*tag*), or everything (neither). Unique: scope.

    *until*: when it ends by itself; the row is deleted some time after.
    """

    scope = models.CharField(max_length=150, unique=True)
    entry = models.ForeignKey(Entry, on_delete=models.CASCADE, null=True, related_name="pauses")
    tag = models.CharField(max_length=140, blank=True, default="")
    paused_at = RowDateTimeField()
    until = RowDateTimeField(null=True)
    by = models.CharField(max_length=150, blank=True, default="")
    reason = models.CharField(max_length=255, blank=True, default="")

    def __str__(self) -> str:
        return f"pause of {self.scope}"
