"""What `crons serve` records is called by that name; it was called resident."""

from django.db import migrations

BEFORE, NOW = "resident", "serve"


def rename(apps, schema_editor):
    """Rename the trigger of runs and ranges, and the kind of schedulers that live."""
    using = schema_editor.connection.alias
    for model, column in (("Run", "trigger"), ("Range", "trigger"), ("Heartbeat", "kind")):
        rows = apps.get_model("crons", model).objects.using(using)
        rows.filter(**{column: BEFORE}).update(**{column: NOW})


class Migration(migrations.Migration):
    """Rows only."""

    dependencies = [("crons", "0008_troubles")]
    operations = [migrations.RunPython(rename, migrations.RunPython.noop)]
