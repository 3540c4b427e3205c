"""Links in mails that act for their reader without a login: signed, for one reader and one thing."""

from dataclasses import dataclass

from django.conf import settings
from django.urls import reverse
from django.utils.crypto import constant_time_compare, salted_hmac

RECIPIENT, CUSTOMER = "r", "c"
_KINDS = (RECIPIENT, CUSTOMER)
# 96 bits: enough that nobody guesses one, and short, so that no mail client breaks the line.
_LENGTH = 24


@dataclass(frozen=True)
class Reader:
    """Who a link speaks for: a recipient of reports, or a customer, by its number."""

    kind: str
    number: int


def address_of(reader: Reader) -> str:
    """Give the address at which *reader* says what mails to get; it has no end, as mails are kept."""
    name = f"{reader.kind}{reader.number}"
    return f"{settings.CRM_SITE_URL}{reverse('mail_preferences', args=[f'{name}-{_signature(name)}'])}"


def read(token: str) -> Reader | None:
    """Give who *token* speaks for, under an old secret key as well; None where it was not made here."""
    name, _, signature = token.rpartition("-")
    kind, number = name[:1], name[1:]
    if kind not in _KINDS or not (number.isascii() and number.isdigit() and len(number) < 19):
        return None
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    if any(constant_time_compare(signature, _signature(name, key)) for key in keys):
        return Reader(kind, int(number))
    return None


def headers_of(address: str) -> dict[str, str]:
    """Give the headers by which mail clients offer to unsubscribe with one click (RFC 8058)."""
    return {
        "List-Unsubscribe": f"<{address}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        # No automatic answers: "I am on holiday" helps nobody here.
        "Auto-Submitted": "auto-generated",
    }


def _signature(name: str, key: str | bytes | None = None) -> str:
    return salted_hmac("crm.mail_link", name, secret=key, algorithm="sha256").hexdigest()[:_LENGTH]
