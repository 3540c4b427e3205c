"""One row for each file that old rows were moved to: what is in it, and how far the move has come."""

from django.db import models


class Archive(models.Model):
    """A file of old records, and the half-open window they are of. Unique: its name, such as `orders/2023-04.1`.

    A window has a further part where more of it came of age later, or where one file would have become too big.
    The row is made when the file stands whole on the disk; only then is the first record deleted.
    """

    class Table(models.TextChoices):
        CUSTOMERS = "customers", "Customers"
        ORDERS = "orders", "Orders"
        MOVEMENTS = "movements", "Stock movements"
        LOGS = "logs", "Log files"

    class State(models.TextChoices):
        DELETING = "deleting", "Copied, being deleted"
        ARCHIVED = "archived", "Archived"
        RESTORED = "restored", "Restored"

    name = models.CharField(max_length=200, unique=True, editable=False)
    table = models.CharField(max_length=10, choices=Table, editable=False)
    since = models.DateTimeField(editable=False)
    until = models.DateTimeField(editable=False)
    state = models.CharField(max_length=8, choices=State, default=State.DELETING, editable=False)
    records = models.IntegerField(editable=False)
    rows = models.JSONField(default=dict, editable=False)
    sha256 = models.CharField("SHA-256", max_length=64, editable=False)
    size_bytes = models.BigIntegerField(editable=False)
    # How many records of the file the deletion is through with: where the next attempt goes on.
    position = models.IntegerField(default=0, editable=False)
    # How many of them are out of their table now, and what the orders among them came to, but for cancelled ones.
    out = models.IntegerField(default=0, editable=False)
    cents_out = models.BigIntegerField(default=0, editable=False)
    kept = models.JSONField(default=dict, editable=False)
    run = models.BigIntegerField(null=True, editable=False)
    run_key = models.CharField(max_length=200, blank=True, editable=False)
    created_at = models.DateTimeField(editable=False)
    finished_at = models.DateTimeField(null=True, editable=False)
    restored_at = models.DateTimeField(null=True, editable=False)
    # What was asked back is not taken away again by the next night.
    held_until = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ["-created_at", "-pk"]
        constraints = [
            models.CheckConstraint(condition=models.Q(since__lt=models.F("until")), name="crm_archive_has_window"),
            models.CheckConstraint(
                condition=models.Q(table__in=["customers", "orders", "movements", "logs"]),
                name="crm_archive_table",
            ),
            models.CheckConstraint(
                condition=models.Q(state__in=["deleting", "archived", "restored"]), name="crm_archive_state_known"
            ),
            models.CheckConstraint(
                condition=models.Q(position__gte=0, position__lte=models.F("records")),
                name="crm_archive_position",
            ),
        ]
        indexes = [
            models.Index(fields=["table", "state"], name="crm_archive_table_state"),
            models.Index(fields=["-created_at", "-id"], name="crm_archive_newest"),
        ]

    def __str__(self) -> str:
        return self.name
