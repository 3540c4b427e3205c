"""What is kept of reports and of the mails that carry them."""

from django.db import models


class Report(models.Model):
    """What one day or week of the shop came to, counted once. Unique: kind and period.

    *data* holds all that a page or a mail shows of it (crm.digests.figures says what): rendered again, it is the same
    byte by byte. *run_key* and *run* name the run that counted.
    """

    class Kind(models.TextChoices):
        DAILY = "daily", "Daily"
        WEEKLY = "weekly", "Weekly"

    kind = models.CharField(max_length=6, choices=Kind, editable=False)
    period = models.CharField(max_length=10, editable=False)
    since = models.DateTimeField(editable=False)
    until = models.DateTimeField(editable=False)
    data = models.JSONField(editable=False)
    run_key = models.CharField(max_length=255, blank=True, editable=False)
    run = models.BigIntegerField(null=True, editable=False)
    created_at = models.DateTimeField(editable=False)

    class Meta:
        ordering = ["-until", "-pk"]
        constraints = [
            models.UniqueConstraint(fields=["kind", "period"], name="crm_report_once"),
            models.CheckConstraint(condition=models.Q(kind__in=["daily", "weekly"]), name="crm_report_kind_known"),
            models.CheckConstraint(condition=models.Q(since__lt=models.F("until")), name="crm_report_has_length"),
        ]
        indexes = [models.Index(fields=["-until", "-id"], name="crm_report_newest")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} report {self.period}"
