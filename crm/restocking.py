"""Raising what is low over GraphQL, once for each key, as any other program would."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from crm.api_client import ApiClient, ApiFailed
from crm.graph import trusted


@dataclass(frozen=True)
class Level:
    """A product and its stock."""

    name: str
    stock: int

    def __str__(self) -> str:
        return f"{self.name} new stock {self.stock}"


@dataclass(frozen=True)
class Restocked:
    """What the mutation did; *replayed*: it had been done under this key, and nothing changed now."""

    products: list[Level]
    message: str
    replayed: bool


def update_low_stock(api: ApiClient, *, key: str) -> Restocked:
    """Have every low stock raised, once for each *key*; without one, at each call.

    Raises: ApiFailed, also for errors in the mutation's answer.
    """
    # Left out where there is none: it may be omitted, but must not be null.
    payload: Any = api.ask(trusted.of("update_low_stock"), {"key": key} if key else {}).get("updateLowStockProducts")
    try:
        messages = [f"{error['message']} ({error['code']})" for error in payload["errors"]]
        done = Restocked(_levels(payload["products"]), str(payload["message"]), payload["replayed"] is True)
    except (KeyError, TypeError):
        raise ApiFailed(f"Expected products and a message, but {payload!r:.200} came.") from None
    if messages:
        raise ApiFailed(f"The stocks were not raised: {'; '.join(messages)}")
    return done


def low(api: ApiClient, *, below: int, on_progress: Callable[[int, int | None], None] | None = None) -> list[Level]:
    """Give the products whose stock is less than *below*.

    Args: *on_progress* is called with (products so far, None) after each page.
    Raises: ApiFailed unless every page came, whole.
    """
    found: list[Level] = []
    for page in api.pages(trusted.of("low_products"), "products", {"below": below}):
        try:
            found += _levels(page)
        except (KeyError, TypeError):
            raise ApiFailed("Expected products with name and stock, but others came.") from None
        if on_progress:
            on_progress(len(found), None)
    return found


def _levels(rows: list[dict[str, Any]]) -> list[Level]:
    return [Level(str(row["name"]), int(row["stock"])) for row in rows]
