"""The orders of the list of jobs: each along an index, with places in it that an address can hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db import connections
from django.db.models import BooleanField, QuerySet
from django.db.models.expressions import RawSQL
from django.utils.dateparse import parse_datetime

from crons.conf import conf
from crons.models import Entry
from crons.presentation import iso


@dataclass(frozen=True)
class Order:
    """An order that an index serves: its columns, and how a place in it is written and read."""

    columns: tuple[str, ...]
    descending: bool
    write: Callable[[Any], str]
    place: Callable[[str], tuple[Any, ...] | None]

    def key(self, row: Entry) -> tuple[Any, ...]:
        """Return the place of *row*."""
        return tuple(getattr(row, column) for column in self.columns)

    def ordered(self, rows: QuerySet[Entry]) -> QuerySet[Entry]:
        """Put *rows* in this order."""
        return rows.order_by(*(f"-{column}" if self.descending else column for column in self.columns))

    def after(self, rows: QuerySet[Entry], place: tuple[Any, ...]) -> QuerySet[Entry]:
        """Keep what comes after *place*."""
        return rows.filter(self._beside(place, "<" if self.descending else ">"))

    def until(self, rows: QuerySet[Entry], place: tuple[Any, ...]) -> QuerySet[Entry]:
        """Keep what comes up to *place*, itself among it."""
        return rows.filter(self._beside(place, ">=" if self.descending else "<="))

    def _beside(self, place: tuple[Any, ...], sign: str) -> RawSQL:
        # Rows are compared as rows: by "or" a database would read all that fall due at one moment to find its place.
        adapt = connections[conf.database].ops.adapt_datetimefield_value
        given = [adapt(value) if isinstance(value, datetime) else value for value in place]
        columns = ", ".join(f"crons_entry.{column}" for column in self.columns)
        sql = f"({columns}) {sign} ({', '.join(['%s'] * len(given))})"
        return RawSQL(sql, given, output_field=BooleanField())


def _by_wake(text: str) -> tuple[Any, ...] | None:
    at, _, pk = text.partition("~")
    number = _by_id(pk)
    try:
        found = parse_datetime(at)
        if found is None or found.tzinfo is None or number is None:
            return None
        return found.astimezone(UTC), *number
    except (ValueError, OverflowError):  # in UTC it would lie before the year 1, or after 9999
        return None


def _by_id(text: str) -> tuple[Any, ...] | None:
    # The largest number of a row has 19 digits.
    return (int(text),) if text.isascii() and text.isdecimal() and len(text) < 19 else None


ORDER = {
    "name": Order(("name",), False, lambda key: str(key[0]), lambda text: (text,)),
    "-name": Order(("name",), True, lambda key: str(key[0]), lambda text: (text,)),
    "next": Order(("wake_at", "id"), False, lambda key: f"{iso(key[0])}~{key[1]}", _by_wake),
    "new": Order(("id",), True, lambda key: str(key[0]), _by_id),
}
