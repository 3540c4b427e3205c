"""Incidents know how bad they are, what they were called when they were open, and what has been told of them."""

from django.db import migrations, models
from django.db.models import F


def name_open(apps, schema_editor):  # type: ignore[no-untyped-def]
    """Name those that are open, so that they can be found again when they are closed."""
    incidents = apps.get_model("crons", "Incident").objects.using(schema_editor.connection.alias)
    # What is undeclared had a key without a colon: its rule opens it anew under the one that all rules use.
    incidents.filter(open_key="undeclared").update(open_key="undeclared:*")
    incidents.filter(open_key__isnull=False).update(key=F("open_key"))


class Migration(migrations.Migration):
    dependencies = [("crons", "0017_notices")]

    operations = [
        migrations.AddField("incident", "key", models.CharField(max_length=150, blank=True, default="", db_default="")),
        migrations.AddField(
            "incident", "severity", models.CharField(max_length=10, default="warning", db_default="warning")
        ),
        migrations.AddField("incident", "gone_at", models.DateTimeField(null=True)),
        migrations.AddField("incident", "data", models.JSONField(default=dict)),
        migrations.AddIndex("incident", models.Index(fields=["key", "-closed_at"], name="crons_incident_key")),
        migrations.RunPython(name_open, migrations.RunPython.noop),
    ]
