"""Mails about endpoints that fail: by another way than the one that does not work."""

from django.core.mail import mail_admins, send_mail
from django.utils import timezone

from crm.plain_text import one_line
from crm.webhooks.models import WebhookEndpoint

_N = WebhookEndpoint.Notice
# The mail server may take ten seconds for each that it does not take.
MOST = 5


def send_due() -> tuple[int, list[str]]:
    """Send what contacts and ADMINS have still to be told; give how many were sent, and what is wrong.

    A mail that could not be sent is sent by a later call. Killed between a mail and its note, this sends it once more:
    better told twice than never.
    """
    sent, wrong = 0, []
    for endpoint in WebhookEndpoint.objects.exclude(notice="").order_by("pk")[:MOST]:
        try:
            _send(endpoint)
        except Exception as error:  # noqa: BLE001 (whatever mail raises: it is reported, and sent again later)
            wrong.append(f"{endpoint}: {type(error).__name__}: {error}")
        else:
            sent += 1
            # Only what was told: by now there may be something else to tell.
            WebhookEndpoint.objects.filter(pk=endpoint.pk, notice=endpoint.notice).update(notice="")
    return sent, wrong


def _send(endpoint: WebhookEndpoint) -> None:
    subject = one_line(f"Webhooks of {endpoint.customer} to {endpoint.host} {_SUBJECTS[endpoint.notice]}")
    text = one_line(_text(endpoint))
    send_mail(subject, f"{text}\n", None, [endpoint.contact])
    mail_admins(subject, f"{text}\nTheir contact has got this mail too.\n")


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
