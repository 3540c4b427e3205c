"""Who works where: schedulers, what people did, and the one place that this database fires from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models

from crons.columns import RowJSONField
from crons.models.rows import LedgerRow

if TYPE_CHECKING:  # mypy's plugin knows what a DateTimeField holds, with null=True and without
    from django.db.models import DateTimeField as RowDateTimeField
else:
    from crons.columns import RowDateTimeField


class Heartbeat(LedgerRow):
    """A running scheduler's last sign of life. Unique: instance.

    *declares*: the names of the entries that its code declares; NULL where that is not known.
    *troubles*: what keeps it from its work, as [kind, text]; *lacks*: the zones that its machine has no data of.
    """

    instance = models.CharField(max_length=64, unique=True)
    kind = models.CharField(max_length=20)
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    boot_id = models.CharField(max_length=100)
    release = models.CharField(max_length=100, blank=True, default="")
    started_at = RowDateTimeField()
    beat_at = RowDateTimeField()
    expected_by = RowDateTimeField()
    clock_skew_seconds = models.FloatField(default=0)
    draining = models.BooleanField(default=False, db_default=False)
    declares = models.JSONField(null=True)
    troubles = RowJSONField(kind=list, null=True)
    lacks = RowJSONField(kind=list, null=True)

    def __str__(self) -> str:
        return f"{self.kind} on {self.host}"


class AuditEvent(LedgerRow):
    """Who did what to which row, and why. Append only."""

    at = RowDateTimeField(db_index=True)
    actor = models.CharField(max_length=150)
    verb = models.CharField(max_length=30)
    subject_type = models.CharField(max_length=30)
    subject = models.CharField(max_length=150)
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)
    reason = models.CharField(max_length=255, blank=True, default="")

    class Meta:
        indexes = [models.Index(fields=["subject_type", "subject"], name="crons_audit_subject")]


class Deployment(LedgerRow):
    """The one place this database may fire from. At most one row (pk 1)."""

    identity = models.CharField(max_length=128)
    described = models.CharField(max_length=255, blank=True, default="")
    adopted_at = RowDateTimeField()
    adopted_by = models.CharField(max_length=150, blank=True, default="")
