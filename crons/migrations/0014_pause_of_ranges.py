"""Ranges keep which pause their slots were skipped in; those of before say nothing of it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("crons", "0013_work_reports")]

    operations = [migrations.AddField("range", "pause", models.JSONField(null=True))]
