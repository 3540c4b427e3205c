"""Rules about reminders: which orders wait for their customer, and what is noted of them.

The orders are asked for over GraphQL, as any other program would: *api* is a crm.api_client.ApiClient.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from crm.api_client import ApiClient, ApiFailed
from crm.graph import trusted

WINDOW = timedelta(days=7)


@dataclass(frozen=True)
class Reminder:
    """An order that is still pending, by the number people see, and whom to remind."""

    order: int
    email: str

    def __str__(self) -> str:
        return f"Order {self.order} {self.email}"


def due(
    api: ApiClient, *, until: datetime, on_progress: Callable[[int, int | None], None] | None = None
) -> list[Reminder]:
    """Give a reminder for each order of the WINDOW before *until* that is pending, the oldest first.

    The window is half-open: an order made at *until* itself belongs to the next run.

    Args: *on_progress* is called with (orders so far, None) after each page.
    Raises: ApiFailed unless every page came, whole.
    """
    variables = {"since": (until - WINDOW).isoformat(), "until": until.isoformat()}
    found: dict[int, Reminder] = {}
    for page in api.pages(trusted.of("pending_orders"), "orders", variables):
        for row in page:
            reminder = _read(row)
            found[reminder.order] = reminder
        if on_progress:
            on_progress(len(found), None)
    return list(found.values())


def _read(row: dict[str, Any]) -> Reminder:
    try:
        order, status, email = row["pk"], row["status"], row["customer"]["email"]
    except (KeyError, TypeError):
        order, status, email = None, "", ""
    # Asked for pending ones only: anything else would remind people who have paid.
    if type(order) is not int or status != "PENDING" or not isinstance(email, str) or not email:
        raise ApiFailed(f"Expected a pending order with its customer's e-mail address, but {row!r:.200} came.")
    return Reminder(order, email)
