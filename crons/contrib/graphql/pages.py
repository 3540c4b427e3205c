"""Pages of lists. A cursor is the key of its row: what comes and goes meanwhile shifts no page."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

import strawberry
from django.db.models import Q, QuerySet
from strawberry.relay import PageInfo

from crons.contrib.graphql.asking import Refusal
from crons.models import is_text

Row = TypeVar("Row")
MOST = 100
USUAL = 50
_LONGEST_CURSOR = 500

First = Annotated[int, strawberry.argument(description=f"How many rows, {MOST} at most.")]
After = Annotated[str | None, strawberry.argument(description="Only rows after this cursor.")]


@strawberry.type(description="A row of a page.")
class CronsEdge(Generic[Row]):
    """One row, and where it stands."""

    node: Row = strawberry.field(description="The row itself.")
    cursor: str = strawberry.field(description="Where the row stands in the list: pass it as after.")


@strawberry.type(description="A page of a list; cursors are keys, so changes meanwhile shift nothing.")
class CronsConnection(Generic[Row]):
    """One page, and whether there are more."""

    edges: list[CronsEdge[Row]] = strawberry.field(description="The rows of this page.")
    page_info: PageInfo = strawberry.field(description="Whether and how to go on.")


@dataclass(frozen=True)
class Order:
    """How a list is ordered: by *columns*, all the same way, the last unique. *name* is in its cursors."""

    name: str
    columns: tuple[str, ...]
    descending: bool = False

    def terms(self) -> list[str]:
        """Return what order_by() takes."""
        return [f"-{column}" if self.descending else column for column in self.columns]

    def beyond(self, key: Sequence[Any]) -> Q:
        """Return the condition for all rows after *key*.

        a < x or (a = x and b < y), with a <= x around it: a start for the index.
        """
        lookup = "lt" if self.descending else "gt"
        last, value = self.columns[-1], key[-1]
        condition = Q((f"{last}__{lookup}", value))
        if len(self.columns) == 1:
            return condition
        first, outer = self.columns[0], key[0]
        return Q((f"{first}__{lookup}e", outer)) & (Q((f"{first}__{lookup}", outer)) | condition)

    def cursor(self, row: Any) -> str:
        """Return the key of *row*, as text."""
        values = [getattr(row, column) for column in self.columns]
        key = [self.name, *(each.isoformat() if isinstance(each, datetime) else each for each in values)]
        return urlsafe_b64encode(json.dumps(key, separators=(",", ":")).encode()).decode()

    def key(self, cursor: str) -> list[Any]:
        """Return the key that *cursor* holds.

        Raises: Refusal BAD_USER_INPUT where it is no cursor of this list.
        """
        try:
            if len(cursor) > _LONGEST_CURSOR:
                raise ValueError("longer than any cursor")
            name, *values = json.loads(urlsafe_b64decode(cursor.encode("ascii")))
            if name != self.name or len(values) != len(self.columns):
                raise ValueError("a cursor of another list")
            return [_value(column, value) for column, value in zip(self.columns, values, strict=True)]
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            told = "after is no cursor of this list. Pass one of its cursors unchanged."
            raise Refusal("BAD_USER_INPUT", told) from error


def read(rows: QuerySet[Any], order: Order, first: int, after: str | None) -> list[Any]:
    """Return one row more than the page of *rows* that was asked for.

    Raises: Refusal BAD_USER_INPUT. Cost: one statement.
    """
    if not 0 <= first <= MOST:
        raise Refusal("BAD_USER_INPUT", f"first is {first}; expected 0 to {MOST}.")
    if after:
        rows = rows.filter(order.beyond(order.key(after)))
    return list(rows.order_by(*order.terms())[: first + 1])


def connection(nodes: Sequence[Any], keys: Sequence[str], *, more: bool, after: str | None) -> CronsConnection[Any]:
    """Return the page that has *nodes*, whose cursors are *keys*."""
    edges: list[CronsEdge[Any]] = [CronsEdge(node=node, cursor=key) for node, key in zip(nodes, keys, strict=True)]
    info = PageInfo(
        start_cursor=keys[0] if keys else None, end_cursor=keys[-1] if keys else None,
        has_previous_page=bool(after), has_next_page=more,
    )  # fmt: skip
    return CronsConnection(edges=edges, page_info=info)


def _value(column: str, given: Any) -> Any:
    if column == "pk":
        if not isinstance(given, int) or isinstance(given, bool) or not 0 <= given < 2**63:
            raise ValueError("no number of a row")
        return given
    if not isinstance(given, str) or not is_text(given):
        raise TypeError("no text")
    if column == "name":
        return given
    at = datetime.fromisoformat(given)
    if at.tzinfo is None or at.utcoffset():
        raise ValueError("no moment in UTC")
    return at
