from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("crons", "0011_lists_in_order"),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name="run",
            name="crons_run_open",
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                condition=models.Q(("wake_at__isnull", False)), fields=["entry", "wake_at", "id"], name="crons_run_open"
            ),
        ),
    ]
