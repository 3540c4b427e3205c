"""What became of slots: runs and ranges, the attempts at a run, and what each attempt left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from django.db import models
from django.db.models.expressions import RawSQL

from crons.columns import RowJSONField
from crons.models.entries import Entry
from crons.models.rows import LedgerRow
from crons.verdicts import Kind, Outcome, Reason, State, Verdict

if TYPE_CHECKING:  # mypy's plugin knows what a DateTimeField holds, with null=True and without
    from django.db.models import DateTimeField as RowDateTimeField
else:
    from crons.columns import RowDateTimeField

# Endings that need nobody's attention. Indexes that leave these out stay small and cheap:
# of a million runs they hold the few that a person looks for. `not_well` reads along them.
UNREMARKABLE = ["", "succeeded"]
NOT_WELL = ~models.Q(verdict__in=UNREMARKABLE)
# What waits to be begun has a moment to wake at; what runs or is over has none. Indexes of these rows alone stay as
# small as the queue, however long the history; crons/ledger/queries.py says which statement reads along which.
OPEN = models.Q(wake_at__isnull=False)

M = TypeVar("M", bound=models.Model)


def not_well(rows: models.QuerySet[M], column: str) -> models.QuerySet[M]:
    """Keep the rows that ended other than well; *column* is where their ending stands.

    Written out, not as parameters: else SQLite does not see that an index holds just these.
    """
    words = ", ".join(f"'{word}'" for word in UNREMARKABLE)
    term = f"NOT ({rows.model._meta.db_table}.{column} IN ({words}))"
    return rows.filter(RawSQL(term, (), output_field=models.BooleanField()))


def well(rows: models.QuerySet[M], column: str) -> models.QuerySet[M]:
    """Keep the rows that succeeded; written out, as above."""
    term = f"{rows.model._meta.db_table}.{column} = 'succeeded'"
    return rows.filter(RawSQL(term, (), output_field=models.BooleanField()))


def _choices(words: type[Kind | Outcome | Reason | State | Verdict]) -> list[tuple[str, str]]:
    return [(word.value, word.value.replace("_", " ")) for word in words]


class Run(LedgerRow):
    """One slot of one entry, or one manual request. Unique: (entry, slot), request key, active key.

    *active_key* is the entry's id while an attempt is going, unless the job allows overlap.
    *wake_at*: when it may be begun (again), or is sent again; *start_before*: begun later than this, it is missed.
    *sends*: how often it was sent to be begun elsewhere, since it last became due.
    *asked_at*: when a person last asked for this slot to be run again or after all.
    *effect_key*: what the job gets as context.key, for good; empty for rows from before this column.
    *inspect_at* is set while an incident still has to be considered. *late_seconds*: how long after its slot it was
    first begun, where that is more than the grace; *outage*: the id of the incident that it makes up for.
    *came_second*: how many triggers came to its slot and found it recorded (count), and the first few (who, at).
    """

    entry = models.ForeignKey(Entry, on_delete=models.CASCADE, related_name="runs")
    kind = models.CharField(max_length=10, choices=_choices(Kind), default=Kind.SLOT)
    slot_at = RowDateTimeField(null=True)
    request_key = models.CharField(max_length=150, null=True, unique=True)
    effect_key = models.CharField(max_length=255, blank=True, default="", db_default="")
    requested_by = models.CharField(max_length=150, blank=True, default="", db_default="")
    args = RowJSONField(null=True)
    planned_at = RowDateTimeField()
    state = models.CharField(max_length=10, choices=_choices(State), default=State.DUE)
    verdict = models.CharField(max_length=12, choices=_choices(Verdict), blank=True, default="")
    reason = models.CharField(max_length=20, choices=_choices(Reason), blank=True, default="")
    detail = models.CharField(max_length=255, blank=True, default="")
    active_key = models.BigIntegerField(null=True, unique=True)
    tries = models.PositiveIntegerField(default=0)
    sends = models.PositiveIntegerField(default=0, db_default=0)
    current_attempt = models.BigIntegerField(null=True)
    wake_at = RowDateTimeField(null=True)
    start_before = RowDateTimeField(null=True)
    trigger = models.CharField(max_length=50)
    recorded_at = RowDateTimeField()
    ended_at = RowDateTimeField(null=True)
    asked_at = RowDateTimeField(null=True)
    inspect_at = RowDateTimeField(null=True, db_index=True)
    late_seconds = models.PositiveBigIntegerField(null=True)
    outage = models.BigIntegerField(null=True)
    came_second = RowJSONField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["entry", "slot_at"], name="crons_run_once_per_slot")]
        indexes = [
            models.Index(fields=["state", "wake_at", "id"], condition=OPEN, name="crons_run_queue"),
            models.Index(fields=["entry", "wake_at", "id"], condition=OPEN, name="crons_run_open"),
            models.Index(
                fields=["state", "start_before"],
                condition=OPEN & models.Q(start_before__isnull=False),
                name="crons_run_start_before",
            ),
            models.Index(fields=["entry"], condition=OPEN & models.Q(sends__gt=0), name="crons_run_sent"),
            models.Index(fields=["entry"], condition=models.Q(state="running"), name="crons_run_running"),
            models.Index(
                fields=["entry", "-slot_at"], condition=models.Q(verdict="succeeded"), name="crons_run_succeeded"
            ),
            # With the id, as people's lists are ordered: without it SQLite reads and sorts the whole table.
            models.Index(fields=["entry", "-planned_at", "-id"], name="crons_run_entry_planned"),
            models.Index(fields=["-planned_at", "-id"], name="crons_run_planned"),
            models.Index(fields=["-planned_at", "-id"], condition=NOT_WELL, name="crons_run_not_well"),
            models.Index(
                fields=["-planned_at", "-id"], condition=models.Q(late_seconds__isnull=False), name="crons_run_late"
            ),
            models.Index(
                fields=["outage", "state", "verdict"], condition=models.Q(outage__isnull=False), name="crons_run_outage"
            ),
            models.Index(fields=["verdict", "-planned_at", "-id"], condition=NOT_WELL, name="crons_run_verdict"),
            models.Index(
                fields=["entry", "verdict", "-planned_at", "-id"], condition=NOT_WELL, name="crons_run_entry_verdict"
            ),
            models.Index(
                fields=["entry", "-planned_at", "-id"],
                condition=models.Q(verdict="succeeded"),
                name="crons_run_entry_succeeded",
            ),
        ]
        permissions = [("cancel_run", "Can cancel run"), ("retry_run", "Can retry run")]

    def __str__(self) -> str:
        return f"run {self.pk}"


class Range(LedgerRow):
    """Many slots of one entry with the same verdict. Unique: (entry, first slot).

    *pause*: of slots skipped in a pause, which it was (since, until, by, reason, scope): its own row goes when it ends.
    *inspect_at* as with a run.
    """

    entry = models.ForeignKey(Entry, on_delete=models.CASCADE, related_name="ranges")
    first_at = RowDateTimeField()
    last_at = RowDateTimeField()
    count = models.PositiveBigIntegerField()
    verdict = models.CharField(max_length=12, choices=_choices(Verdict))
    reason = models.CharField(max_length=20, choices=_choices(Reason))
    trigger = models.CharField(max_length=50)
    recorded_at = RowDateTimeField()
    pause = RowJSONField(null=True)
    inspect_at = RowDateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["entry", "first_at"], name="crons_range_once_per_first")]
        indexes = [
            models.Index(fields=["entry", "-last_at", "-id"], name="crons_range_entry_last"),
            models.Index(fields=["-last_at", "-id"], name="crons_range_last"),
            models.Index(fields=["verdict", "-last_at", "-id"], name="crons_range_verdict"),
            models.Index(
                fields=["inspect_at"], condition=models.Q(inspect_at__isnull=False), name="crons_range_inspect"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.count} slots {self.verdict} ({self.reason})"


class Attempt(LedgerRow):
    """One try at a run; its id is the fencing token. Unique: (run, number), token.

    *lease_until* is NULL once it has ended. *instance* names the process that began it.
    *late_outcome* keeps what a process reported after it had been declared lost.
    """

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="attempts")
    number = models.PositiveIntegerField()
    token = models.UUIDField(unique=True)
    executor = models.CharField(max_length=50)
    instance = models.CharField(max_length=64)
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    boot_id = models.CharField(max_length=100)
    begun_at = RowDateTimeField()
    lease_until = RowDateTimeField(null=True)
    cancel_requested_at = RowDateTimeField(null=True)
    cancel_reason = models.CharField(max_length=255, blank=True, default="", db_default="")
    outcome = models.CharField(max_length=12, choices=_choices(Outcome), blank=True, default="")
    finish_token = models.UUIDField(null=True)
    late_outcome = models.CharField(max_length=12, blank=True, default="")
    exit_code = models.IntegerField(null=True)
    error = models.TextField(blank=True, default="")
    cpu_seconds = models.FloatField(null=True)
    peak_memory_bytes = models.BigIntegerField(null=True)
    ended_at = RowDateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "number"], name="crons_attempt_number")]
        indexes = [
            models.Index(fields=["-id"], condition=~models.Q(outcome__in=UNREMARKABLE), name="crons_attempt_not_well"),
            models.Index(
                fields=["lease_until"], condition=models.Q(lease_until__isnull=False), name="crons_attempt_lease"
            ),
        ]

    def __str__(self) -> str:
        return f"attempt {self.pk}"


class WorkReport(LedgerRow):
    """What an attempt's job says of its work.

    A row of its own: a job's open transaction locks what it writes, and renewing the lease writes the attempt's row.
    *examined* to *skipped* add up what it reported (NULL: nothing), *skipped* by reason; *done* of *total* is how far
    it is.
    """

    attempt = models.OneToOneField(Attempt, on_delete=models.CASCADE, primary_key=True, related_name="work")
    examined = models.BigIntegerField(null=True)
    changed = models.BigIntegerField(null=True)
    failed = models.BigIntegerField(null=True)
    skipped = RowJSONField(default=dict)
    done = models.BigIntegerField(null=True)
    total = models.BigIntegerField(null=True)
    text = models.CharField(max_length=255, blank=True, default="")
    progress_at = RowDateTimeField(null=True)

    def __str__(self) -> str:
        return f"work of attempt {self.pk}"


class OutputChunk(LedgerRow):
    """A piece of what an attempt wrote, in order of *seq*. Unique: (attempt, seq).

    *written_at*: when it was stored, by the database's clock; NULL of what was stored before this column.
    """

    attempt = models.ForeignKey(Attempt, on_delete=models.CASCADE, related_name="chunks")
    seq = models.PositiveIntegerField()
    stream = models.CharField(max_length=6, choices=[("stdout", "stdout"), ("stderr", "stderr"), ("log", "log")])
    text = models.TextField()
    written_at = RowDateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["attempt", "seq"], name="crons_chunk_seq")]
