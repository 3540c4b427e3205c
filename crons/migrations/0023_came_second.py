from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("crons", "0022_lists_of_jobs")]

    operations = [migrations.AddField("run", "came_second", models.JSONField(null=True))]
