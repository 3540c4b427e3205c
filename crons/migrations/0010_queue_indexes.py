"""Indexes of what is open: what waits, runs or has a lease is found in them alone, however long the history."""

from django.db import migrations, models

OPEN = models.Q(wake_at__isnull=False)


def add(model: str, name: str, *fields: str, condition: models.Q) -> migrations.AddIndex:
    """Return the operation that adds an index of the rows for which *condition* holds."""
    return migrations.AddIndex(model, models.Index(fields=fields, condition=condition, name=name))


class Migration(migrations.Migration):
    """The index of all leases, NULL in nearly all rows, gives way to one of those that there are."""

    dependencies = [("crons", "0009_trigger_serve")]
    operations = [
        migrations.RemoveIndex("run", "crons_run_state_wake"),
        migrations.AlterField("attempt", "lease_until", models.DateTimeField(null=True)),
        add("attempt", "crons_attempt_lease", "lease_until", condition=models.Q(lease_until__isnull=False)),
        add("run", "crons_run_queue", "state", "wake_at", "id", condition=OPEN),
        add("run", "crons_run_open", "entry", "state", condition=OPEN),
        add(
            "run",
            "crons_run_start_before",
            "state",
            "start_before",
            condition=OPEN & models.Q(start_before__isnull=False),
        ),
        add("run", "crons_run_sent", "entry", condition=OPEN & models.Q(sends__gt=0)),
        add("run", "crons_run_running", "entry", condition=models.Q(state="running")),
        add("run", "crons_run_succeeded", "entry", "-slot_at", condition=models.Q(verdict="succeeded")),
    ]
