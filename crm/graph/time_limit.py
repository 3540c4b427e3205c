"""A time-out for each statement of a request to GraphQL: what the limits on documents cannot foresee ends there.

Jobs have none: they work through what takes long, under time-outs of their own.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

from django.conf import settings
from django.db import OperationalError, connection
from graphql import GraphQLError

_STEPS = 10_000  # of SQLite's machine, between two looks at the clock: under a millisecond
_OF_SAVEPOINTS = ("SAVEPOINT", "RELEASE SAVEPOINT", "ROLLBACK TO SAVEPOINT")


@contextmanager
def statements_limited() -> Iterator[None]:
    """End each statement of the block that takes longer than CRM_STATEMENT_TIMEOUT; 0 ends none."""
    seconds = settings.CRM_STATEMENT_TIMEOUT
    if not seconds:
        yield
    elif connection.vendor == "sqlite":
        with _sqlite(seconds):
            yield
    else:
        with connection.execute_wrapper(partial(_postgresql, round(seconds * 1000))):
            yield


def as_client_errors(errors: list[GraphQLError]) -> list[GraphQLError]:
    """Give *errors* with those of a statement that took too long as the client's."""
    return [_too_slow(error) if _is_timeout(error.original_error) else error for error in errors]


@contextmanager
def _sqlite(seconds: float) -> Iterator[None]:
    ends_at = 0.0

    def begin(execute: Callable[..., Any], *given: Any) -> Any:
        nonlocal ends_at
        if not ends_at:  # at the first statement: a request that asks nothing of the database opens none
            connection.connection.set_progress_handler(lambda: time.monotonic() > ends_at, _STEPS)
        ends_at = time.monotonic() + seconds
        return execute(*given)

    try:
        with connection.execute_wrapper(begin):
            yield
    finally:
        if ends_at and connection.connection:
            connection.connection.set_progress_handler(None, 0)


def _postgresql(milliseconds: int, execute: Callable[..., Any], sql: str, *given: Any) -> Any:
    if sql.startswith(_OF_SAVEPOINTS):  # also sent after an error, where nothing else may be
        return execute(sql, *given)
    # In a transaction of its own, or in the one that a mutation is in: a setting of the session would outlive the
    # request where a pooler lends the session on. Past Django, which would count these statements as the request's.
    raw = connection.connection
    with nullcontext() if connection.in_atomic_block else raw.transaction():
        raw.execute(f"SET LOCAL statement_timeout = {milliseconds}")
        found = execute(sql, *given)
        raw.execute("SET LOCAL statement_timeout TO DEFAULT")
        return found


def _is_timeout(error: Exception | None) -> bool:
    cause = error.__cause__ if isinstance(error, OperationalError) else None
    # 57014 is query_canceled; SQLite has only its text.
    return getattr(cause, "sqlstate", None) == "57014" or str(cause) == "interrupted"


def _too_slow(error: GraphQLError) -> GraphQLError:
    seconds = f"{settings.CRM_STATEMENT_TIMEOUT:g}"
    return GraphQLError(
        f"The database took longer than {seconds} s. Ask for fewer rows, or narrow the filter.",
        nodes=error.nodes,
        path=error.path,
        extensions={"code": "TOO_SLOW"},
    )
