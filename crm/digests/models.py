"""What is kept of reports, of those who get them by mail, and of each mail."""

from zoneinfo import ZoneInfo, available_timezones

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone


def zone_validator(name: str) -> None:
    """Refuse a name of no zone."""
    try:
        # The set first: ZoneInfo opens a file of that name.
        known = name in available_timezones() and bool(ZoneInfo(name))
    except (KeyError, ValueError, OSError):
        known = False
    if not known:
        raise ValidationError("There is no time zone of this name. Enter one such as Europe/Paris.")


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


class Recipient(models.Model):
    """Somebody who gets reports by mail, and when. Unique: the address, whatever the case of its letters.

    *hour* and quiet hours are on the clock of *zone*, or of the business where that is empty. In quiet hours, from
    *quiet_from* until just before *quiet_until*, no mail goes out; they may lie over midnight.
    """

    class Frequency(models.TextChoices):
        DAILY = "daily", "Every day"
        WEEKLY = "weekly", "Every week"
        OFF = "off", "Never"

    name = models.CharField(max_length=200)
    email = models.EmailField("e-mail")
    frequency = models.CharField("how often", max_length=6, choices=Frequency, default=Frequency.DAILY)
    hour = models.PositiveSmallIntegerField("at what hour", default=8, validators=[MaxValueValidator(23)])
    zone = models.CharField(
        "time zone",
        max_length=64,
        blank=True,
        validators=[zone_validator],
        help_text="Empty: the zone of the business.",
    )
    quiet_from = models.PositiveSmallIntegerField(null=True, blank=True, validators=[MaxValueValidator(23)])
    quiet_until = models.PositiveSmallIntegerField(null=True, blank=True, validators=[MaxValueValidator(23)])
    also_empty = models.BooleanField("also when nothing happened", default=False)
    unsubscribed_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(
                Lower("email"),
                name="crm_recipient_email_unique",
                violation_error_message="This address gets reports already.",
            ),
            models.CheckConstraint(
                condition=models.Q(frequency__in=["daily", "weekly", "off"]), name="crm_recipient_frequency_known"
            ),
            models.CheckConstraint(condition=models.Q(hour__lte=23), name="crm_recipient_hour"),
            models.CheckConstraint(
                condition=models.Q(quiet_from__isnull=True, quiet_until__isnull=True)
                | models.Q(
                    # A comparison with NULL alone would let one of them be missing.
                    quiet_from__isnull=False,
                    quiet_until__isnull=False,
                    quiet_from__lte=23,
                    quiet_until__lte=23,
                ),
                name="crm_recipient_quiet_hours",
                violation_error_message="Quiet hours need a beginning and an end.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} <{self.email}>"


class SuppressedAddress(models.Model):
    """An address that gets no mail of a kind, or none at all. Unique: address, in small letters, and kind.

    Asked just before each mail: whoever has said no after the mail was planned does not get it.
    """

    class Kind(models.TextChoices):
        ALL = "", "All mails"
        DIGEST = "digest", "Reports"
        REMINDER = "reminder", "Reminders"

    email = models.EmailField("e-mail")
    kind = models.CharField("mails", max_length=8, choices=Kind, default="", blank=True)
    reason = models.CharField(max_length=200)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-created_at", "-pk"]
        verbose_name_plural = "suppressed addresses"
        constraints = [
            models.UniqueConstraint(Lower("email"), "kind", name="crm_suppressed_once"),
            models.CheckConstraint(
                condition=models.Q(kind__in=["", "digest", "reminder"]), name="crm_suppressed_kind_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.email}: {self.get_kind_display()}"


class Mail(models.Model):
    """One mail that is to go out, did, or will not and why. Unique: *key*, what it is about and for whom.

    The row is there before the mail: "sending" is committed first, so a process that is killed leaves a row that says
    so. Nobody knows then whether the mail went; it becomes "unknown", and a person decides.
    It holds no address: the recipient or the order's customer has it, and takes it along.
    """

    class Kind(models.TextChoices):
        DIGEST = "digest", "Report"
        REMINDER = "reminder", "Reminder"

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        SENDING = "sending", "Sending"
        SENT = "sent", "Sent"
        SKIPPED = "skipped", "Not sent"
        FAILED = "failed", "Failed"
        UNKNOWN = "unknown", "Unknown"

    kind = models.CharField(max_length=8, choices=Kind, editable=False)
    key = models.CharField("about", max_length=200, unique=True, editable=False)
    recipient = models.ForeignKey(Recipient, on_delete=models.SET_NULL, null=True, editable=False, related_name="mails")
    report = models.ForeignKey(Report, on_delete=models.PROTECT, null=True, editable=False, related_name="mails")
    order = models.BigIntegerField("order", null=True, editable=False)
    state = models.CharField(max_length=7, choices=State, default=State.WAITING, editable=False)
    reason = models.CharField(max_length=300, blank=True, editable=False)
    due_at = models.DateTimeField(editable=False)
    tries = models.PositiveSmallIntegerField(default=0, editable=False)
    tried_at = models.DateTimeField(null=True, editable=False)
    sent_at = models.DateTimeField(null=True, editable=False)
    run_key = models.CharField("planned by run", max_length=255, blank=True, editable=False)
    created_at = models.DateTimeField(editable=False)

    class Meta:
        ordering = ["-created_at", "-pk"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(state__in=["waiting", "sending", "sent", "skipped", "failed", "unknown"]),
                name="crm_mail_state_known",
            ),
            models.CheckConstraint(condition=models.Q(kind__in=["digest", "reminder"]), name="crm_mail_kind_known"),
        ]
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="crm_mail_newest"),
            models.Index(fields=["kind", "due_at", "id"], condition=models.Q(state="waiting"), name="crm_mail_waiting"),
            # What a person or the next run has to look at: few, however long the history.
            models.Index(
                fields=["kind", "id"], condition=models.Q(state__in=["sending", "unknown"]), name="crm_mail_unsettled"
            ),
            models.Index(fields=["order"], condition=models.Q(order__isnull=False), name="crm_mail_order"),
        ]

    def __str__(self) -> str:
        return self.key
