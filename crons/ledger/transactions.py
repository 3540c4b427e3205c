"""How the ledger talks to its database: one way to write, one kind of failure, and a note of who did what."""

from __future__ import annotations

import functools
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, ParamSpec, TypeVar

from django.db import InterfaceError, InternalError, OperationalError, connections, transaction
from django.db.models import Model, QuerySet
from django.utils import timezone

from crons.conf import conf
from crons.exceptions import Fenced, LedgerUnavailable, Refused
from crons.ledger.refusals import refused_writes
from crons.ledger.sql import for_reference
from crons.models import AuditEvent

P = ParamSpec("P")
M = TypeVar("M", bound=Model)
R = TypeVar("R")
TRIES = 5
# Most rows that one transaction records or ends: others write in between.
BATCH = 1_000
MILLISECOND = timedelta(milliseconds=1)
# Part of PostgreSQL's message when lock_timeout is over. Not tried again at once: the next pass does.
LOCK_KEPT = "due to lock timeout"
# An InternalError is what PostgreSQL calls a server that became a read-only standby.
AWAY = (OperationalError, InterfaceError, InternalError)
# What time it is, where a test says so; only crons.testing.clock sets it.
now_in_tests: Callable[[], datetime] | None = None
# Lengths of the columns for who and why.
BY, REASON = 150, 255
# NUL, and the surrogates that Python makes of bytes that are no UTF-8, such as an umlaut of a Latin-1 terminal.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
TRANSIENT = ("locked", "deadlock", "could not serialize", "lock wait timeout")

MINE = "SELECT id FROM crons_attempt WHERE id = %s AND outcome = ''"


@contextmanager
def writing(*, bounded: bool = True) -> Iterator[str]:
    """Open a transaction for writing on the ledger's database and yield its alias; a caller's own is joined.

    On SQLite it is IMMEDIATE whatever the project's settings say: a deferred one that reads before it
    writes failed with "database is locked" in 96 of 114 racing passes, whatever the busy timeout.
    Args: *bounded* is for the ledger's own statements: on PostgreSQL none waits long for a lock. See _bound_waits.
    """
    using = conf.database
    connection: Any = connections[using]
    if not connection.in_atomic_block and not connection.get_autocommit():
        raise Refused(
            "autocommit is off on the ledger's database, so what is written would vanish when the connection closes. "
            "Turn it on (transaction.set_autocommit(True)), or call this inside transaction.atomic()."
        )
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        is_ours = not connection.in_atomic_block
        with transaction.atomic(using=using):
            if bounded and is_ours:
                _bound_waits(using)
            yield using
        return
    connection.ensure_connection()
    before, connection.transaction_mode = connection.transaction_mode, "IMMEDIATE"
    try:
        with transaction.atomic(using=using):
            connection.transaction_mode = before
            yield using
    finally:
        connection.transaction_mode = before


@contextmanager
def reading() -> Iterator[str]:
    """Yield the ledger's alias for statements that only read; on PostgreSQL none waits long for a lock."""
    using = conf.database
    if connections[using].vendor != "postgresql" or connections[using].in_atomic_block:
        yield using
        return
    with transaction.atomic(using=using):
        _bound_waits(using)
        yield using


@contextmanager
def fenced(token: int) -> Iterator[None]:
    """Open a transaction that commits only while attempt *token* still owns its run.

    Raises: Fenced if it does not; nothing is written then.
    """
    # Not bounded: what the job does inside waits for locks as long as the project says.
    with writing(bounded=False) as using:
        with connections[using].cursor() as cursor:
            cursor.execute(f"{MINE} {for_reference(using)}", [token])
            mine = cursor.fetchone()
        if mine is None:
            raise Fenced(f"attempt {token} no longer owns its run: it ended or was declared lost. Nothing was written.")
        yield


def _bound_waits(using: str) -> None:
    """Have this transaction's statements give up on locks that others keep: VACUUM FULL, ALTER TABLE, a forgotten psql.

    A scheduler has one thread. One that waited for the table of its output wrote no renewals either, and the
    supervisors killed its healthy jobs at the end of their leases. A ninth of the lease: between a renewal that is due
    and the kill several tries fit. In the transaction, because of a session PgBouncer forgets, or tells others.
    """
    if connections[using].vendor == "postgresql":
        with connections[using].cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = {max(1, conf.lease // 9 // MILLISECOND)}")


def verb(function: Callable[P, R]) -> Callable[P, R]:
    """Try *function* again when another writer was in its way; say LedgerUnavailable when the database is away.

    Only for functions that may be repeated: each must be one transaction.
    """

    @functools.wraps(function)
    def retried(*args: P.args, **kwargs: P.kwargs) -> R:
        for tries_left in reversed(range(TRIES)):
            try:
                return function(*args, **kwargs)
            except AWAY as error:
                connection = connections[conf.database]
                inside = connection.in_atomic_block
                if not inside:
                    connection.close_if_unusable_or_obsolete()
                if inside or not tries_left or not _is_transient(error):
                    if not inside:
                        refused_writes.note(error)
                    raise LedgerUnavailable(_describe(error)) from error
            # Racers that failed together must not come back together.
            time.sleep(random.uniform(0.01, 0.1) * (TRIES - tries_left))
        raise AssertionError("unreachable")

    return retried


def note(
    action: str,
    subject_type: str,
    subject: str | int,
    by: str,
    now: datetime,
    using: str,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    reason: str = "",
) -> None:
    """Append an audit event, in the transaction of the deed: neither is there without the other."""
    AuditEvent.objects.using(using).create(
        at=now,
        actor=storable(by, BY),
        verb=action,
        subject_type=subject_type,
        subject=str(subject)[:150],
        before=before,
        after=after,
        reason=storable(reason, REASON),
    )


def storable(text: str, length: int) -> str:
    """Return *text* without characters that databases refuse, cut to *length*: a pause must not fail over an umlaut."""
    return _UNSTORABLE.sub("\ufffd", text)[:length]


def database_now() -> datetime:
    """Return the database's own time, so that hosts whose clocks differ agree; on SQLite it is this machine's."""
    if now_in_tests is not None:
        return now_in_tests()
    connection = connections[conf.database]
    if connection.vendor == "sqlite":
        return timezone.now()
    sql = "SELECT clock_timestamp()"
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            moment: datetime = cursor.fetchone()[0]
    except AWAY as error:
        connection.close_if_unusable_or_obsolete()
        raise LedgerUnavailable(f"the database could not be asked for the time: {error}") from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _describe(error: Exception) -> str:
    if LOCK_KEPT in str(error):
        locked = "; ".join(str(error).replace("CONTEXT:  ", "").splitlines())
        return (
            f"somebody else keeps a lock on what the ledger needs (who: pg_stat_activity, pg_blocking_pids): {locked}"
        )
    return f"the database did not answer: {error}"


def _is_transient(error: Exception) -> bool:
    return any(word in str(error).lower() for word in TRANSIENT)


def lock_free(found: QuerySet[M], using: str, *tables: str) -> QuerySet[M]:
    """Lock the rows of *tables* that *found* yields, leaving out those that somebody else holds."""
    features = connections[using].features
    of = tables if features.has_select_for_update_of else ()
    return found.select_for_update(skip_locked=features.has_select_for_update_skip_locked, of=of)


def lock_all(found: QuerySet[M], using: str, *tables: str) -> QuerySet[M]:
    """Lock the rows of *tables* that *found* yields, waiting for whoever holds them."""
    of = tables if connections[using].features.has_select_for_update_of else ()
    return found.select_for_update(of=of)
