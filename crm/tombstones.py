"""What is left of customers who are gone: answers "why did X vanish?", and holds no personal data."""

from collections.abc import Iterable
from datetime import datetime

from django.conf import settings
from django.db.models import QuerySet
from django.utils.crypto import salted_hmac

from crm.models import CustomerTombstone


def write(gone: Iterable[tuple[int, str, int]], *, became: str, now: datetime, key: str, archive: str = "") -> None:
    """Leave a tombstone for each of *gone*: a customer's id, e-mail address and number of orders."""
    CustomerTombstone.objects.bulk_create(
        CustomerTombstone(
            id_hash=_hash(str(pk)),
            email_hash=_hash(email),
            reason="no order within a year",
            became=became,
            archive=archive,
            orders=orders,
            run_key=key,
            deleted_at=now,
        )
        for pk, email, orders in gone
    )


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
    value = id_or_email.strip().lower()
    return salted_hmac("crm.customer_tombstone", value, secret=secret, algorithm="sha256").hexdigest()
