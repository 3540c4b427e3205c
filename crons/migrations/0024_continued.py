from django.db import migrations, models

OUTCOMES = ("succeeded", "continued", "failed", "timed_out", "lost", "cancelled")


class Migration(migrations.Migration):
    """A word more for how an attempt ends; the database has nothing to do."""

    dependencies = [("crons", "0023_came_second")]

    operations = [
        migrations.AlterField(
            "attempt",
            "outcome",
            models.CharField(
                blank=True, choices=[(each, each.replace("_", " ")) for each in OUTCOMES], default="", max_length=12
            ),
        )
    ]
