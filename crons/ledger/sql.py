"""SQL that SQLite and PostgreSQL write differently, and what raw statements return."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connections
from django.db.models import BooleanField, QuerySet
from django.db.models.expressions import RawSQL
from django.utils.dateparse import parse_datetime

from crons.columns import UNREAD
from crons.schedules import FAR_PAST


def moment(value: Any) -> datetime | None:
    """Read a moment out of a raw statement's answer: text on SQLite, in UTC.

    What SQLite keeps and is none, written by hand, is UNREAD: hidden, it would hide what is due behind it.
    """
    if value is None:
        return None
    try:
        # First as it is nearly always written: a page reads ten thousand.
        read = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        read = _otherwise_written(value)
    if not isinstance(read, datetime):
        return UNREAD
    return read if read.tzinfo is not None else read.replace(tzinfo=UTC)


def _otherwise_written(value: str) -> datetime | None:
    try:
        return parse_datetime(value)
    except ValueError:
        return None


def known(value: Any) -> datetime | None:
    """Read a moment likewise, for who takes what is none, and what somebody has garbled, for not known."""
    read = moment(value)
    return None if read == UNREAD else read


def json_text(column: str, key: str, using: str) -> str:
    """Return SQL for the text under *key* in a JSON *column*."""
    if connections[using].vendor == "postgresql":
        return f"{column}->>'{key}'"
    return f"JSON_EXTRACT({column}, '$.{key}')"


def for_update(using: str, *tables: str, skip_locked: bool) -> str:
    """Return SQL that locks the rows found, leaving out those that somebody else holds, or waiting for them."""
    if connections[using].vendor == "sqlite":
        return ""  # its one write lock is held already
    of = f" OF {', '.join(tables)}" if tables else ""
    return f"FOR UPDATE{of}{' SKIP LOCKED' if skip_locked else ''}"


def for_reference(using: str) -> str:
    """Return SQL that keeps whoever locks the rows found for their ending out, and as few others as it can.

    On PostgreSQL a row may be renewed and given output meanwhile: a scheduler that waited for a job's
    transaction would renew nobody's lease.
    """
    if connections[using].vendor == "postgresql":
        return "FOR KEY SHARE"
    return for_update(using, skip_locked=False)


def fetch(sql: str, values: Mapping[str, Any], using: str) -> list[tuple[Any, ...]]:
    """Run a raw statement and return its rows; *values* are its named parameters."""
    with connections[using].cursor() as cursor:
        cursor.execute(sql, {name: parameter(value, using) for name, value in values.items()})
        return list(cursor.fetchall())


def parameter(value: Any, using: str) -> Any:
    """Return *value* as the parameter of a raw statement; a list is for `among`."""
    connection = connections[using]
    if value == FAR_PAST and connection.vendor == "sqlite":
        return -1e300  # sorts before all texts and numbers that somebody may have written by hand
    if isinstance(value, datetime):
        return connection.ops.adapt_datetimefield_value(value)
    return json.dumps(value) if isinstance(value, list) and connection.vendor == "sqlite" else value


def among(column: str, name: str, using: str) -> str:
    """Return SQL for: *column* is one of the list that is the parameter *name*."""
    if connections[using].vendor == "sqlite":
        return f"{column} IN (SELECT value FROM json_each(%({name})s))"  # noqa: S608 (names that stand in queries.py)
    return f"{column} = ANY(%({name})s)"


def found_by(column: str, rows: Iterable[QuerySet[Any]], using: str) -> RawSQL:
    """Return SQL for: *column* is a key that one of *rows* finds, each in its own order and to its own limit.

    An array for PostgreSQL, which takes it for a few keys: other subqueries it takes for many, and reads all rows.
    """
    parts: list[str] = []
    values: list[Any] = []
    for each in rows:
        try:
            sql, given = each.values("pk").query.get_compiler(using).as_sql()
        except EmptyResultSet:  # who asks may see none
            continue
        parts.append(f"SELECT * FROM ({sql}) p{len(parts)}")  # noqa: S608 (compiled by Django, with its parameters)
        values += given
    among = " UNION ALL ".join(parts) or "SELECT NULL"
    written = f"{column} IN ({among})" if connections[using].vendor == "sqlite" else f"{column} = ANY(ARRAY({among}))"
    return RawSQL(written, values, output_field=BooleanField())


def along(index: str, using: str) -> str:
    """Return SQL that has SQLite read a table along *index*; on PostgreSQL the statement's conditions have to."""
    return f"INDEXED BY {index}" if connections[using].vendor == "sqlite" else ""
