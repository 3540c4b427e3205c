import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("crm", "0016_lookalikes"),
    ]

    operations = [
        migrations.CreateModel(
            name="CustomerScore",
            fields=[
                (
                    "customer",
                    models.OneToOneField(
                        db_constraint=False,
                        editable=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="score",
                        serialize=False,
                        to="crm.customer",
                    ),
                ),
                ("as_of", models.DateTimeField(editable=False, verbose_name="as of")),
                ("recency", models.SmallIntegerField(editable=False)),
                ("frequency", models.SmallIntegerField(editable=False)),
                ("monetary", models.SmallIntegerField(editable=False)),
                ("last_ordered_at", models.DateTimeField(editable=False, verbose_name="last order")),
                ("orders", models.IntegerField(editable=False)),
                ("spent", models.DecimalField(decimal_places=2, editable=False, max_digits=19)),
            ],
            options={
                "verbose_name": "score of a customer",
                "verbose_name_plural": "scores of customers",
                "ordering": ["pk"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("frequency__range", (1, 5)), ("monetary__range", (1, 5)), ("recency__range", (1, 5))
                        ),
                        name="crm_score_fifths",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Scoring",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("until", models.DateTimeField(editable=False, unique=True, verbose_name="as of")),
                ("since", models.DateTimeField(editable=False, verbose_name="of orders from")),
                (
                    "stage",
                    models.CharField(
                        choices=[
                            ("counting", "Counting"),
                            ("scoring", "Scoring"),
                            ("done", "Done"),
                            ("overtaken", "Overtaken by a newer one"),
                        ],
                        default="counting",
                        editable=False,
                        max_length=9,
                    ),
                ),
                ("last_id", models.BigIntegerField(default=0, editable=False)),
                ("customers", models.IntegerField(editable=False)),
                ("counted", models.IntegerField(default=0, editable=False)),
                ("examined", models.IntegerField(default=0, editable=False, verbose_name="customers looked at")),
                ("scored", models.IntegerField(default=0, editable=False, verbose_name="customers scored")),
                ("tallies", models.JSONField(default=dict, editable=False)),
                ("limits", models.JSONField(default=dict, editable=False)),
                ("run", models.BigIntegerField(editable=False, null=True)),
                ("started_at", models.DateTimeField(editable=False, verbose_name="started")),
                ("ended_at", models.DateTimeField(editable=False, null=True, verbose_name="ended")),
            ],
            options={
                "ordering": ["-until"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("stage__in", ["counting", "scoring", "done", "overtaken"])),
                        name="crm_scoring_stage_known",
                    )
                ],
            },
        ),
    ]
