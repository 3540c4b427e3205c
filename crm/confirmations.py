"""Confirmations of orders: one mail for each order, however often and by how many it is asked for.

Whoever makes an order asks for its confirmation in the same transaction. A Celery worker sends it at once; a job
comes by every five minutes for what no worker has sent, and is the only way where the CRM runs without a broker.
"""

import logging
import time
from collections.abc import Collection, Sequence
from datetime import timedelta

from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from crm.models import Order
from crm.plain_text import one_line

log = logging.getLogger("crm")
_C = Order.Confirmation
SEND_ONE = "crm.tasks.confirm_order"  # the worker's task
# Much longer than any mail takes: whoever claimed an order before that is gone.
CUT_OFF_AFTER = timedelta(minutes=10)
# The job's timeout is longer: one that is killed in the middle of a mail leaves an order half done.
SENDING_SECONDS = 120.0
CUT_OFF = (
    "its sender was cut off, so nobody knows whether the mail went. Ask the mail server, "
    "then choose in the admin's orders: 'Confirmation has arrived' or 'Send the confirmation again'"
)


def request(order_ids: Sequence[int]) -> None:
    """Have each of these orders confirmed once this transaction has committed, if it waits for that."""
    # Robust: the order is made, whatever becomes of this; a mistyped broker's address is logged, not raised.
    announced = list(order_ids)
    transaction.on_commit(lambda: _announce(announced), robust=True)


def send(order_id: int) -> bool:
    """Send the order's confirmation unless that is done, being done, or nobody asked for it; say whether it was.

    A process that is killed between the claim and the mail leaves the order as "sending": nobody knows whether the
    mail went, so no second one is sent. *send_waiting* reports it, and a person ends it with *settle*.
    Raises: whatever the mail server's refusal raises; then it waits again.
    """
    waiting = Order.objects.filter(pk=order_id, confirmation=_C.WAITING)
    # One statement, committed before the mail: of two that come at once one claims it.
    if not waiting.update(confirmation=_C.SENDING, confirmation_tried_at=timezone.now()):
        return False
    try:
        order = Order.objects.select_related("customer").get(pk=order_id)
        send_mail(
            f"Your order {order.pk}",
            f"Dear {one_line(order.customer.name)},\n\nwe have received your order {order.pk} "
            f"of {order.ordered_at:%Y-%m-%d}: {order.total:.2f} in all.\n",
            None,
            [order.customer.email],
        )
    except BaseException:
        Order.objects.filter(pk=order_id, confirmation=_C.SENDING).update(confirmation=_C.WAITING)
        raise
    Order.objects.filter(pk=order_id).update(confirmation=_C.SENT)
    return True


def send_waiting(for_seconds: float = SENDING_SECONDS) -> tuple[int, dict[int, str]]:
    """Send what still waits; return how many were sent, and what is wrong with which order.

    One that cannot be sent does not delay the others: what was tried comes after what was not, and what is not begun
    after *for_seconds* is left for the next time. A sender that was cut off is reported each time, until *settle*.
    """
    sent, wrong, until = 0, _cut_off(), time.monotonic() + for_seconds
    waiting = Order.objects.filter(confirmation=_C.WAITING)
    for order_id in waiting.order_by(F("confirmation_tried_at").asc(nulls_first=True), "pk").values_list(
        "pk", flat=True
    ):
        if time.monotonic() >= until:
            break
        try:
            sent += send(order_id)
        except Exception as error:  # noqa: BLE001 (whatever mail raises: it is reported, and the order waits again)
            wrong[order_id] = f"{type(error).__name__}: {error}"
    return sent, wrong


def settle(order_ids: Collection[int], *, arrived: bool) -> list[int]:
    """Say of orders whose sender was cut off whether the mail arrived, or is sent again; return which those were."""
    with transaction.atomic():
        cut_off = Order.objects.select_for_update().filter(pk__in=list(_cut_off())).filter(pk__in=list(order_ids))
        settled = sorted(cut_off.values_list("pk", flat=True))
        Order.objects.filter(pk__in=settled).update(confirmation=_C.SENT if arrived else _C.WAITING)
    return settled


def _cut_off() -> dict[int, str]:
    """Name the orders whose sender claimed them and is gone."""
    claimed = Order.objects.filter(confirmation=_C.SENDING).order_by("pk")
    # Rows from before this column existed have no moment.
    late = claimed.filter(confirmation_tried_at__lt=timezone.now() - CUT_OFF_AFTER)
    unknown = claimed.filter(confirmation_tried_at=None)
    return dict.fromkeys([*late.values_list("pk", flat=True), *unknown.values_list("pk", flat=True)], CUT_OFF)


def _announce(order_ids: Sequence[int]) -> None:
    if not settings.CRM_BROKER_URL:
        return
    # Celery is there where a broker is set.
    from kombu.exceptions import OperationalError

    from crm.celery import app

    for order_id in order_ids:
        try:
            # By its name: crm.tasks imports the jobs, which import this.
            app.send_task(SEND_ONE, (order_id,))
        except OperationalError as error:
            # The order is made; a broker that is down must not make a visitor think otherwise, nor wait for each.
            log.warning("the broker takes no messages, confirmations follow within five minutes: %s", error)
            return
