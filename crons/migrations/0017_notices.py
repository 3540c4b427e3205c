"""Deliveries keep what they tell as data; of those of before it is their subject and their text."""

from typing import Any

from django.db import migrations, models
from django.db.models import F
from django.db.models.functions import JSONObject


def keep_texts(apps: Any, schema_editor: Any) -> None:
    """Put the texts into the notices, in one statement."""
    deliveries = apps.get_model("crons", "Delivery").objects.using(schema_editor.connection.alias)
    deliveries.update(notice=JSONObject(subject=F("subject"), text=F("text")))


class Migration(migrations.Migration):
    dependencies = [("crons", "0016_succeeded_in_order")]

    operations = [
        migrations.AddField("delivery", "notice", models.JSONField(default=dict)),
        migrations.RunPython(keep_texts, migrations.RunPython.noop),
        migrations.RemoveField("delivery", "text"),
    ]
