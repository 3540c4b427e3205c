from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("crm", "0005_confirmations"),
    ]

    operations = [
        migrations.AddField(
            model_name="order",
            name="confirmation_tried_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddIndex(
            model_name="order",
            index=models.Index(
                condition=models.Q(("confirmation", "sending")), fields=["id"], name="crm_order_being_confirmed"
            ),
        ),
    ]
