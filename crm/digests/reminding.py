"""Reminders by mail of orders that wait for their payment: when, how often, and when no more."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Count, Exists, Max, OuterRef, Q, QuerySet
from django.template.loader import render_to_string
from django.utils import timezone

from crm.digests import letters, links
from crm.digests.models import Mail
from crm.digests.outbox import Later, Letter, NotSent
from crm.digests.wording import money
from crm.models import Order
from crm.plain_text import one_line

# Whoever has not paid for so long is not reminded by a machine.
OLDEST = timedelta(days=30)
BATCH = 500
LATELY, ENOUGH = "reminded lately", "reminded often enough"
DELETED = "the order was deleted"


@dataclass(frozen=True)
class Cadence:
    """First after *first_after*, at most once in *every*, at most *most* times; 0: no reminders by mail."""

    first_after: timedelta
    every: timedelta
    most: int

    @classmethod
    def of_settings(cls) -> "Cadence":
        return cls(
            timedelta(hours=settings.CRM_REMIND_AFTER_HOURS),
            timedelta(days=settings.CRM_REMIND_EVERY_DAYS),
            settings.CRM_REMIND_MOST,
        )


@dataclass(frozen=True)
class Looked:
    """An order that is pending: its next reminder is its *number*-th, unless there is a *reason* against one now."""

    order: int
    number: int
    reason: str

    @property
    def key(self) -> str:
        return f"reminder:order-{self.order}:{self.number}"


def looked_at(until: datetime, cadence: Cadence) -> Iterator[Looked]:
    """Give each order that has been pending for long enough, and whether it is to be reminded of at *until*.

    In batches along the index of status and moment: two statements for each 500 orders.
    """
    if not cadence.most:
        return
    for batch in _batches(until - OLDEST, until - cadence.first_after):
        mails = Mail.objects.filter(order__in=batch, kind=Mail.Kind.REMINDER).order_by()
        # Those that did not go count as well: a mail that is refused is no reason to write more of them.
        known = {
            order: (count, last)
            for order, count, last in mails.values_list("order").annotate(number=Count("pk"), last=Max("due_at"))
        }
        for order in batch:
            count, last = known.get(order, (0, None))
            reason = ENOUGH if count >= cadence.most else LATELY if last and last > until - cadence.every else ""
            yield Looked(order, count + 1, reason)


def plan(until: datetime, *, now: datetime, key: str = "") -> Counter[str]:
    """Write a row for each reminder that is due, and count the orders without one by reason."""
    skipped: Counter[str] = Counter()
    batch: list[Mail] = []
    for each in looked_at(until, Cadence.of_settings()):
        if each.reason:
            skipped[each.reason] += 1
            continue
        kind = Mail.Kind.REMINDER
        batch.append(Mail(kind=kind, key=each.key, order=each.order, due_at=until, run_key=key, created_at=now))
        if len(batch) == BATCH:
            Mail.objects.bulk_create(batch, ignore_conflicts=True)
            batch.clear()
    Mail.objects.bulk_create(batch, ignore_conflicts=True)
    return skipped


def compose(mail: Mail, at: datetime) -> Letter | NotSent | Later:
    """Write the mail, unless the order is paid or cancelled by now."""
    order = Order.objects.select_related("customer").filter(pk=mail.order or 0).first()
    if order is None:
        return NotSent(DELETED)
    if order.status != Order.Status.PENDING:
        return NotSent(f"the order is {order.status}")
    customer = order.customer
    preferences = links.address_of(links.Reader(links.CUSTOMER, customer.pk))
    items = order.items.select_related("product")
    ordered_at = timezone.localtime(order.ordered_at)
    shown = {
        "name": one_line(customer.name),
        "order": str(order.pk),
        "ordered": f"{ordered_at:%A} {ordered_at.day} {ordered_at:%B %Y}",
        "total": money(str(order.total)),
        "items": [
            (str(item.quantity), one_line(item.product.name), money(str(item.quantity * item.unit_price)))
            for item in items
        ],
        "preferences": preferences,
    }
    letter = letters.write(
        mail,
        name=customer.name,
        email=customer.email,
        subject=f"Your order {order.pk} is waiting for its payment",
        text=render_to_string("crm/digests/reminder.txt", shown),
        html=render_to_string("crm/digests/reminder.html", shown),
        preferences=preferences,
    )
    # In the statement that claims the mail: whoever pays in this moment is not reminded.
    return Letter(letter.message, letter.email, _still_pending) if isinstance(letter, Letter) else letter


def _still_pending(rows: QuerySet[Mail]) -> QuerySet[Mail]:
    return rows.filter(Exists(Order.objects.filter(pk=OuterRef("order"), status=Order.Status.PENDING).order_by()))


def _batches(after: datetime, until: datetime) -> Iterator[list[int]]:
    pending = Order.objects.filter(status=Order.Status.PENDING, ordered_at__gt=after, ordered_at__lte=until)
    rest = pending.order_by("ordered_at", "pk").values_list("pk", "ordered_at")
    batch = list(rest[:BATCH])
    while batch:
        yield [pk for pk, _ in batch]
        last_pk, last_at = batch[-1]
        batch = list(
            rest.filter(Q(ordered_at__gt=last_at) | Q(ordered_at=last_at, pk__gt=last_pk), ordered_at__gte=last_at)[
                :BATCH
            ]
        )
