"""What every table has: read where the ledger writes, and only texts that databases take."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from django.db import models

from crons.conf import conf

M = TypeVar("M", bound=models.Model)


class LedgerManager(models.Manager[M]):
    """Reads where the ledger writes: a router's replica may lag behind."""

    def get_queryset(self) -> models.QuerySet[M]:
        """Ask the ledger's database, unless another was named."""
        rows = super().get_queryset()
        return rows if self._db else rows.using(conf.database)


class LedgerRow(models.Model):
    """A row of crons. What hangs on it is read through the same manager: `run.entry`, and what Django prefetches."""

    if not TYPE_CHECKING:  # the stubs know the usual manager of each model
        objects = LedgerManager()

    class Meta:
        abstract = True


# Set here, not in Meta: models without a Meta of their own inherit that one, and migrations would record it.
LedgerRow._meta.base_manager_name = "objects"


def is_text(text: str) -> bool:
    """Say whether a database takes *text*: no NUL, no half of a surrogate pair, as a terminal's odd bytes become."""
    return not any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in text)
