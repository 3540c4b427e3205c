"""The rows of scores: a customer's, and how far a scoring of all customers is."""

from typing import Any

from django.db import models
from django.db.models import Q


class Scoring(models.Model):
    """One scoring of all customers as of a moment. Unique: the moment.

    *last_id* is the last customer who is done in this stage; it is written in the transaction that does it.
    *tallies*: how many customers have which value, by measure; *limits*: the four values that part the fifths.
    """

    class Stage(models.TextChoices):
        COUNTING = "counting", "Counting"
        SCORING = "scoring", "Scoring"
        DONE = "done", "Done"
        OVERTAKEN = "overtaken", "Overtaken by a newer one"

    until = models.DateTimeField("as of", unique=True, editable=False)
    since = models.DateTimeField("of orders from", editable=False)
    stage = models.CharField(max_length=9, choices=Stage, default=Stage.COUNTING, editable=False)
    last_id = models.BigIntegerField(default=0, editable=False)
    customers = models.IntegerField(editable=False)
    counted = models.IntegerField(default=0, editable=False)
    examined = models.IntegerField("customers looked at", default=0, editable=False)
    scored = models.IntegerField("customers scored", default=0, editable=False)
    tallies: Any = models.JSONField(default=dict, editable=False)
    limits: Any = models.JSONField(default=dict, editable=False)
    run = models.BigIntegerField(null=True, editable=False)
    started_at = models.DateTimeField("started", editable=False)
    ended_at = models.DateTimeField("ended", null=True, editable=False)

    class Meta:
        ordering = ["-until"]
        constraints = [
            models.CheckConstraint(
                condition=Q(stage__in=["counting", "scoring", "done", "overtaken"]), name="crm_scoring_stage_known"
            )
        ]

    def __str__(self) -> str:
        return f"Scoring as of {self.until:%Y-%m-%d %H:%M}"


class CustomerScore(models.Model):
    """The scores of a customer who has ordered: 1 to 5, where 5 is the fifth that is best. Unique: the customer."""

    # No constraint in the database: it would have each batch lock customers whom the site wants to change, and one who
    # goes in that moment fail it. What such a one leaves is deleted by the next scoring.
    customer = models.OneToOneField(
        "crm.Customer",
        on_delete=models.CASCADE,
        primary_key=True,
        related_name="score",
        db_constraint=False,
        editable=False,
    )
    as_of = models.DateTimeField("as of", editable=False)
    recency = models.SmallIntegerField(editable=False)
    frequency = models.SmallIntegerField(editable=False)
    monetary = models.SmallIntegerField(editable=False)
    last_ordered_at = models.DateTimeField("last order", editable=False)
    orders = models.IntegerField(editable=False)
    spent = models.DecimalField(max_digits=19, decimal_places=2, editable=False)

    class Meta:
        verbose_name = "score of a customer"
        verbose_name_plural = "scores of customers"
        ordering = ["pk"]
        constraints = [
            models.CheckConstraint(
                condition=Q(recency__range=(1, 5), frequency__range=(1, 5), monetary__range=(1, 5)),
                name="crm_score_fifths",
            )
        ]

    def __str__(self) -> str:
        return f"{self.recency}-{self.frequency}-{self.monetary}"
