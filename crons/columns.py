"""Columns that can always be read: what somebody has garbled by hand spoils its own row only.

Whoever reads a garbled JSON column gets an empty value of the right kind that knows what it is; `unread` names the
column. So a list of entries can be shown, and the one whose row is garbled is neither planned nor begun.
On SQLite, which keeps any text in a column of moments, what is no moment reads as UNREAD. Django reads a text such as
`soon` as none, and ends the whole query over `2026-13-45 00:00:00`: one such row ended every query of all of them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.db import models
from django.db.models.fields.json import KeyTransform

from crons.redaction.shapes import without_secrets_in

SHOWN = 80
# In the past, so that nothing waits for it, and a moment that nobody uses.
UNREAD = datetime(1900, 1, 1, tzinfo=UTC)
# SQLite reads February 30 as a day in March and 24:00 as the next day, and knows a year 0: Python knows none of these.
# The day is compared alone: strftime rounds a whole moment to milliseconds, which may be the next day.
IS_MOMENT = (
    "strftime('%%d', substr({0}, 1, 10), '+0 days') = substr({0}, 9, 2) AND substr({0}, 12, 2) < '24'"
    " AND substr({0}, 1, 4) > '0000' AND julianday({0}) IS NOT NULL"
)


class Garbled:
    """Stands for a value that is not of its column's kind; *raw* is what was found, *text* its JSON."""

    raw: Any = None
    text: str = ""


class GarbledDict(Garbled, dict[str, Any]):
    """An empty dict in place of what is none."""


class GarbledList(Garbled, list[Any]):
    """An empty list in place of what is none."""


STANDS_IN: dict[type, type[Any]] = {dict: GarbledDict, list: GarbledList}


class RowJSONField(models.JSONField):
    """A JSONField whose values are all of one *kind*, dict or list; to the database it is a JSONField."""

    def __init__(self, *args: Any, kind: type = dict, **kwargs: Any) -> None:
        self.kind = kind
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> Any:
        """Say to migrations what is in the database: a JSONField, whatever reads it."""
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.JSONField", args, kwargs

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        """Return what the column holds, or what stands in for it."""
        if value is None or isinstance(expression, KeyTransform):
            return super().from_db_value(value, expression, connection)
        try:
            found = super().from_db_value(value, expression, connection)
        except (ValueError, RecursionError):
            found = value
        if isinstance(found, self.kind):
            return found
        stand_in = STANDS_IN[self.kind]()
        stand_in.raw, stand_in.text = found, str(value)
        return stand_in

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        """Write back what was found, so that saving another column changes nothing here."""
        return super().get_db_prep_value(value.raw if isinstance(value, Garbled) else value, connection, prepared)


@RowJSONField.register_lookup
class HasTag(models.Lookup):
    """Whether a column of a list holds a text: `Q(tags__has_tag="shop")`; Django's `contains` cannot tell on SQLite."""

    lookup_name = "has_tag"
    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        """Look at each element of a list, and at nothing of what is none."""
        column, given = self.process_lhs(compiler, connection)
        tag, more = self.process_rhs(compiler, connection)
        if connection.vendor == "postgresql":
            sql = f"(jsonb_typeof({column}) = 'array' AND jsonb_exists({column}, {tag}))"
            return sql, (*given, *given, *more)
        # What is no JSON at all would end the whole query.
        of_list = f"CASE json_type({column}) WHEN 'array' THEN {column} ELSE '[]' END"
        each = f"json_each(CASE WHEN json_valid({column}) THEN {of_list} ELSE '[]' END)"
        # Nothing but names of columns and placeholders are put together here.
        sql = f"EXISTS (SELECT 1 FROM {each} each_tag WHERE each_tag.type = 'text' AND each_tag.value = {tag})"  # noqa: S608
        return sql, (*given, *given, *given, *more)

    def get_db_prep_lookup(self, value: Any, connection: Any) -> Any:
        """Compare with a text, not with its JSON."""
        return "%s", [str(value)]


class IsAmong(models.Lookup):
    """Whether a text is an element of the list in a JSON column; the texts are looked up, not compared with each."""

    lookup_name = "is_among"

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        """Take what is no list as an empty one."""
        text, given = self.process_lhs(compiler, connection)
        found, more = self.process_rhs(compiler, connection)
        if connection.vendor == "postgresql":
            of_list = f"CASE jsonb_typeof({found}) WHEN 'array' THEN {found} ELSE '[]'::jsonb END"
            sql = f"{text} IN (SELECT jsonb_array_elements_text({of_list}))"
        else:
            of_list = f"CASE WHEN json_valid({found}) THEN {found} ELSE '[]' END"
            sql = f"{text} IN (SELECT each_text.value FROM json_each({of_list}) each_text)"  # noqa: S608 (the same)
        return sql, (*given, *more, *more)


def unread(**columns: Any) -> str:
    """Say which of *columns* is garbled, and what was found there; empty where each can be read."""
    for name, value in columns.items():
        if isinstance(value, Garbled):
            kind = "a list" if isinstance(value, list) else "an object"
            return f"its column {name} holds {without_secrets_in(value.text)[:SHOWN]!r}, expected {kind} in JSON"
    return ""


class RowDateTimeField(models.DateTimeField):  # type: ignore[type-arg] # mypy's plugin says what it holds
    """A DateTimeField that can always be read; to the database it is a DateTimeField."""

    def deconstruct(self) -> Any:
        """Say to migrations what is in the database: a DateTimeField, whatever reads it."""
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.DateTimeField", args, kwargs

    def select_format(self, compiler: Any, sql: str, params: Any) -> tuple[str, Any]:
        """Have SQLite return UNREAD for what is no moment; by an expression, because the driver converts columns."""
        if compiler.connection.vendor != "sqlite":
            return sql, params
        checked = f"CASE WHEN {sql} IS NULL OR {IS_MOMENT.format(sql)} THEN {sql} ELSE '{UNREAD:%Y-%m-%d %H:%M:%S}' END"
        return checked, (*params,) * checked.count(sql)
