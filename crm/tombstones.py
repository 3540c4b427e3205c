"""What is left of customers who are gone: answers "why did X vanish?", and holds no personal data."""

import hashlib
import hmac
from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache

from django.conf import settings
from django.db import connection
from django.db.models import QuerySet
from django.utils.encoding import force_bytes

from crm.models import CustomerTombstone

_INSERT = """
    INSERT INTO crm_customertombstone
        (id_hash, email_hash, reason, became, archive, orders, run_key, deleted_at)
    VALUES (%s, %s, 'no order within a year', %s, %s, %s, %s, %s)
"""


def write(gone: Iterable[tuple[int, str, int]], *, became: str, now: datetime, key: str, archive: str = "") -> None:
    """Leave a tombstone for each of *gone*: a customer's id, e-mail address and number of orders.

    By hand: to make an object of each row and a statement of them takes longer than all else that a cleanup does.
    """
    deleted_at = connection.ops.adapt_datetimefield_value(now)
    values = ((_hash(str(pk)), _hash(email), became, archive, orders, key, deleted_at) for pk, email, orders in gone)
    with connection.cursor() as cursor:
        cursor.executemany(_INSERT, list(values))


def tombstones_of(id_or_email: str) -> QuerySet[CustomerTombstone]:
    """Select the tombstones of the customer with this id or e-mail address, under old secret keys as well."""
    column = "email_hash" if "@" in id_or_email else "id_hash"
    return CustomerTombstone.objects.filter(**{f"{column}__in": _hashes(id_or_email)})


def note_restored(ids: Iterable[int], *, now: datetime) -> None:
    """Have the tombstones of customers who came back out of an archive say so."""
    hashes = [each for pk in ids for each in _hashes(str(pk))]
    archived = CustomerTombstone.objects.filter(id_hash__in=hashes, became=CustomerTombstone.Became.ARCHIVED)
    archived.filter(restored_at=None).update(restored_at=now)


def _hashes(id_or_email: str) -> list[str]:
    return [_hash(id_or_email, secret=key) for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)]


def _hash(id_or_email: str, *, secret: str | bytes | None = None) -> str:
    # Keyed: e-mail addresses can be guessed, so a plain hash of one can be turned back.
    key = _key(settings.SECRET_KEY if secret is None else secret)
    return hmac.digest(key, id_or_email.strip().lower().encode(), "sha256").hex()


@lru_cache(maxsize=8)
def _key(secret: str | bytes) -> bytes:
    """Derive what salted_hmac("crm.customer_tombstone", …, secret, "sha256") derives anew for each value."""
    return hashlib.sha256(b"crm.customer_tombstone" + force_bytes(secret)).digest()
