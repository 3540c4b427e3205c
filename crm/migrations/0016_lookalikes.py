from django.db import migrations, models

import crm.models


class Migration(migrations.Migration):
    dependencies = [("crm", "0015_cost_buckets")]

    operations = [
        migrations.AlterField(
            model_name="customer",
            name="email",
            field=models.EmailField(max_length=254, validators=[crm.models.refuse_lookalikes], verbose_name="e-mail"),
        ),
    ]
