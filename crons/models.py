"""The tables. Only the ledger writes runs, ranges and attempts; everything else may read."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from django.db import models
from django.db.models.expressions import RawSQL

from crons.columns import RowJSONField
from crons.conf import conf
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


class LedgerManager(models.Manager[M]):
    """Reads where the ledger writes: a router's replica may lag behind."""

    def get_queryset(self) -> models.QuerySet[M]:
        """Ask the ledger's database, unless another was named."""
        rows = super().get_queryset()
        return rows if self._db else rows.using(conf.database)


class LedgerRow(models.Model):
    """A row of crons. What hangs on it is read through the same manager: `run.entry`, and what Django prefetches."""

    if not TYPE_CHECKING:  # the stubs know the usual manager of each model
        objects = LedgerManager()

    class Meta:
        abstract = True


# Set here, not in Meta: models without a Meta of their own inherit that one, and migrations would record it.
LedgerRow._meta.base_manager_name = "objects"


def is_text(text: str) -> bool:
    """Say whether a database takes *text*: no NUL, no half of a surrogate pair, as a terminal's odd bytes become."""
    return not any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in text)


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


class Run(LedgerRow):
    """One slot of one entry, or one manual request. Unique: (entry, slot), request key, active key.

    *active_key* is the entry's id while an attempt is going, unless the job allows overlap.
    *wake_at*: when it may be begun (again), or is sent again; *start_before*: begun later than this, it is missed.
    *sends*: how often it was sent to be begun elsewhere, since it last became due.
    *asked_at*: when a person last asked for this slot to be run again or after all.
    *effect_key*: what the job gets as context.key, for good; empty for rows from before this column.
    *inspect_at* is set while an incident still has to be considered. *late_seconds*: how long after its slot it was
    first begun, where that is more than the grace; *outage*: the id of the incident that it makes up for.
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
