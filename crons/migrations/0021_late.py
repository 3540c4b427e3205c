from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("crons", "0020_alerts")]

    operations = [
        migrations.AddField("run", "late_seconds", models.PositiveBigIntegerField(null=True)),
        migrations.AddField("run", "outage", models.BigIntegerField(null=True)),
        migrations.AddField("range", "inspect_at", models.DateTimeField(null=True)),
        migrations.AddIndex(
            "run",
            models.Index(
                condition=models.Q(("late_seconds__isnull", False)),
                fields=["-planned_at", "-id"],
                name="crons_run_late",
            ),
        ),
        migrations.AddIndex(
            "run",
            models.Index(
                condition=models.Q(("outage__isnull", False)),
                fields=["outage", "state", "verdict"],
                name="crons_run_outage",
            ),
        ),
        migrations.AddIndex(
            "range",
            models.Index(
                condition=models.Q(("inspect_at__isnull", False)), fields=["inspect_at"], name="crons_range_inspect"
            ),
        ),
    ]
