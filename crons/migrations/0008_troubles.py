from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("crons", "0007_declared"),
    ]

    operations = [
        migrations.AddField(
            model_name="heartbeat",
            name="lacks",
            field=models.JSONField(null=True),
        ),
        migrations.AddField(
            model_name="heartbeat",
            name="troubles",
            field=models.JSONField(null=True),
        ),
    ]
