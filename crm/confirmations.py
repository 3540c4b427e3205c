"""Confirmations of orders: one mail for each order, however often and by how many it is asked for.

Whoever makes an order asks for its confirmation in the same transaction. A Celery worker sends it at once; a job
comes by every five minutes for what no worker has sent, and is the only way where the CRM runs without a broker.
"""

import logging
from collections.abc import Sequence

from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction

from crm.models import Order

log = logging.getLogger("crm")
_C = Order.Confirmation


def request(order_ids: Sequence[int]) -> None:
    """Have each of these orders confirmed once this transaction has committed, if it waits for that."""
    # Robust: the order is made, whatever becomes of this; a mistyped broker's address is logged, not raised.
    announced = list(order_ids)
    transaction.on_commit(lambda: _announce(announced), robust=True)


def send(order_id: int) -> bool:
    """Send the order's confirmation unless that is done, being done, or nobody asked for it; say whether it was.

    Who is killed between the claim and the mail leaves the order as "sending": whether the mail went nobody knows,
    and no second one is sent.
    Raises: whatever the mail server's refusal raises; then it waits again.
    """
    waiting = Order.objects.filter(pk=order_id, confirmation=_C.WAITING)
    # One statement, committed before the mail: of two that come at once one claims it.
    if not waiting.update(confirmation=_C.SENDING):
        return False
    order = Order.objects.select_related("customer").get(pk=order_id)
    try:
        send_mail(
            f"Your order {order.pk}",
            f"Dear {order.customer.name},\n\nwe have received your order {order.pk} "
            f"of {order.ordered_at:%Y-%m-%d}: {order.total:.2f} in all.\n",
            None,
            [order.customer.email],
        )
    except BaseException:
        Order.objects.filter(pk=order_id, confirmation=_C.SENDING).update(confirmation=_C.WAITING)
        raise
    Order.objects.filter(pk=order_id).update(confirmation=_C.SENT)
    return True


def send_waiting() -> tuple[int, dict[int, str]]:
    """Send what still waits, oldest first; return how many were sent, and what went wrong with which order.

    One that cannot be sent does not keep the others.
    """
    sent, failed = 0, {}
    for order_id in Order.objects.filter(confirmation=_C.WAITING).order_by("pk").values_list("pk", flat=True):
        try:
            sent += send(order_id)
        except Exception as error:  # noqa: BLE001 (whatever mail raises: it is told, and the order waits again)
            failed[order_id] = f"{type(error).__name__}: {error}"
    return sent, failed


def _announce(order_ids: Sequence[int]) -> None:
    if not settings.CRM_BROKER_URL:
        return
    from kombu.exceptions import OperationalError  # Celery is there where a broker is set

    from crm.tasks import confirm_order

    for order_id in order_ids:
        try:
            confirm_order.delay(order_id)
        except OperationalError as error:
            # The order is made; a broker that is down must not make a visitor think otherwise, nor wait for each.
            log.warning("the broker takes no messages, confirmations follow within five minutes: %s", error)
            return
