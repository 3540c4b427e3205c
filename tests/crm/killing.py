"""Killing work at each of its statements: what must come out the same in the end is then done again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

from django.db import connection, transaction

_OF_TRANSACTIONS = ("SAVEPOINT", "RELEASE", "ROLLBACK")


class Killed(BaseException):
    """The process is gone: nothing that it would do afterwards happens either."""


def at_every_statement(work: Callable[[], object]) -> Iterator[int]:
    """Have *work* killed before its first statement, in a next round before its second, until it gets through.

    Yields: the number of the statement, for the caller to do the work again and look; between rounds the database is
    put back. The last round is one in which it was not killed.
    """
    for number in count(1):
        with transaction.atomic():
            was_killed = _kill(work, number)
            yield number
            transaction.set_rollback(True)
        if not was_killed:
            return


def _kill(work: Callable[[], object], number: int) -> bool:
    done = 0

    def wrapper(execute, sql, params, many, context):  # type: ignore[no-untyped-def]
        nonlocal done
        # A database ends the transaction of a connection that is gone.
        if sql.lstrip().upper().startswith(_OF_TRANSACTIONS):
            return execute(sql, params, many, context)
        done += 1
        if done >= number:
            raise Killed
        return execute(sql, params, many, context)

    with connection.execute_wrapper(wrapper):
        try:
            work()
        except Killed:
            return True
    return False
