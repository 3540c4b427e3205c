"""Rows loaded together load what hangs on them together: one statement for a page, where one for each row threatens.

The first row of a page that is asked for its customer, or for its list of orders, loads them for the whole page.
Two aliases, filters, cursors and payloads of mutations make no difference: what is loaded depends on the rows at
hand and on the place in the document, never on a guess about the document made beforehand.
"""

from collections.abc import Callable, Sequence
from typing import Any

from django.db.models import Model, prefetch_related_objects

_PEERS = "_crm_peers"


class Peers:
    """Rows of one model that were loaded together, and what was loaded for all of them since."""

    def __init__(self, rows: Sequence[Model]) -> None:
        self.rows = rows
        self._loaded: dict[Any, Any] = {}

    def once(self, key: Any, load: Callable[[Sequence[Model]], Any]) -> Any:
        """Give what *load* makes of the rows, called for the first that asks under *key*."""
        if key not in self._loaded:
            self._loaded[key] = load(self.rows)
        return self._loaded[key]


def together(rows: Sequence[Model]) -> None:
    """Make *rows*, of one model, load together what hangs on them."""
    peers = Peers(rows)
    for row in rows:
        row.__dict__[_PEERS] = peers


def of(row: Model) -> Peers:
    """Give the peers of *row*: itself alone, if nobody loaded it with others."""
    if _PEERS not in row.__dict__:
        together([row])
    peers: Peers = row.__dict__[_PEERS]
    return peers


def one_to_one(row: Any, model: type[Model], column: str) -> Any:
    """Give the row of *model* whose *column* is the key of *row*; None where there is none.

    Cost: one statement for all peers of *row*.
    """

    def load(rows: Sequence[Model]) -> dict[Any, Model]:
        found = model._default_manager.filter(**{f"{column}__in": [each.pk for each in rows]})
        return {getattr(each, column): each for each in found}

    return of(row).once((model, column), load).get(row.pk)


def related(row: Model, name: str) -> Any:
    """Give what the foreign key *name* of *row* points to.

    Cost: one statement for all peers of *row*, none where it is loaded.
    """

    def load(rows: Sequence[Model]) -> None:
        prefetch_related_objects(rows, name)
        found = (getattr(each, name) for each in rows)
        together(list({id(each): each for each in found if each is not None}.values()))

    of(row).once(name, load)
    return getattr(row, name)
