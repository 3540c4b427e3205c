"""What all mails of the outbox have in common: an address without tricks, a name of its own, headers of one length."""

import hashlib
from email.headerregistry import Address
from email.utils import formataddr
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.mail import EmailMultiAlternatives
from django.core.validators import validate_email

from crm.digests import links, suppression
from crm.digests.models import Mail
from crm.digests.outbox import Letter, NotSent
from crm.plain_text import one_line

_LONGEST_NAME = 100


class _Message(EmailMultiAlternatives):
    """A mail whose headers are not folded: an address in one that is broken, or encoded, is none for mail clients."""

    def message(self, **given: Any) -> Any:
        if "policy" in given:
            given["policy"] = given["policy"].clone(max_line_length=900)
        return super().message(**given)


def write(
    mail: Mail, *, name: str, email: str, subject: str, text: str, html: str, preferences: str
) -> Letter | NotSent:
    """Write a mail to *name* at *email*, unless that is no address, or one that gets none.

    Its Message-ID is made of the mail's key: one that is sent again is the same for mail clients and in the mail
    server's log.
    """
    try:
        validate_email(email)
    except ValidationError:
        return NotSent("not an e-mail address")
    if reason := suppression.reason_against(email, mail.kind):
        return NotSent(reason)
    digest = hashlib.sha256(f"{settings.CRM_SITE_URL} {mail.key}".encode()).hexdigest()[:32]
    message = _Message(
        one_line(subject),
        text,
        None,
        [formataddr((one_line(name)[:_LONGEST_NAME].strip(), email))],
        headers={"Message-ID": f"<{digest}@{_domain()}>", **links.headers_of(preferences)},
    )
    message.attach_alternative(html, "text/html")
    return Letter(message, email)


def _domain() -> str:
    try:
        return Address(addr_spec=settings.DEFAULT_FROM_EMAIL.rpartition("<")[2].rstrip("> ")).domain or "localhost"
    except ValueError:
        return "localhost"
