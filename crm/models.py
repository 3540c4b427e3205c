"""What the CRM keeps: customers, products, orders, and what is left of customers who are gone.

Rules that a row can be checked against stand in the database, not only in forms: jobs and imports write too.
"""

from decimal import Decimal

from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone

phone_validator = RegexValidator(
    r"\A(?:\+[0-9]{7,15}|[0-9]{3}-[0-9]{3}-[0-9]{4})\Z",
    "Enter a phone number as +15551234567 or 555-123-4567.",
)


class Customer(models.Model):
    """Someone who buys. Unique: the e-mail address, whatever the case of its letters."""

    name = models.CharField(max_length=200)
    email = models.EmailField("e-mail")
    phone = models.CharField(max_length=20, blank=True, validators=[phone_validator])
    created_at = models.DateTimeField("signed up", default=timezone.now)

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
        indexes = [models.Index(fields=["created_at"], name="crm_customer_created")]

    def __str__(self) -> str:
        return f"{self.name} <{self.email}>"


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
        indexes = [models.Index(fields=["stock"], name="crm_product_stock")]

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

    OPEN = (Status.PENDING, Status.PAID, Status.SHIPPED)

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="orders", db_index=False)
    status = models.CharField(max_length=10, choices=Status, default=Status.PENDING)
    ordered_at = models.DateTimeField(default=timezone.now)
    total = models.DecimalField(max_digits=14, decimal_places=2, default=Decimal(0), editable=False)

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
    """That a customer was deleted, when, why and by which run: answers "why did X vanish?".

    It holds no personal data: id and e-mail are keyed hashes (crm.customers.tombstones_of looks one up).
    """

    id_hash = models.CharField(max_length=64, editable=False)
    email_hash = models.CharField(max_length=64, editable=False)
    reason = models.CharField(max_length=100, editable=False)
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
