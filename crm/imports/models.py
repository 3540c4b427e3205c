"""The rows of imports: the file in pieces, how far it is, and what is wrong with which of its rows."""

from django.db import models
from django.db.models import Q


class CustomerImport(models.Model):
    """One file of customers. *rows_done* counts the rows that are judged, and is written together with them."""

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        RUNNING = "running", "Running"
        DONE = "done", "Done"
        CANCELLED = "cancelled", "Cancelled"

    name = models.CharField("file", max_length=200, editable=False)
    started_by = models.CharField("by", max_length=150, editable=False)
    size_bytes = models.BigIntegerField(editable=False)
    rows_total = models.IntegerField("rows", editable=False)
    rows_done = models.IntegerField("done", default=0, editable=False)
    made = models.IntegerField("customers made", default=0, editable=False)
    refused = models.IntegerField("rows refused", default=0, editable=False)
    state = models.CharField(max_length=9, choices=State, default=State.WAITING, editable=False)
    run = models.BigIntegerField(null=True, editable=False)
    created_at = models.DateTimeField("started", editable=False)
    ended_at = models.DateTimeField("ended", null=True, editable=False)

    class Meta:
        verbose_name = "import of customers"
        verbose_name_plural = "imports of customers"
        ordering = ["-pk"]
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=["waiting", "running", "done", "cancelled"]), name="crm_import_state_known"
            ),
            models.CheckConstraint(condition=Q(rows_done__lte=models.F("rows_total")), name="crm_import_rows_done"),
        ]

    def __str__(self) -> str:
        return f"Import {self.pk}: {self.name}"


class ImportPiece(models.Model):
    """A piece of an import's file: in the database, so that whichever host runs it has it. Unique: its number."""

    of = models.ForeignKey(CustomerImport, on_delete=models.CASCADE, related_name="pieces", db_index=False)
    number = models.IntegerField()
    content = models.BinaryField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["of", "number"], name="crm_import_piece_once")]

    def __str__(self) -> str:
        return f"Piece {self.number}"


class ImportProblem(models.Model):
    """What is wrong with one row of an import's file. Unique: the row; the header is row 1."""

    of = models.ForeignKey(CustomerImport, on_delete=models.CASCADE, related_name="problems", db_index=False)
    row = models.IntegerField()
    given = models.CharField(max_length=500)
    problem = models.CharField(max_length=500)

    class Meta:
        ordering = ["row"]
        constraints = [models.UniqueConstraint(fields=["of", "row"], name="crm_import_problem_once")]

    def __str__(self) -> str:
        return f"Row {self.row}: {self.problem}"
