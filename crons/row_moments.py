"""Columns of moments that can always be read: on SQLite, which keeps any text there, what is no moment reads as UNREAD.

Django reads a text such as `soon` as none, and ends the whole query over `2026-13-45 00:00:00`: one such row, written
by hand, ended every look at all of them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.db import models

# Past, so that it holds nobody up, and no moment that anybody means.
UNREAD = datetime(1900, 1, 1, tzinfo=UTC)
# Of a day that its month does not have SQLite makes one of the next month, of 24:00 one of the next day; and it has a
# year 0, which Python has not. The day alone: whole, a moment is rounded to milliseconds, into the next day.
IS_MOMENT = (
    "strftime('%%d', substr({0}, 1, 10), '+0 days') = substr({0}, 9, 2) AND substr({0}, 12, 2) < '24'"
    " AND substr({0}, 1, 4) > '0000' AND julianday({0}) IS NOT NULL"
)


class RowDateTimeField(models.DateTimeField):  # type: ignore[type-arg] # models.py says what it holds
    """A DateTimeField that can always be read; to the database it is a DateTimeField."""

    def deconstruct(self) -> Any:
        """Say to migrations what is in the database: a DateTimeField, whatever reads it."""
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.DateTimeField", args, kwargs

    def select_format(self, compiler: Any, sql: str, params: Any) -> tuple[str, Any]:
        """Have SQLite hand out only what is a moment: as the answer of an expression, which the driver leaves alone."""
        if compiler.connection.vendor != "sqlite":
            return sql, params
        checked = f"CASE WHEN {sql} IS NULL OR {IS_MOMENT.format(sql)} THEN {sql} ELSE '{UNREAD:%Y-%m-%d %H:%M:%S}' END"
        return checked, (*params,) * checked.count(sql)
