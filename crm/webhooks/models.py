"""The rows of webhooks: endpoints and their secrets, events, deliveries, and each try at one."""

from django.db import models
from django.db.models import Q

MOST_TEXT = 1_000


class WebhookEndpoint(models.Model):
    """Where one customer of the API is told of events. Unique: the customer and the address.

    *failures* counts those in a row, since *failing_since*; while *paused_until* lies ahead nothing is sent to it.
    *notice* is what its contact has still to be told by mail.
    """

    class Notice(models.TextChoices):
        NONE = "", "Nothing"
        PAUSED = "paused", "It fails and is tried less often"
        WORKS = "works", "It works again"
        DISABLED = "disabled", "Nothing is sent to it any more"

    customer = models.CharField(
        "customer of the API", max_length=100, help_text="As the customer's service tokens are named."
    )
    url = models.CharField("address", max_length=500)
    contact = models.EmailField(help_text="Who gets a mail when the address fails for long, or is disabled.")
    events = models.JSONField(default=list)
    created_at = models.DateTimeField(editable=False)
    disabled_at = models.DateTimeField(null=True, editable=False)
    disabled_reason = models.CharField(max_length=200, blank=True, editable=False)
    failures = models.IntegerField("failures in a row", default=0, editable=False)
    failing_since = models.DateTimeField(null=True, editable=False)
    paused_until = models.DateTimeField(null=True, editable=False)
    tried_at = models.DateTimeField("last tried", null=True, editable=False)
    notice = models.CharField(max_length=8, choices=Notice, default="", blank=True, editable=False)

    class Meta:
        verbose_name = "webhook endpoint"
        ordering = ["customer", "pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["customer", "url"],
                name="crm_webhook_endpoint_once",
                violation_error_message="This customer has an endpoint with this address.",
            ),
            models.CheckConstraint(condition=~Q(customer="") & ~Q(url=""), name="crm_webhook_endpoint_named"),
            models.CheckConstraint(condition=Q(failures__gte=0), name="crm_webhook_endpoint_failures"),
        ]

    def __str__(self) -> str:
        # Without the rest of the address: some services have a secret in it.
        return f"{self.customer} → {self.host}"

    @property
    def host(self) -> str:
        """The host of the address, and its port, which are no secret."""
        return self.url.partition("://")[2].partition("/")[0].partition("?")[0]


class WebhookSecret(models.Model):
    """What one secret of an endpoint is made of, with the project's secret key; the secret itself is nowhere kept.

    *fingerprint* tells whether a secret that was made again is the same. An old one still signs until *ends_at*.
    """

    endpoint = models.ForeignKey(WebhookEndpoint, on_delete=models.CASCADE, related_name="secrets")
    nonce = models.CharField(max_length=64, editable=False)
    fingerprint = models.CharField(max_length=16, editable=False)
    created_at = models.DateTimeField(editable=False)
    ends_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"Secret {self.pk}"


class WebhookEvent(models.Model):
    """Something that happened, written in the transaction in which it did. Unique: *uid*, by which receivers know it.

    Its number grows with each event of the same *subject*, as whoever writes one has locked that row.
    """

    uid = models.CharField(max_length=40, unique=True, editable=False)
    type = models.CharField(max_length=40, editable=False)
    subject = models.CharField(max_length=60, editable=False)
    data = models.JSONField(editable=False)
    created_at = models.DateTimeField(editable=False)

    class Meta:
        ordering = ["-pk"]
        indexes = [models.Index(fields=["created_at", "id"], name="crm_webhook_event_age")]

    def __str__(self) -> str:
        return f"{self.type} {self.subject}"


class WebhookDelivery(models.Model):
    """One event on its way to one endpoint. Unique: the event and the endpoint.

    Whoever sends it has claimed it, under *claim* until *claimed_until*; when that has passed, another may.
    """

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        DELIVERED = "delivered", "Delivered"
        GIVEN_UP = "given_up", "Given up"

    event = models.ForeignKey(WebhookEvent, on_delete=models.CASCADE, related_name="deliveries", db_index=False)
    endpoint = models.ForeignKey(WebhookEndpoint, on_delete=models.CASCADE, related_name="deliveries", db_index=False)
    state = models.CharField(max_length=9, choices=State, default=State.WAITING, editable=False)
    tries = models.IntegerField(default=0, editable=False)
    next_try_at = models.DateTimeField(null=True, editable=False)
    claim = models.CharField(max_length=32, blank=True, editable=False)
    claimed_until = models.DateTimeField(null=True, editable=False)
    ended_at = models.DateTimeField(null=True, editable=False)
    detail = models.CharField("last answer", max_length=200, blank=True, editable=False)

    class Meta:
        verbose_name = "webhook delivery"
        verbose_name_plural = "webhook deliveries"
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(fields=["event", "endpoint"], name="crm_webhook_delivery_once"),
            models.CheckConstraint(
                condition=Q(state__in=["waiting", "delivered", "given_up"]), name="crm_webhook_delivery_state"
            ),
            models.CheckConstraint(
                condition=~Q(state="waiting") | Q(next_try_at__isnull=False), name="crm_webhook_delivery_goes_on"
            ),
        ]
        indexes = [
            # Serves the foreign key too.
            models.Index(fields=["endpoint", "id"], name="crm_webhook_of_endpoint"),
            models.Index(
                fields=["endpoint", "next_try_at", "id"], condition=Q(state="waiting"), name="crm_webhook_waiting"
            ),
        ]

    def __str__(self) -> str:
        return f"Delivery {self.pk}"


class WebhookAttempt(models.Model):
    """One try at a delivery: when, by which run, and what came back."""

    delivery = models.ForeignKey(WebhookDelivery, on_delete=models.CASCADE, related_name="attempts", editable=False)
    number = models.IntegerField(editable=False)
    at = models.DateTimeField(editable=False)
    milliseconds = models.IntegerField(editable=False)
    status = models.IntegerField(null=True, editable=False)
    error = models.CharField(max_length=200, blank=True, editable=False)
    answer = models.CharField(max_length=MOST_TEXT, blank=True, editable=False)
    run = models.BigIntegerField(null=True, editable=False)

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"Try {self.number}"
