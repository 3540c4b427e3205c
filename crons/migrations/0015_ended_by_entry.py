from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("crons", "0014_pause_of_ranges"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                condition=models.Q(("verdict__in", ["", "succeeded"]), _negated=True),
                fields=["entry", "verdict", "-planned_at", "-id"],
                name="crons_run_entry_verdict",
            ),
        ),
    ]
