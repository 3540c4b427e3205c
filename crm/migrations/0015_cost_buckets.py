from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("crm", "0014_trusted_only")]

    operations = [
        migrations.CreateModel(
            name="CostBucket",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("owner", models.CharField(editable=False, max_length=60, unique=True)),
                ("whole_at", models.BigIntegerField(db_index=True, editable=False)),
            ],
            options={"ordering": ["-whole_at"]},
        ),
    ]
