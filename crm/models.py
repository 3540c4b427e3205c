"""What the CRM keeps: customers, products, orders, each change of stock, the programs that may ask,
and what is left of customers who are gone.

Rules that a row can be checked against stand in the database, not only in forms: jobs and imports write too.
"""

import unicodedata
from decimal import Decimal

from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone

phone_validator = RegexValidator(
    r"\A(?:\+[0-9]{7,15}|[0-9]{3}-[0-9]{3}-[0-9]{4})\Z",
    "Enter a phone number as +15551234567 or 555-123-4567.",
)

# Scripts with letters that look like each other's.
_ALIKE = ("LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "CHEROKEE", "FULLWIDTH", "MATHEMATICAL")


def refuse_lookalikes(address: str) -> None:
    """Refuse an address whose domain passes for another's: a label of two scripts, such as one with a Cyrillic a.

    Written as xn--… too. A label whole of one script is somebody's name, whatever it looks like; before the @ there
    are ASCII letters only.
    """
    for label in address.rpartition("@")[2].split("."):
        shown = label
        if label.lower().startswith("xn--"):
            try:
                shown = label.lower().encode("ascii").decode("idna")  # round trips are compared by case
            except UnicodeError:
                raise ValidationError("Enter a valid email address.", code="invalid") from None
        names = [unicodedata.name(letter, "") for letter in shown]
        if len({script for script in _ALIKE for name in names if name.startswith(script)}) > 1:
            raise ValidationError(
                "The e-mail address has letters of several alphabets in one name of its domain, as one that shall pass "
                "for another's has. Write it in one alphabet.",
                code="lookalike",
            )


def kept_email(address: str) -> str:
    """Give *address* as it is kept: what follows the @ in small letters.

    There it may have letters beyond ASCII, whose case each database folds in its own way, or not at all.
    """
    name, at, domain = address.rpartition("@")
    return f"{name}{at}{domain.lower()}"


class Customer(models.Model):
    """Someone who buys. Unique: the e-mail address, whatever the case of its letters."""

    name = models.CharField(max_length=200)
    email = models.EmailField("e-mail", validators=[refuse_lookalikes])
    phone = models.CharField(max_length=20, blank=True, validators=[phone_validator])
    created_at = models.DateTimeField("signed up", default=timezone.now)
    # A person's word against the cleanup: a legal hold, or one who was brought back.
    kept_until = models.DateTimeField(
        null=True, blank=True, help_text="Until then the cleanup of inactive customers leaves this one alone."
    )
    anonymised_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(
                Lower("email"),
                name="crm_customer_email_unique",
                violation_error_message="A customer with this e-mail address exists.",
            ),
            models.CheckConstraint(condition=~models.Q(name=""), name="crm_customer_name_given"),
            models.CheckConstraint(condition=~models.Q(email=""), name="crm_customer_email_given"),
        ]
        indexes = [
            models.Index(fields=["created_at"], name="crm_customer_created"),
            models.Index(fields=["name"], name="crm_customer_name"),
        ]

    def __str__(self) -> str:
        return f"{self.name} <{self.email}>"

    def clean(self) -> None:
        self.email = kept_email(self.email)


class Product(models.Model):
    """Something that is sold. Price and stock are never below zero."""

    name = models.CharField(max_length=200)
    price = models.DecimalField(max_digits=12, decimal_places=2, validators=[MinValueValidator(Decimal(0))])
    stock = models.IntegerField(default=0, validators=[MinValueValidator(0)])

    class Meta:
        ordering = ["name", "pk"]
        constraints = [
            models.CheckConstraint(condition=~models.Q(name=""), name="crm_product_name_given"),
            models.CheckConstraint(condition=models.Q(price__gte=0), name="crm_product_price_not_negative"),
            models.CheckConstraint(condition=models.Q(stock__gte=0), name="crm_product_stock_not_negative"),
        ]
        indexes = [
            models.Index(fields=["stock"], name="crm_product_stock"),
            models.Index(fields=["name"], name="crm_product_name"),
            models.Index(fields=["price"], name="crm_product_price"),
        ]

    def __str__(self) -> str:
        return self.name


class Order(models.Model):
    """What a customer ordered at one moment. Open until it is completed or cancelled."""

    class Status(models.TextChoices):
        PENDING = "pending", "Pending"
        PAID = "paid", "Paid"
        SHIPPED = "shipped", "Shipped"
        COMPLETED = "completed", "Completed"
        CANCELLED = "cancelled", "Cancelled"

    class Confirmation(models.TextChoices):
        NONE = "", "Not asked for"
        WAITING = "waiting", "Waiting"
        SENDING = "sending", "Sending"
        SENT = "sent", "Sent"

    OPEN = (Status.PENDING, Status.PAID, Status.SHIPPED)

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="orders", db_index=False)
    status = models.CharField(max_length=10, choices=Status, default=Status.PENDING)
    ordered_at = models.DateTimeField(default=timezone.now)
    total = models.DecimalField(max_digits=14, decimal_places=2, default=Decimal(0), editable=False)
    confirmation = models.CharField(
        max_length=7, choices=Confirmation, default="", db_default="", blank=True, editable=False
    )
    confirmation_tried_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ["-ordered_at", "-pk"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(status__in=["pending", "paid", "shipped", "completed", "cancelled"]),
                name="crm_order_status_known",
            ),
            models.CheckConstraint(condition=models.Q(total__gte=0), name="crm_order_total_not_negative"),
        ]
        indexes = [
            # Serves the foreign key too, so that has no index of its own.
            models.Index(fields=["customer", "ordered_at"], name="crm_order_customer_ordered"),
            models.Index(fields=["status", "ordered_at"], name="crm_order_status_ordered"),
            models.Index(fields=["-ordered_at", "-id"], name="crm_order_newest"),
            models.Index(fields=["id"], condition=models.Q(confirmation="waiting"), name="crm_order_unconfirmed"),
            models.Index(fields=["id"], condition=models.Q(confirmation="sending"), name="crm_order_being_confirmed"),
        ]

    def __str__(self) -> str:
        return f"Order {self.pk}"


class OrderItem(models.Model):
    """One product in an order, at the price of that day. Unique: a product in its order."""

    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="items", db_index=False)
    product = models.ForeignKey(Product, on_delete=models.PROTECT, related_name="order_items")
    quantity = models.IntegerField(default=1, validators=[MinValueValidator(1)])
    unit_price = models.DecimalField(max_digits=12, decimal_places=2, validators=[MinValueValidator(Decimal(0))])

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(fields=["order", "product"], name="crm_orderitem_product_once"),
            models.CheckConstraint(condition=models.Q(quantity__gte=1), name="crm_orderitem_quantity_positive"),
            models.CheckConstraint(condition=models.Q(unit_price__gte=0), name="crm_orderitem_price_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.quantity} × {self.product}"


class CustomerTombstone(models.Model):
    """That a customer is gone, when, why, by which run and where to: answers "why did X vanish?".

    It holds no personal data: id and e-mail are keyed hashes (crm.tombstones.tombstones_of looks one up).
    """

    class Became(models.TextChoices):
        DELETED = "deleted", "Deleted"
        ARCHIVED = "archived", "Archived"
        ANONYMISED = "anonymised", "Anonymised"

    id_hash = models.CharField(max_length=64, editable=False)
    email_hash = models.CharField(max_length=64, editable=False)
    reason = models.CharField(max_length=100, editable=False)
    became = models.CharField(max_length=10, choices=Became, default=Became.DELETED, editable=False)
    archive = models.CharField(max_length=200, blank=True, editable=False)
    restored_at = models.DateTimeField(null=True, editable=False)
    orders = models.IntegerField("orders deleted along", default=0, editable=False)
    run_key = models.CharField("run", max_length=200, blank=True, editable=False)
    deleted_at = models.DateTimeField(editable=False)

    class Meta:
        ordering = ["-deleted_at", "-pk"]
        indexes = [
            models.Index(fields=["id_hash"], name="crm_tombstone_id"),
            models.Index(fields=["email_hash"], name="crm_tombstone_email"),
            models.Index(fields=["-deleted_at", "-id"], name="crm_tombstone_newest"),
        ]

    def __str__(self) -> str:
        return f"Customer deleted {self.deleted_at:%Y-%m-%d}: {self.reason}"


class Restock(models.Model):
    """One call that raised low stock. Unique: its key, so that the same run restocks once, whoever repeats it."""

    key = models.CharField(max_length=200, unique=True, editable=False)
    created_at = models.DateTimeField(editable=False)
    count = models.IntegerField("products raised", default=0, editable=False)

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.CheckConstraint(condition=~models.Q(key=""), name="crm_restock_key_given"),
            models.CheckConstraint(condition=models.Q(count__gte=0), name="crm_restock_count_not_negative"),
        ]

    def __str__(self) -> str:
        return f"Restock {self.key}"


class StockMovement(models.Model):
    """One change of one product's stock, and why.

    Unique: product, reason and key, where there is a key: a run restocks a product once, an order takes it once.
    """

    class Reason(models.TextChoices):
        RESTOCK = "restock", "Restock"
        SALE = "sale", "Sale"
        RETURN = "return", "Return"
        CORRECTION = "correction", "Correction"

    product = models.ForeignKey(Product, on_delete=models.PROTECT, related_name="movements", editable=False)
    delta = models.IntegerField("change", editable=False)
    reason = models.CharField(max_length=10, choices=Reason, editable=False)
    key = models.CharField("run or order", max_length=200, blank=True, editable=False)
    stock_after = models.IntegerField(editable=False)
    created_at = models.DateTimeField(editable=False)

    class Meta:
        ordering = ["-created_at", "-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["key", "reason", "product"], condition=~models.Q(key=""), name="crm_movement_once"
            ),
            models.CheckConstraint(
                condition=models.Q(reason__in=["restock", "sale", "return", "correction"]),
                name="crm_movement_reason_known",
            ),
            models.CheckConstraint(condition=~models.Q(delta=0), name="crm_movement_changes_something"),
            models.CheckConstraint(condition=models.Q(stock_after__gte=0), name="crm_movement_stock_not_negative"),
        ]
        indexes = [models.Index(fields=["-created_at", "-id"], name="crm_movement_newest")]

    def __str__(self) -> str:
        return f"{self.delta:+} {self.product}"


class ServiceToken(models.Model):
    """What a program shows to use the API: scopes until a day. Unique: the prefix, by which it is known.

    Of the secret only the SHA-256 is kept: it has 256 random bits, so a slow hash would guard nothing more.
    """

    name = models.CharField(max_length=100, editable=False)
    prefix = models.CharField(max_length=8, unique=True, editable=False)
    secret_hash = models.CharField(max_length=64, editable=False)
    scopes = models.JSONField(default=list, editable=False)
    # It may ask trusted documents only (crm/graph/trusted.py), whatever its scopes open.
    trusted_only = models.BooleanField(default=False, db_default=False, editable=False)
    created_at = models.DateTimeField(editable=False)
    expires_at = models.DateTimeField(editable=False)
    revoked_at = models.DateTimeField(null=True, editable=False)
    last_used_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ["-created_at", "-pk"]
        constraints = [
            models.CheckConstraint(condition=~models.Q(name=""), name="crm_token_name_given"),
            models.CheckConstraint(condition=~models.Q(prefix=""), name="crm_token_prefix_given"),
            models.CheckConstraint(condition=~models.Q(secret_hash=""), name="crm_token_secret_given"),
            models.CheckConstraint(
                condition=models.Q(expires_at__gte=models.F("created_at")), name="crm_token_expires_after_creation"
            ),
        ]
        indexes = [models.Index(fields=["expires_at"], name="crm_token_expires")]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix})"


class IdempotencyKey(models.Model):
    """A mutation that was carried out under a key of its caller's, and its answer. Unique: owner and key.

    *owner*: the token or the user who sent it. *answer* is text, so that it is replayed byte for byte.
    """

    owner = models.CharField(max_length=40, editable=False)
    key = models.CharField(max_length=200, editable=False)
    fingerprint = models.CharField(max_length=64, editable=False)
    answer = models.TextField(editable=False)
    created_at = models.DateTimeField(editable=False)

    class Meta:
        ordering = ["-created_at", "-pk"]
        constraints = [
            models.UniqueConstraint(fields=["owner", "key"], name="crm_idempotencykey_once"),
            models.CheckConstraint(condition=~models.Q(key=""), name="crm_idempotencykey_given"),
        ]
        indexes = [models.Index(fields=["created_at"], name="crm_idempotencykey_created")]

    def __str__(self) -> str:
        return f"{self.key} of {self.owner}"


class CostBucket(models.Model):
    """What somebody who asks GraphQL has spent of the budget of this minute. Unique: *owner*.

    *whole_at* is when it is whole again, in microseconds of Unix time: one number, which one statement moves.
    """

    owner = models.CharField(max_length=60, unique=True, editable=False)
    whole_at = models.BigIntegerField(editable=False, db_index=True)

    class Meta:
        ordering = ["-whole_at"]

    def __str__(self) -> str:
        return self.owner


# Each subject keeps its tables beside its rules; Django looks for them here.
from crm.archives.models import Archive  # noqa: E402
from crm.digests.models import Mail, Recipient, Report, SuppressedAddress  # noqa: E402
from crm.imports.models import CustomerImport, ImportPiece, ImportProblem  # noqa: E402
from crm.scores.models import CustomerScore, Scoring  # noqa: E402
from crm.webhooks import models as webhooks_models  # noqa: E402, F401

__all__ = [
    "Archive",
    "CostBucket",
    "Customer",
    "CustomerImport",
    "CustomerScore",
    "CustomerTombstone",
    "IdempotencyKey",
    "ImportPiece",
    "ImportProblem",
    "Mail",
    "Order",
    "OrderItem",
    "Product",
    "Recipient",
    "Report",
    "Restock",
    "Scoring",
    "ServiceToken",
    "StockMovement",
    "SuppressedAddress",
    "kept_email",
    "phone_validator",
]
