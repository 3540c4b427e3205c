"""JSON columns that can always be read: what somebody has garbled spoils its own row only.

Whoever reads such a row gets an empty value of the right kind that knows what it is; `unread` names the column. So a
list of entries can be shown, and the one whose row is garbled is neither planned nor begun.
"""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models.fields.json import KeyTransform

from crons.redaction.shapes import without_secrets_in

SHOWN = 80


class Garbled:
    """What stands in for a value that is not of its column's kind; *raw* is what was found, *text* its JSON."""

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


def unread(**columns: Any) -> str:
    """Say which of *columns* is garbled, and what was found there; empty where each can be read."""
    for name, value in columns.items():
        if isinstance(value, Garbled):
            kind = "a list" if isinstance(value, list) else "an object"
            return f"its column {name} holds {without_secrets_in(value.text)[:SHOWN]!r}, expected {kind} in JSON"
    return ""
