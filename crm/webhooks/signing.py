"""Secrets of endpoints, and what a request is signed with.

A secret is made from the project's secret key and a random nonce whenever it is needed, and is kept nowhere: a copy of
the database signs nothing. When SECRET_KEY changes, the old one belongs into CRM_SECRET_KEY_FALLBACKS, so that the
customers' secrets stay what they are.
"""

import base64
import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils.crypto import salted_hmac

from crm.webhooks.models import WebhookEndpoint, WebhookSecret

PREFIX = "whsec_"
# While both sign, the customer has time to take the new one.
ROTATES_FOR = timedelta(days=1)


class NoSecret(Exception):
    """The endpoint has no secret that the project's keys give again."""


def give_secret(endpoint: WebhookEndpoint, *, now: datetime) -> str:
    """Give the endpoint a new secret, and return it; those before it sign beside it for ROTATES_FOR."""
    nonce = secrets.token_hex(32)
    text = _text(nonce, settings.SECRET_KEY)
    with transaction.atomic():
        # One at a time: of two at once both would be the newest.
        WebhookEndpoint.objects.select_for_update(no_key=True).get(pk=endpoint.pk)
        endpoint.secrets.filter(ends_at=None).update(ends_at=now + ROTATES_FOR)
        endpoint.secrets.filter(ends_at__lte=now).delete()
        WebhookSecret.objects.create(endpoint=endpoint, nonce=nonce, fingerprint=_fingerprint(text), created_at=now)
    return text


def secret_of(endpoint: WebhookEndpoint) -> str:
    """Give the newest secret of the endpoint.

    Raises: NoSecret.
    """
    newest = endpoint.secrets.filter(ends_at=None).first()
    text = newest and _again(newest)
    if not text:
        raise NoSecret(_NONE)
    return text


def secrets_of(endpoint: WebhookEndpoint, *, now: datetime) -> list[str]:
    """Give what signs for the endpoint at the moment, the newest first.

    Raises: NoSecret where there is none.
    """
    rows = endpoint.secrets.filter(Q(ends_at=None) | Q(ends_at__gt=now))
    found = [text for row in rows if (text := _again(row))]
    if not found:
        raise NoSecret(_NONE)
    return found


def headers(uid: str, at: datetime, body: str, secret_texts: Iterable[str]) -> dict[str, str]:
    """Give the three headers of Standard Webhooks 1.0, with one signature for each secret."""
    from standardwebhooks import Webhook  # for this alone: a job that has nothing to send does not need it

    signatures = [Webhook(text).sign(uid, at, body) for text in secret_texts]
    return {
        "webhook-id": uid,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


_NONE = (
    "The endpoint has no secret that CRM_SECRET_KEY or its fallbacks give again. Put the key that it was made "
    "with into CRM_SECRET_KEY_FALLBACKS, or rotate the endpoint's secret and hand the new one over."
)


def _again(row: WebhookSecret) -> str | None:
    for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        text = _text(row.nonce, key)
        if secrets.compare_digest(_fingerprint(text), row.fingerprint):
            return text
    return None


def _text(nonce: str, key: str | bytes) -> str:
    digest = salted_hmac("crm.webhooks", nonce, secret=key, algorithm="sha256").digest()
    return PREFIX + base64.b64encode(digest).decode()


def _fingerprint(text: str) -> str:
    # 64 bits of a hash of 256 random ones: enough to know it again, and no help in finding it.
    return hashlib.sha256(text.encode()).hexdigest()[:16]
