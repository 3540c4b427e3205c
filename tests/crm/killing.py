"""Killing work at each of its steps: what must come out the same in the end is then done again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import count
from typing import Any
from unittest.mock import patch

from django.db import connection, transaction

_ATOMIC = transaction.Atomic.__init__
_OF_TRANSACTIONS = ("SAVEPOINT", "RELEASE", "ROLLBACK")


class Killed(BaseException):
    """The process is gone: nothing that it would do afterwards happens either."""


def at_every_statement(work: Callable[[], object], calls: Sequence[tuple[Any, str]] = ()) -> Iterator[int]:
    """Have *work* killed before its first statement, in a next round before its second, until it gets through.

    Args: *calls* are steps besides the statements, such as those that change files: pairs of where and which.
    Yields: the number of the statement, for the caller to do the work again and look; between rounds the database is
    put back. The last round is one in which it was not killed.
    """
    for number in count(1):
        with transaction.atomic():
            was_killed = _kill(work, number, calls)
            yield number
            transaction.set_rollback(True)
        if not was_killed:
            return


def _kill(work: Callable[[], object], number: int, calls: Sequence[tuple[Any, str]]) -> bool:
    done = 0

    def take_a_step() -> None:
        nonlocal done
        done += 1
        if done >= number:
            raise Killed

    def wrapper(execute, sql, params, many, context):  # type: ignore[no-untyped-def]
        # A database ends the transaction of a connection that is gone.
        if not sql.lstrip().upper().startswith(_OF_TRANSACTIONS):
            take_a_step()
        return execute(sql, params, many, context)

    def counted(real):  # type: ignore[no-untyped-def]
        def call(*args, **given):  # type: ignore[no-untyped-def]
            take_a_step()
            return real(*args, **given)

        return call

    with ExitStack() as stack:
        stack.enter_context(connection.execute_wrapper(wrapper))
        stack.enter_context(patch.object(transaction.Atomic, "__init__", _with_savepoint))
        for place, name in calls:
            stack.enter_context(patch.object(place, name, counted(getattr(place, name))))
        try:
            work()
        except Killed:
            # All blocks of the work are rolled back; Django takes the round's own block for one of them.
            connection.set_rollback(False)
            return True
    return False


def _with_savepoint(self: transaction.Atomic, using: str | None, savepoint: bool, durable: bool) -> None:
    """Have each block roll back alone, as it would outside of the round's transaction."""
    _ATOMIC(self, using, True, durable)
