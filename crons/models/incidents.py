"""What is wrong over time, and what is told of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models

from crons.columns import RowJSONField
from crons.models.entries import Entry
from crons.models.rows import LedgerRow
from crons.models.runs import Run

if TYPE_CHECKING:  # mypy's plugin knows what a DateTimeField holds, with null=True and without
    from django.db.models import DateTimeField as RowDateTimeField
else:
    from crons.columns import RowDateTimeField


class Incident(LedgerRow):
    """Something that is wrong over time. Unique: one open incident per rule and what it is about (*open_key*).

    *key* is what *open_key* is while it is open; *gone_at*: since when its rule finds it no more, of one that stays
    open for a while because it came back before. *data*: since when it is so, what to do, what has been told of.
    """

    rule = models.CharField(max_length=20)
    entry = models.ForeignKey(Entry, on_delete=models.CASCADE, null=True, related_name="incidents")
    key = models.CharField(max_length=150, blank=True, default="", db_default="")
    open_key = models.CharField(max_length=150, null=True, unique=True)
    severity = models.CharField(max_length=10, default="warning", db_default="warning")
    fingerprint = models.CharField(max_length=64, blank=True, default="")
    summary = models.CharField(max_length=255)
    run = models.ForeignKey(Run, on_delete=models.SET_NULL, null=True, related_name="+")
    count = models.PositiveIntegerField(default=1)
    opened_at = RowDateTimeField(db_index=True)
    changed_at = RowDateTimeField()
    closed_at = RowDateTimeField(null=True)
    gone_at = RowDateTimeField(null=True)
    data = RowJSONField(default=dict)

    acknowledged_at = RowDateTimeField(null=True)
    acknowledged_by = models.CharField(max_length=150, blank=True, default="", db_default="")
    acknowledged_reason = models.CharField(max_length=255, blank=True, default="", db_default="")
    snoozed_until = RowDateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["key", "-closed_at"], name="crons_incident_key")]
        permissions = [("acknowledge_incident", "Can acknowledge and snooze incident")]

    def __str__(self) -> str:
        return self.summary


class Delivery(LedgerRow):
    """One message about an incident over one channel. Unique: (incident, event, channel), so that it is sent once.

    *notice*: what to tell, as data (`crons.watch.alerts.Notice`); each channel says it in its own form.
    *state*: pending, sent, failed (given up) or dropped (a reminder of what is over, or was acknowledged).
    *held*: what waits for the end of a quiet time, and comes with all others of it as one message.
    *taken_at*, *message*: when somebody began to send it last, and as what; several rows may be one message.
    *failed_at*: since when it could not be sent; NULL where it was, or was not tried.
    """

    incident = models.ForeignKey(Incident, on_delete=models.CASCADE, related_name="deliveries")
    event = models.CharField(max_length=100)
    channel = models.CharField(max_length=50)
    subject = models.CharField(max_length=255)
    notice = RowJSONField(default=dict)
    state = models.CharField(max_length=10, default="pending")
    tries = models.PositiveIntegerField(default=0)
    next_try_at = RowDateTimeField(null=True, db_index=True)
    sent_at = RowDateTimeField(null=True)
    error = models.TextField(blank=True, default="")
    held = models.BooleanField(default=False, db_default=False)
    taken_at = RowDateTimeField(null=True)
    message = models.CharField(max_length=64, blank=True, default="", db_default="")
    failed_at = RowDateTimeField(null=True)

    class Meta:
        verbose_name_plural = "deliveries"
        indexes = [
            models.Index(fields=["channel", "taken_at"], name="crons_delivery_taken"),
            models.Index(
                fields=["channel", "failed_at"],
                name="crons_delivery_failing",
                condition=models.Q(failed_at__isnull=False),
            ),
        ]
        constraints = [models.UniqueConstraint(fields=["incident", "event", "channel"], name="crons_delivery_once")]
