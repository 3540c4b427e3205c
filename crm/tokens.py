"""Service tokens: what a program shows to use the API, `crm_<prefix>_<secret>`.

Only the SHA-256 of the secret is kept. It has 256 random bits: no slow hash makes it harder to guess,
and each request would pay for one.
"""

import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from crm.models import ServiceToken

SCOPES = (
    "customers:read",
    "customers:write",
    "products:read",
    "products:write",
    "orders:read",
    "orders:write",
    "stock:write",
    "reports:read",
    "imports:read",
    "imports:write",
    "crons:read",
    "crons:output",
    "crons:operate",
)
LONGEST_LIFE = timedelta(days=366)
OVERLAP = timedelta(hours=24)
# So long before its end people hear of a token in use; who has it renewed by itself does so earlier.
WARNED_BEFORE = timedelta(days=14)
# What was not used for so long is not in use: every job comes once a week at least.
USED_WITHIN = timedelta(days=8)
# A busy program would write its row at each request otherwise.
USE_NOTED_EVERY = timedelta(minutes=1)

_FORM = re.compile(r"crm_([a-z0-9]{8})_([A-Za-z0-9_-]{43})")
_PREFIX_LETTERS = string.ascii_lowercase + string.digits
_NO_SECRET = "0" * 64


class TokenRefused(Exception):
    """What was asked for a token cannot be done; nothing was written."""


class InvalidToken(Exception):
    """The token opens nothing. The message may be shown to who sent it, and never holds the token."""


def issue(
    name: str,
    scopes: Iterable[str],
    expires_at: datetime,
    *,
    trusted_only: bool = False,
    now: datetime | None = None,
) -> tuple[ServiceToken, str]:
    """Make a token; give its row and its text, which nothing can show again.

    Args: *trusted_only*: it may ask nothing but trusted documents.

    Raises: TokenRefused for no name, no scope or an unknown one, a past end or one after LONGEST_LIFE.
    """
    now = now or timezone.now()
    wanted = _checked_scopes(scopes)
    name = name.strip()
    if not name or len(name) > 100 or not name.isprintable():
        raise TokenRefused(f"The name is {name[:100]!r}. Give 1 to 100 printable characters: who will use the token.")
    if not now < expires_at <= now + LONGEST_LIFE:
        raise TokenRefused(
            f"The token would expire {expires_at:%Y-%m-%d %H:%M:%S %z}. "
            f"Give a moment from now to {LONGEST_LIFE.days} days ahead."
        )
    secret = secrets.token_urlsafe(32)
    while True:
        prefix = "".join(secrets.choice(_PREFIX_LETTERS) for _ in range(8))
        values = {"name": name, "scopes": wanted, "trusted_only": trusted_only}
        moments = {"created_at": now, "expires_at": expires_at}
        try:
            with transaction.atomic():
                row = ServiceToken.objects.create(prefix=prefix, secret_hash=_hash(secret), **values, **moments)
        except IntegrityError:
            if not ServiceToken.objects.filter(prefix=prefix).exists():
                raise
        else:
            return row, f"crm_{prefix}_{secret}"


def authenticate(text: str, *, now: datetime | None = None) -> ServiceToken:
    """Give the row of the token *text*, and note its use.

    Raises: InvalidToken: malformed or unknown (a stranger must not learn which of the two), revoked, expired.
    Cost: one query by a unique index; one update where USE_NOTED_EVERY has passed since the last.
    """
    now = now or timezone.now()
    match = _FORM.fullmatch(text)
    prefix, secret = match.groups() if match else ("", "")
    row = ServiceToken.objects.filter(prefix=prefix).first()
    # Compared in constant time, and also where there is no row: how long it takes says nothing.
    is_right = hmac.compare_digest(_hash(secret), row.secret_hash if row else _NO_SECRET)
    if row is None or not is_right:
        raise InvalidToken("The service token is not known. Check that it was copied whole, or issue another.")
    if row.revoked_at is not None and row.revoked_at <= now:
        raise InvalidToken(f"The service token {row.prefix} was revoked {row.revoked_at:%Y-%m-%d %H:%M:%S} UTC.")
    if row.expires_at <= now:
        raise InvalidToken(f"The service token {row.prefix} expired {row.expires_at:%Y-%m-%d %H:%M:%S} UTC.")
    _note_use(row, now)
    return row


def rotate(
    prefix: str, *, overlap: timedelta = OVERLAP, expires_at: datetime | None = None, now: datetime | None = None
) -> tuple[ServiceToken, str]:
    """Replace the token *prefix* by one of the same name, scopes and documents; the old one opens for *overlap* longer.

    The new one lives as long as the old was meant to, unless *expires_at* is given.

    Returns: the new row and its text.
    Raises: TokenRefused for a token that is unknown, revoked or expired.
    """
    now = now or timezone.now()
    if overlap < timedelta(0):
        raise TokenRefused(f"The overlap is {overlap}. Give zero (the old token ends now) or more.")
    with transaction.atomic():
        old = _locked(prefix)
        state = state_of(old, now)
        if state != "active":
            raise TokenRefused(f"The token {prefix} is {state}. Issue a new one: manage.py service_token issue")
        life = old.expires_at - old.created_at
        row, text = issue(old.name, old.scopes, expires_at or now + life, trusted_only=old.trusted_only, now=now)
        old.expires_at = min(old.expires_at, now + overlap)
        old.save(update_fields=["expires_at"])
    return row, text


def revoke(prefix: str, *, now: datetime | None = None) -> ServiceToken:
    """Close the token *prefix* from now on; revoking it again changes nothing.

    Raises: TokenRefused for an unknown one.
    """
    with transaction.atomic():
        row = _locked(prefix)
        if row.revoked_at is None:
            row.revoked_at = now or timezone.now()
            row.save(update_fields=["revoked_at"])
    return row


def ending(now: datetime) -> list[ServiceToken]:
    """List the tokens in use that end within WARNED_BEFORE, the next to end first.

    Not one that lies idle since another of its name was made: its program has that one.
    """
    replaced = ServiceToken.objects.filter(
        name=OuterRef("name"), created_at__gte=OuterRef("last_used_at"), expires_at__gt=OuterRef("expires_at")
    )
    open_yet = ServiceToken.objects.filter(expires_at__gt=now, expires_at__lte=now + WARNED_BEFORE, revoked_at=None)
    in_use = open_yet.filter(~Exists(replaced), last_used_at__gt=now - USED_WITHIN)
    return list(in_use.order_by("expires_at", "pk"))


def state_of(row: ServiceToken, now: datetime) -> str:
    """Say whether *row* is active, expired or revoked at *now*."""
    if row.revoked_at is not None and row.revoked_at <= now:
        return "revoked"
    return "expired" if row.expires_at <= now else "active"


def _checked_scopes(scopes: Iterable[str]) -> list[str]:
    given = set(scopes)
    if not given:
        raise TokenRefused(f"The token would have no scope. Give at least one of {', '.join(SCOPES)}.")
    if unknown := sorted(given.difference(SCOPES)):
        raise TokenRefused(f"{unknown[0]!r} is no scope. Known: {', '.join(SCOPES)}.")
    return [scope for scope in SCOPES if scope in given]


def _locked(prefix: str) -> ServiceToken:
    row = ServiceToken.objects.select_for_update().filter(prefix=prefix).first()
    if row is None:
        shown = prefix if len(prefix) <= 8 else f"{prefix[:8]}…"
        raise TokenRefused(f"There is no token {shown!r}. See: manage.py service_token list")
    return row


def _note_use(row: ServiceToken, now: datetime) -> None:
    stale = now - USE_NOTED_EVERY
    if row.last_used_at is None or row.last_used_at <= stale:
        # Asked again in the statement: of many requests at once one writes.
        unnoted = ServiceToken.objects.filter(Q(last_used_at__isnull=True) | Q(last_used_at__lte=stale), pk=row.pk)
        unnoted.update(last_used_at=now)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
