"""Mails about endpoints that fail: by another way than the one that does not work."""

import time
from smtplib import SMTPRecipientsRefused

from django.core.mail import mail_admins, send_mail
from django.utils import timezone

from crm.plain_text import one_line
from crm.webhooks.models import WebhookEndpoint

_N = WebhookEndpoint.Notice
# The mail server may take ten seconds for each that it does not take, and a pass is given two minutes.
SECONDS = 30.0


def send_due(*, for_seconds: float = SECONDS) -> tuple[int, list[str]]:
    """Send what contacts and ADMINS have still to be told; give how many contacts were, and what is wrong.

    What could not be sent to a contact is sent by a later call, unless the mail server refuses the address for good.
    Killed between a mail and its note, this sends it once more: better told twice than never. ADMINS are told once,
    afterwards: for a mail that they cannot get, the contact must not get his each minute.
    """
    sent, wrong = 0, []
    ends = time.monotonic() + for_seconds
    for endpoint in WebhookEndpoint.objects.exclude(notice="").order_by("pk"):
        if time.monotonic() >= ends:
            break
        subject = one_line(f"Webhooks of {endpoint.customer} to {endpoint.host} {_SUBJECTS[endpoint.notice]}")
        text = one_line(_text(endpoint))
        try:
            refused = _tell_contact(endpoint, subject, text)
        except Exception as error:  # noqa: BLE001 (whatever mail raises: it is reported, and sent again later)
            wrong.append(f"{endpoint}: {type(error).__name__}: {error}")
            continue
        sent += not refused
        # Only what was told: by now there may be something else to tell.
        WebhookEndpoint.objects.filter(pk=endpoint.pk, notice=endpoint.notice).update(notice="")
        if refused:
            wrong.append(f"{endpoint}: {refused}")
        try:
            mail_admins(subject, f"{text}\n{refused or 'Their contact has got this mail too.'}\n")
        except Exception as error:  # noqa: BLE001 (likewise)
            wrong.append(f"{endpoint}, to ADMINS: {type(error).__name__}: {error}")
    return sent, wrong


def _tell_contact(endpoint: WebhookEndpoint, subject: str, text: str) -> str:
    """Send the mail; say why it can never be, or nothing."""
    try:
        send_mail(subject, f"{text}\n", None, [endpoint.contact])
    except SMTPRecipientsRefused as error:
        if any(code < 500 for code, _ in error.recipients.values()):
            raise
        return f"The mail server refuses {endpoint.contact}: give the endpoint another contact."
    return ""


_SUBJECTS: dict[str, str] = {
    _N.PAUSED: "fail",
    _N.WORKS: "arrive again",
    _N.DISABLED: "are disabled",
}


def _text(endpoint: WebhookEndpoint) -> str:
    if endpoint.notice == _N.WORKS:
        return "The endpoint answers again. What was waiting for it is being sent."
    if endpoint.notice == _N.DISABLED:
        return (
            f"{endpoint.disabled_reason} Nothing is sent to it any more, and new events are not kept for it. "
            "When it works again, have it enabled; what had not arrived by now is sent then."
        )
    since = timezone.localtime(endpoint.failing_since) if endpoint.failing_since else None
    return (
        f"The endpoint has failed {endpoint.failures} times in a row"
        f"{f', since {since:%Y-%m-%d %H:%M %z}' if since else ''}. It is tried less and less often, "
        "and disabled when it has failed for five days. Nothing is lost meanwhile: each event is tried for three days."
    )
