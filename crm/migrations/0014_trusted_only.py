from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("crm", "0013_idempotency_keys")]

    operations = [
        migrations.AddField(
            model_name="servicetoken",
            name="trusted_only",
            field=models.BooleanField(db_default=False, default=False, editable=False),
        ),
    ]
