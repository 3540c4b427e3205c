from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("crm", "0003_stock_movements_and_tokens"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="customer",
            index=models.Index(fields=["name"], name="crm_customer_name"),
        ),
        migrations.AddIndex(
            model_name="product",
            index=models.Index(fields=["name"], name="crm_product_name"),
        ),
        migrations.AddIndex(
            model_name="product",
            index=models.Index(fields=["price"], name="crm_product_price"),
        ),
    ]
