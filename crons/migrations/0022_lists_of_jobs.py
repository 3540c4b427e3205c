from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("crons", "0021_late"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="entry",
            index=models.Index(fields=["wake_at", "id"], name="crons_entry_wake"),
        ),
        migrations.AlterField(
            model_name="entry",
            name="wake_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddIndex(
            model_name="entry",
            index=models.Index(
                condition=models.Q(("paused_at__isnull", False)), fields=["name"], name="crons_entry_paused"
            ),
        ),
        migrations.AddIndex(
            model_name="entry",
            index=models.Index(
                condition=models.Q(("retired_at__isnull", False)), fields=["name"], name="crons_entry_retired"
            ),
        ),
        migrations.AddIndex(
            model_name="entry",
            index=models.Index(
                condition=models.Q(("parked_reason", ""), _negated=True), fields=["name"], name="crons_entry_parked"
            ),
        ),
    ]
